// etcd: the keys under a prefix over the v3 JSON gateway, with a streaming watch that says when to read them again.
import { z } from 'zod'
import { IN_TLS } from '../http/certificates.ts'
import { together } from '../units.ts'
import { AnswerError, type AskTls, asLabels, asList, asMap, HttpRegistry } from './ask.ts'
import { LeftOut, type Reading, readEntry } from './entry.ts'
import { askTls, registryAddress, registryTls } from './http-options.ts'
import { SharedLogin } from './login.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance, type ProviderContext } from './provider.ts'

/** Options of `kind: etcd`. */
export const etcdOptions = z
  .strictObject({
    address: registryAddress('http://127.0.0.1:2379').describe(
      'URL of etcd, or a list of its members, tried in turn when one does not answer.',
    ),
    prefix: z
      .string()
      .min(1)
      .default('/services/')
      .describe('What keys begin with, a `/` at its end included: PREFIX + service + `/` + anything.'),
    user: z.string().min(1).optional().describe('Name to log in with; needs `password`.'),
    password: z.string().min(1).optional().describe('Password of `user`.'),
    tls: registryTls,
  })
  .refine(...together('user', 'password'))

/** The keys of a service as etcd asks for them: base64 of the first one and of the one behind the last. */
export interface KeyRange {
  readonly key: string
  readonly range_end: string
}

/** All keys that begin with `prefix`: up to the prefix with its last byte raised; bytes that cannot be raised fall away. */
export function prefixRange(prefix: string | Uint8Array): KeyRange {
  const first = Buffer.from(prefix as string)
  let length = first.length
  while (length > 0 && first[length - 1] === 0xff) length--
  // Nothing left to raise: a zero byte means "to the end of all keys".
  const end = length === 0 ? Buffer.from([0]) : Buffer.from(first.subarray(0, length))
  if (length > 0) end[length - 1]!++
  return { key: first.toString('base64'), range_end: end.toString('base64') }
}

/** An answer to a range: the instances, and where the registry stood. Throws AnswerError. */
export function parseRange(answer: unknown, prefix: string): Reading & { readonly cursor: string } {
  const { header, kvs } = asMap(answer)
  const instances: Instance[] = []
  const leftOut: string[] = []
  // A range without keys is told without the list.
  for (const pair of kvs === undefined || kvs === null ? [] : asList(kvs, 'kvs')) {
    const { key, value } = asMap(pair)
    const id = typeof key === 'string' ? Buffer.from(key, 'base64').toString('utf8') : ''
    const entry = readValue(typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '')
    if (typeof entry === 'string') leftOut.push(`${id.startsWith(prefix) ? id.slice(prefix.length) : id} ${entry}`)
    else instances.push(entry)
  }
  const { cluster_id: cluster, revision } = asMap(header)
  return { instances, leftOut, cursor: `${wholeNumber(revision, 'revision')}/${String(cluster ?? '')}` }
}

/** A value: `host:port`, JSON as our own entries are, or JSON as etcd's Go client writes it (`Addr`, `Metadata`). */
function readValue(text: string): Instance | string {
  if (!text.trimStart().startsWith('{')) return readEntry(text)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'is no JSON'
  }
  const { address, Addr, Metadata } = asMap(value)
  return address === undefined && Addr !== undefined
    ? readEntry({ address: Addr, labels: asLabels(Metadata) })
    : readEntry(value)
}

/** int64 comes as text, for want of such numbers in JSON. */
function wholeNumber(value: unknown, what: string): bigint {
  if (typeof value === 'string' && /^\d{1,19}$/.test(value)) return BigInt(value)
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value)
  throw new AnswerError(`etcd told no ${what}`)
}

/**
 * True when a message of the watch means that the keys must be read: something changed, the revision that was asked
 * for is gone (compacted), or this is an etcd that knows less than `cursor` or is another one: begun anew, it would
 * keep silent until it comes to that revision again. Throws AnswerError when the watch is refused.
 */
export function isNews(message: unknown, cursor: string): boolean {
  const { result, error } = asMap(message)
  if (error !== undefined) throw new AnswerError(`etcd ends the watch: ${reason(asMap(error)['message'])}`)
  const { header, created, canceled, compact_revision: compacted, cancel_reason: why, events } = asMap(result)
  if (compacted !== undefined && wholeNumber(compacted, 'compact_revision') > 0n) return true
  if (canceled === true) throw new AnswerError(`etcd refuses the watch: ${reason(why)}`, 403)
  if (Array.isArray(events) && events.length > 0) return true
  if (created !== true) return false
  const [revision, cluster] = cursor.split('/') as [string, string]
  const { cluster_id: now, revision: at } = asMap(header)
  return wholeNumber(at, 'revision') < BigInt(revision) || String(now ?? '') !== cluster
}

function reason(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value.slice(0, 200) : 'it says no reason'
}

type Options = z.output<typeof etcdOptions>

class Etcd implements DiscoveryProvider {
  readonly #registry: HttpRegistry
  readonly #options: Options
  readonly #leftOut: LeftOut
  /** Of the last login; null when there was none, or when it is refused by now. */
  #token: string | null = null
  readonly #login = new SharedLogin()

  constructor(options: Options, tls: AskTls, { name, log }: ProviderContext) {
    this.#options = options
    this.#registry = new HttpRegistry(options.address, tls)
    this.#leftOut = new LeftOut(name, log)
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    const prefix = `${this.#options.prefix}${service}/`
    const range = prefixRange(prefix)
    if (cursor !== null) await this.#change(range, cursor, signal)
    const { value } = await this.#authorized(signal, headers =>
      this.#registry.askAbout(service, { method: 'POST', path: '/v3/kv/range', headers, body: range, signal }, answer =>
        parseRange(answer, prefix),
      ),
    )
    // What the watch told is not kept: reading the whole again costs one question, and nothing can be missed by it.
    const { instances, leftOut, cursor: next } = value
    this.#leftOut.tell(service, leftOut)
    return { instances, cursor: next }
  }

  forget(service: string): void {
    this.#registry.forget(service)
    this.#leftOut.forget(service)
  }

  close(): void {
    this.#registry.close()
  }

  /** Wait until there is something to read; WAIT at most. */
  async #change(range: KeyRange, cursor: string, signal: AbortSignal): Promise<void> {
    const start_revision = String(BigInt(cursor.split('/')[0]!) + 1n)
    const body = { create_request: { ...range, start_revision } }
    const ended = await this.#authorized(signal, headers =>
      this.#registry.news({ method: 'POST', path: '/v3/watch', headers, body, signal }, line => isNews(line, cursor)),
    )
    if (ended === 'registry') throw new AnswerError('etcd ended the watch')
  }

  /** Ask with a token when there is a user; once more with a new one when it is refused: tokens end after some minutes. */
  async #authorized<T>(signal: AbortSignal, ask: (headers: Record<string, string>) => Promise<T>): Promise<T> {
    const { user, password } = this.#options
    if (user === undefined) {
      return ask({}).catch(error => {
        throw isRefusal(error) ? new AnswerError(`${error.message}; does it ask for a user?`, error.status) : error
      })
    }
    if (this.#token !== null) {
      const authorization = this.#token
      try {
        return await ask({ authorization })
      } catch (error) {
        if (!isRefusal(error)) throw error
        if (this.#token === authorization) this.#token = null
      }
    }
    const login = (until: AbortSignal) => this.#logIn({ name: user, password }, until)
    // Others may have one by now.
    const authorization = this.#token ?? (await this.#login.token(login, signal))
    try {
      return await ask({ authorization })
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (this.#token === authorization) this.#token = null
      throw new AnswerError(`etcd does not let ${JSON.stringify(user)} read this: ${error.message}`, error.status)
    }
  }

  async #logIn(body: { name: string; password: string | undefined }, signal: AbortSignal): Promise<string> {
    try {
      const path = '/v3/auth/authenticate'
      const { token } = asMap(await this.#registry.askJson({ method: 'POST', path, body, signal }))
      if (typeof token === 'string' && token !== '') {
        this.#token = token
        return token
      }
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (!(await this.#hasAuth(signal))) throw new AnswerError('etcd has auth turned off: it takes no `user`')
      throw new AnswerError(`etcd does not know ${JSON.stringify(body.name)} with this password`, error.status)
    }
    throw new AnswerError('etcd gave no token')
  }

  /** False when anybody may read: etcd 3.4 cannot be asked whether auth is on. */
  async #hasAuth(signal: AbortSignal): Promise<boolean> {
    try {
      const body = { ...prefixRange(this.#options.prefix), count_only: true }
      await this.#registry.ask({ method: 'POST', path: '/v3/kv/range', body, signal })
      return false
    } catch (error) {
      if (isRefusal(error)) return true
      throw error
    }
  }
}

/**
 * etcd says 400 for wrong passwords and for an old auth revision, 401 for tokens that ended, 403 for want of a right, and
 * for logins while auth is off 412 or 400, by its version.
 */
function isRefusal(error: unknown): error is AnswerError {
  return error instanceof AnswerError && [400, 401, 403, 412].includes(error.status)
}

/** The definition of `kind: etcd`. */
export const etcd = defineProvider({
  kind: 'etcd',
  options: etcdOptions,
  certificates: () => IN_TLS,
  create: (options, context) => new Etcd(options, askTls(context.certificates, options.tls?.verify), context),
})
