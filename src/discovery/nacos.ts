// Nacos: the instances of a service by its open API, version 1.
import { z } from 'zod'
import { IN_TLS } from '../http/certificates.ts'
import { together } from '../units.ts'
import { AnswerError, type AskTls, asLabels, asList, asMap, HttpRegistry } from './ask.ts'
import { isPort, LeftOut, type Reading } from './entry.ts'
import { askTls, registryAddress, registryTls } from './http-options.ts'
import { SharedLogin } from './login.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance, type ProviderContext } from './provider.ts'

/** Options of `kind: nacos`. */
export const nacosOptions = z
  .strictObject({
    address: registryAddress('http://127.0.0.1:8848').describe(
      'URL of a server, or a list of them, tried in turn when one does not answer.',
    ),
    namespace: z.string().min(1).optional().describe('Id of the namespace; without it the public one.'),
    group: z.string().min(1).default('DEFAULT_GROUP').describe('Group of the services.'),
    clusters: z.array(z.string().min(1)).default([]).describe('Clusters to take instances from; all without it.'),
    token: z.string().min(1).optional().describe('Access token that does not end.'),
    user: z.string().min(1).optional().describe('Name to log in with; needs `password`.'),
    password: z.string().min(1).optional().describe('Password of `user`.'),
    tls: registryTls,
  })
  .refine(...together('user', 'password'))

/** When an answer was made. Metadata are texts: no number in them can be taken for it. */
const PASSING = /"lastRefTime":\d+/

/** The answer of /v1/ns/instance/list. Throws AnswerError. */
export function parseNacos(answer: unknown): Reading {
  const instances: Instance[] = []
  const leftOut: string[] = []
  for (const entry of asList(asMap(answer)['hosts'], 'hosts')) {
    const { ip, port, weight = 1, healthy = true, enabled = true, metadata, clusterName } = asMap(entry)
    if (healthy !== true || enabled !== true) continue
    if (typeof ip !== 'string' || ip === '') leftOut.push('an instance has no ip')
    else if (!isPort(port)) leftOut.push(`${ip} has no port between 1 and 65535`)
    else if (typeof weight !== 'number' || !(weight >= 0)) leftOut.push(`${ip}:${port} has a weight that is no number`)
    else {
      const cluster = typeof clusterName === 'string' && clusterName !== '' ? { cluster: clusterName } : {}
      instances.push({ host: ip, port, weight, labels: { ...cluster, ...asLabels(metadata) } })
    }
  }
  return { instances, leftOut }
}

class Nacos implements DiscoveryProvider {
  readonly #http: HttpRegistry
  readonly #options: z.output<typeof nacosOptions>
  readonly #leftOut: LeftOut
  /** Of the last login, and when it has to be renewed by performance.now(). */
  #token: string | null = null
  #renewAt = 0
  readonly #login = new SharedLogin()

  constructor(options: z.output<typeof nacosOptions>, tls: AskTls, { name, log }: ProviderContext) {
    this.#options = options
    this.#http = new HttpRegistry(options.address, tls)
    this.#leftOut = new LeftOut(name, log)
  }

  async poll(service: string, _cursor: string | null, signal: AbortSignal): Promise<Found> {
    const { namespace, group, clusters } = this.#options
    const query = new URLSearchParams({ serviceName: service, groupName: group, healthyOnly: 'true' })
    if (namespace !== undefined) query.set('namespaceId', namespace)
    if (clusters.length > 0) query.set('clusters', clusters.join(','))
    const { instances, leftOut } = await this.#authorized(service, query, signal)
    this.#leftOut.tell(service, leftOut)
    return { instances, cursor: null }
  }

  /** Ask for the list; with a new token when one is refused that was good before: it may end early, such as when the servers' secret changes. */
  async #authorized(service: string, query: URLSearchParams, signal: AbortSignal): Promise<Reading> {
    const before = this.#token
    const token = await this.#currentToken(signal)
    if (token !== null) query.set('accessToken', token)
    try {
      const path = `/nacos/v1/ns/instance/list?${query}`
      return (await this.#http.askAbout(service, { path, signal }, parseNacos, PASSING)).value
    } catch (error) {
      if (!(error instanceof AnswerError && (error.status === 401 || error.status === 403))) throw error
      if (this.#token === token) this.#token = null
      if (token === null || token !== before) throw error
    }
    return this.#authorized(service, query, signal)
  }

  /** The token to ask with; null for none. */
  async #currentToken(signal: AbortSignal): Promise<string | null> {
    const { token, user, password } = this.#options
    if (token !== undefined || user === undefined) return token ?? null
    if (this.#token !== null && performance.now() < this.#renewAt) return this.#token
    const form = new URLSearchParams({ username: user, password: password! }).toString()
    return this.#login.token(until => this.#logIn(form, until), signal)
  }

  async #logIn(form: string, signal: AbortSignal): Promise<string> {
    const { accessToken, tokenTtl } = asMap(
      await this.#http.askJson({ method: 'POST', path: '/nacos/v1/auth/login', form, signal }),
    )
    if (typeof accessToken !== 'string' || accessToken === '') throw new AnswerError('Nacos gave no access token')
    const seconds = typeof tokenTtl === 'number' && tokenTtl > 0 ? tokenTtl : 60
    // In good time: a tenth of its life is left.
    this.#renewAt = performance.now() + seconds * 900
    this.#token = accessToken
    return accessToken
  }

  forget(service: string): void {
    this.#http.forget(service)
    this.#leftOut.forget(service)
  }

  close(): void {
    this.#http.close()
  }
}

/** The definition of `kind: nacos`. */
export const nacos = defineProvider({
  kind: 'nacos',
  options: nacosOptions,
  certificates: () => IN_TLS,
  create: (options, context) => new Nacos(options, askTls(context.certificates, options.tls?.verify), context),
})
