// Eureka: the instances of an application that are up; the delta of the registry says whether asking anew is worth it.
import { z } from 'zod'
import { IN_TLS } from '../http/certificates.ts'
import { AnswerError, type AskTls, asLabels, asMap, HttpRegistry } from './ask.ts'
import { LeftOut, type Reading } from './entry.ts'
import { askTls, registryAddress, registryTls } from './http-options.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance, type ProviderContext } from './provider.ts'

/** Options of `kind: eureka`. */
export const eurekaOptions = z.strictObject({
  address: registryAddress('http://127.0.0.1:8761/eureka').describe(
    'URL of a server with its path, such as http://127.0.0.1:8761/eureka, or a list of them, tried in turn; credentials may stand in it.',
  ),
  secure: z.boolean().default(false).describe('Take the secure port of each instance, and no instance without one.'),
  tls: registryTls,
})

/** Eureka writes one thing as itself and several as a list. */
function many(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : [value]
}

/** `{"$": 8080, "@enabled": "true"}`; 0 when it is off or no port. */
function portOf(value: unknown): number {
  const { $: port, '@enabled': enabled } = asMap(value)
  const number = typeof port === 'number' ? port : Number(typeof port === 'string' && port !== '' ? port : Number.NaN)
  return String(enabled) === 'true' && Number.isInteger(number) && number >= 1 && number <= 65535 ? number : 0
}

/** The answer of /apps/NAME. Throws AnswerError. */
export function parseEureka(answer: unknown, secure: boolean): Reading {
  const { application } = asMap(answer)
  if (typeof application !== 'object' || application === null) throw new AnswerError('the answer has no application')
  const instances: Instance[] = []
  const leftOut: string[] = []
  for (const entry of many(asMap(application)['instance'])) {
    const { instanceId, hostName, ipAddr, status, port, securePort, metadata } = asMap(entry)
    if (status !== 'UP') continue
    const host = typeof ipAddr === 'string' && ipAddr !== '' ? ipAddr : hostName
    const number = portOf(secure ? securePort : port)
    if (typeof host !== 'string' || host === '') leftOut.push(`${String(instanceId)} has no address`)
    else if (number === 0) leftOut.push(`${String(instanceId)} has no ${secure ? 'secure ' : ''}port that is enabled`)
    else {
      // How the server's Java writes the map down is nothing that the instance says.
      const { '@class': _type, ...told } = asMap(metadata)
      instances.push({ host, port: number, weight: 1, labels: asLabels(told) })
    }
  }
  return { instances, leftOut }
}

/** The answer of /apps/delta: the hash of the whole registry, and the applications that changed of late. Throws AnswerError. */
export function parseDelta(answer: unknown): { readonly hash: string; readonly changed: ReadonlySet<string> } {
  const { applications } = asMap(answer)
  const { apps__hashcode: hash, application } = asMap(applications)
  if (typeof hash !== 'string') throw new AnswerError('the delta has no hash')
  const names = many(application).map(entry => String(asMap(entry)['name']).toUpperCase())
  return { hash, changed: new Set(names) }
}

/** Milliseconds that a delta is trusted to tell of: Eureka forgets what changed after three minutes. */
const DELTA_REACH = 120_000

/** What was known of an application, and the hash of the registry at that time. */
interface Known {
  /** Of the question after which nothing was missing, by performance.now(). */
  readonly at: number
  readonly hash: string
  readonly instances: readonly Instance[]
}

class Eureka implements DiscoveryProvider {
  readonly #http: HttpRegistry
  readonly #secure: boolean
  readonly #leftOut: LeftOut
  /** By application: those that upstreams ask for. */
  readonly #known = new Map<string, Known>()

  constructor({ address, secure }: z.output<typeof eurekaOptions>, tls: AskTls, { name, log }: ProviderContext) {
    this.#secure = secure
    this.#http = new HttpRegistry(address, tls)
    this.#leftOut = new LeftOut(name, log)
  }

  /**
   * The delta is of the whole registry, and its hash counts how many instances have which status. While the hash stays
   * and the delta does not name the application, nothing of it changed; else it is fetched whole. Applying deltas would
   * save that fetch, and would need the whole registry in memory for a hash to compare with.
   */
  async poll(service: string, _cursor: string | null, signal: AbortSignal): Promise<Found> {
    const name = service.toUpperCase()
    const at = performance.now()
    const known = this.#known.get(name)
    const before = known !== undefined && at - known.at < DELTA_REACH ? known : undefined
    // Whatever fails below: what changes until the next answer may be in no delta any more.
    this.#known.delete(name)
    let hash = ''
    let hasDelta = true
    try {
      const delta = parseDelta(await this.#http.askJson({ path: '/apps/delta', signal }))
      hash = delta.hash
      if (before !== undefined && before.hash === hash && !delta.changed.has(name)) {
        this.#known.set(name, { ...before, at })
        return { instances: before.instances, cursor: null }
      }
    } catch (error) {
      signal.throwIfAborted()
      // Servers may have the delta turned off (403); whatever else is wrong shows in the question below.
      if (!(error instanceof AnswerError)) throw error
      hasDelta = error.status !== 404
    }
    const instances = await this.#fetch(service, hasDelta, signal)
    if (hash !== '') this.#known.set(name, { at, hash, instances })
    return { instances, cursor: null }
  }

  async #fetch(service: string, hasDelta: boolean, signal: AbortSignal): Promise<readonly Instance[]> {
    try {
      const question = { path: `/apps/${encodeURIComponent(service)}`, signal }
      // Servers give out one answer for some time, and the delta names what changed for minutes.
      const { value } = await this.#http.askAbout(service, question, answer => parseEureka(answer, this.#secure))
      const { instances, leftOut } = value
      this.#leftOut.tell(service, leftOut)
      return instances
    } catch (error) {
      if (!(error instanceof AnswerError && error.status === 404)) throw error
      // An application that nobody registered for is not there; the delta always is, in one way or another.
      if (hasDelta) return []
      throw new AnswerError('answered 404 to everything: is the path of `address` right, as in /eureka?', 404)
    }
  }

  forget(service: string): void {
    this.#known.delete(service.toUpperCase())
    this.#http.forget(service)
    this.#leftOut.forget(service)
  }

  close(): void {
    this.#http.close()
  }
}

/** The definition of `kind: eureka`. */
export const eureka = defineProvider({
  kind: 'eureka',
  options: eurekaOptions,
  certificates: () => IN_TLS,
  create: (options, context) => new Eureka(options, askTls(context.certificates, options.tls?.verify), context),
})
