// Consul: the healthy instances of a service, by blocking queries.
import { z } from 'zod'
import { IN_TLS } from '../http/certificates.ts'
import { AnswerError, type AskTls, asLabels, asList, asMap, HttpRegistry } from './ask.ts'
import { isPort, LeftOut, type Reading } from './entry.ts'
import { askTls, registryAddress, registryTls } from './http-options.ts'
import {
  type DiscoveryProvider,
  defineProvider,
  type Found,
  type Instance,
  type ProviderContext,
  WAIT,
} from './provider.ts'

/** Options of `kind: consul`. */
export const consulOptions = z.strictObject({
  address: registryAddress('http://127.0.0.1:8500')
    .prefault('http://127.0.0.1:8500')
    .describe('URL of an agent, or a list of them, tried in turn when one does not answer.'),
  token: z.string().min(1).optional().describe('ACL token with service:read and node:read.'),
  datacenter: z.string().min(1).optional().describe('Datacenter to ask about; without it that of the agent.'),
  tls: registryTls,
})

/** The answer of /v1/health/service. Throws AnswerError. */
export function parseConsul(answer: unknown): Reading {
  const instances: Instance[] = []
  const leftOut: string[] = []
  for (const entry of asList(answer, 'the answer')) {
    const { Service, Node } = asMap(entry)
    const { ID, Address, Port, Tags, Meta, Weights } = asMap(Service)
    // A service without an address of its own is at that of its node.
    const host = typeof Address === 'string' && Address !== '' ? Address : asMap(Node)['Address']
    if (typeof host !== 'string' || host === '') leftOut.push(`${String(ID)} has no address`)
    else if (Port !== 0 && !isPort(Port)) leftOut.push(`${String(ID)} has no port between 0 and 65535`)
    else {
      const passing = asMap(Weights)['Passing']
      const weight = typeof passing === 'number' && passing >= 0 ? passing : 1
      instances.push({ host, port: Port, weight, labels: asLabels(Meta, tagLabels(Tags)) })
    }
  }
  return { instances, leftOut }
}

/** `version=v1` becomes a label with a value, any other tag one that is `true`. */
function tagLabels(tags: unknown): Record<string, string> {
  const pairs: Record<string, string> = {}
  for (const tag of Array.isArray(tags) ? tags : []) {
    if (typeof tag !== 'string') continue
    const at = tag.indexOf('=')
    asLabels(at < 1 ? { [tag]: 'true' } : { [tag.slice(0, at)]: tag.slice(at + 1) }, pairs)
  }
  return pairs
}

/**
 * The index to wait from, by the rules that Consul states for blocking queries: it must be above 0, or the query would
 * return at once for ever; and one that went backwards is forgotten, since a restored server counts anew.
 */
export function nextIndex(header: unknown, before: string | null): string | null {
  if (typeof header !== 'string' || !/^\d{1,20}$/.test(header)) throw new AnswerError('Consul told no X-Consul-Index')
  const index = BigInt(header) < 1n ? 1n : BigInt(header)
  return before !== null && index < BigInt(before) ? null : String(index)
}

class Consul implements DiscoveryProvider {
  readonly #http: HttpRegistry
  readonly #options: z.output<typeof consulOptions>
  readonly #leftOut: LeftOut

  constructor(options: z.output<typeof consulOptions>, tls: AskTls, { name, log }: ProviderContext) {
    this.#options = options
    this.#http = new HttpRegistry(options.address, tls)
    this.#leftOut = new LeftOut(name, log)
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    const { token, datacenter } = this.#options
    const query = new URLSearchParams({ passing: 'true' })
    if (datacenter !== undefined) query.set('dc', datacenter)
    if (cursor !== null) {
      query.set('index', cursor)
      // Consul adds up to a sixteenth of its own.
      query.set('wait', `${Math.floor((WAIT * 15) / 16)}ms`)
    }
    const path = `/v1/health/service/${encodeURIComponent(service)}?${query}`
    const headers = token === undefined ? {} : { 'x-consul-token': token }
    const question = { path, headers, waits: cursor !== null, signal }
    const answer = await this.#http.askAbout(service, question, parseConsul)
    const { instances, leftOut } = answer.value
    // Consul answers 200 without what the token may not read. When that is all, it says nothing of the service.
    const filtered = answer.headers['x-consul-results-filtered-by-acls'] === 'true'
    if (filtered && instances.length === 0) throw new AnswerError('the token may not read the service or its nodes')
    this.#leftOut.tell(service, filtered ? ['what the token may not read', ...leftOut] : leftOut)
    const next = nextIndex(answer.headers['x-consul-index'], cursor)
    // Backwards: what came is good, and the next question must not wait for the old index.
    return next === null ? this.poll(service, null, signal) : { instances, cursor: next }
  }

  forget(service: string): void {
    this.#http.forget(service)
    this.#leftOut.forget(service)
  }

  close(): void {
    this.#http.close()
  }
}

/** The definition of `kind: consul`. */
export const consul = defineProvider({
  kind: 'consul',
  options: consulOptions,
  certificates: () => IN_TLS,
  create: (options, context) => new Consul(options, askTls(context.certificates, options.tls?.verify), context),
})
