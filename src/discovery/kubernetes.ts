// Kubernetes: the EndpointSlices of a service, listed and then watched with the service account.
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { z } from 'zod'
import { AnswerError, type AskTls, asList, asMap, HttpRegistry } from './ask.ts'
import { isPort, LeftOut, type Reading } from './entry.ts'
import { askTls, registryAddress } from './http-options.ts'
import { LEAST_WAIT } from './pace.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance, type ProviderContext } from './provider.ts'

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
const ADDRESS = 'https://kubernetes.default.svc'
const file = z.string().min(1)
/** A comma would begin another part of the selector that the name stands in. */
const SERVICE = /^(?:([\w.-]+)\/)?([\w.-]+)$/

/** Options of `kind: kubernetes`. */
export const kubernetesOptions = z.strictObject({
  address: registryAddress(ADDRESS).prefault(ADDRESS).describe('URL of the API server.'),
  namespace: z
    .string()
    .min(1)
    .optional()
    .describe('Namespace of the services; without it that of the service account.'),
  token: z.string().min(1).optional().describe('Token to ask with, instead of `tokenFile`.'),
  tokenFile: file
    .optional()
    .describe(
      "File with the token; read anew for each question, as it rotates. Without it that of the service account, and over plain http none (`kubectl proxy` asks with the user's own).",
    ),
  caFile: file.default(`${ACCOUNT}/ca.crt`).describe('PEM file with the authority of the API server; for https.'),
})

/**
 * The items of a list of EndpointSlices. Ready endpoints count; where none is, those that still serve while they end.
 * Throws AnswerError.
 */
export function parseSlices(answer: unknown): Reading & { readonly version: string } {
  const { items, metadata } = asMap(answer)
  const ready: Instance[] = []
  const serving: Instance[] = []
  const leftOut: string[] = []
  // Go writes a list without entries as null, unless somebody sees to it.
  for (const slice of items === null ? [] : asList(items, 'items')) {
    const { addressType, endpoints, ports: named } = asMap(slice)
    if (addressType !== 'IPv4' && addressType !== 'IPv6') {
      leftOut.push(`a slice has addresses of type ${String(addressType)}: the kind dns resolves names`)
      continue
    }
    const ports = portsOf(named)
    for (const endpoint of Array.isArray(endpoints) ? endpoints : []) {
      const { addresses, conditions, zone, nodeName } = asMap(endpoint)
      // Absent means ready (EndpointConditions); serving is ready without regard to terminating.
      const { ready: isReady = true, serving: isServing = isReady } = asMap(conditions)
      const host = Array.isArray(addresses) ? addresses[0] : undefined
      if (typeof host !== 'string') {
        leftOut.push('an endpoint has no address')
        continue
      }
      const labels: Record<string, string> = {}
      if (typeof zone === 'string') labels['zone'] = zone
      if (typeof nodeName === 'string') labels['node'] = nodeName
      const instance = { host, port: Object.values(ports)[0] ?? 0, ports, weight: 1, labels }
      if (isReady !== false) ready.push(instance)
      else if (isServing === true) serving.push(instance)
    }
  }
  const { resourceVersion } = asMap(metadata)
  if (typeof resourceVersion !== 'string') throw new AnswerError('the list has no resourceVersion')
  return { instances: ready.length > 0 ? ready : serving, leftOut, version: resourceVersion }
}

function portsOf(list: unknown): Record<string, number> {
  const ports: Record<string, number> = {}
  for (const entry of Array.isArray(list) ? list : []) {
    const { name, port, protocol = 'TCP' } = asMap(entry)
    if (!isPort(port) || protocol !== 'TCP') continue
    const key = typeof name === 'string' ? name : ''
    if (key !== '__proto__') ports[key] = port
  }
  return ports
}

/** True when an event of the watch means that the list must be read anew. Throws AnswerError when the watch failed. */
export function isChange(event: unknown): boolean {
  const { type, object } = asMap(event)
  if (type === 'BOOKMARK') return false
  if (type !== 'ERROR') return true
  const { code, message } = asMap(object)
  // The version is too old to go on from: the list says where things stand.
  if (code === 410) return true
  throw new AnswerError(`the watch failed: ${String(message ?? code).slice(0, 200)}`)
}

class Kubernetes implements DiscoveryProvider {
  readonly #options: z.output<typeof kubernetesOptions>
  readonly #http: HttpRegistry
  readonly #baseDir: string
  readonly #leftOut: LeftOut

  constructor(options: z.output<typeof kubernetesOptions>, tls: AskTls, { name, log, baseDir }: ProviderContext) {
    this.#options = options
    this.#baseDir = baseDir
    this.#http = new HttpRegistry(options.address, tls)
    this.#leftOut = new LeftOut(name, log)
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    const path = await this.#path(service)
    const watches = cursor === null || (await this.#change(path, cursor, signal))
    const question = { path, headers: await this.#headers(), signal }
    const { instances, leftOut, version } = (await this.#http.askAbout(service, question, parseSlices)).value
    this.#leftOut.tell(service, leftOut)
    return { instances, cursor: watches ? version : null }
  }

  /** `name` in the namespace of the options, or `namespace/name`. */
  async #path(service: string): Promise<string> {
    const [, own, name] = SERVICE.exec(service) ?? []
    if (name === undefined) throw new AnswerError(`${JSON.stringify(service)} is neither a name nor namespace/name`)
    const namespace = own ?? this.#options.namespace ?? (await this.#ownNamespace())
    const query = new URLSearchParams({ labelSelector: `kubernetes.io/service-name=${name}` })
    return `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/endpointslices?${query}`
  }

  async #ownNamespace(): Promise<string> {
    try {
      return (await readFile(`${ACCOUNT}/namespace`, 'utf8')).trim()
    } catch {
      throw new AnswerError('there is no service account here: say the `namespace`')
    }
  }

  async #headers(): Promise<Record<string, string>> {
    const { address, token, tokenFile } = this.#options
    // The account's token is not for everybody on the way, and outside of a cluster there is none.
    if (token === undefined && tokenFile === undefined && !isSecure(address)) return {}
    const path = tokenFile ?? `${ACCOUNT}/token`
    const text = token ?? (await readFile(resolve(this.#baseDir, path), 'utf8')).trim()
    return { authorization: `Bearer ${text}` }
  }

  /** Wait until something of the service changes; WAIT at most. False where watches end as soon as they begin. */
  async #change(path: string, version: string, signal: AbortSignal): Promise<boolean> {
    const watch = `${path}&watch=true&allowWatchBookmarks=true&resourceVersion=${encodeURIComponent(version)}`
    const begun = performance.now()
    try {
      // The server ends a watch after some minutes by itself: the list is read anew, and nothing is missed.
      const ended = await this.#http.news({ path: watch, headers: await this.#headers(), signal }, isChange)
      return ended !== 'registry' || performance.now() - begun >= LEAST_WAIT
    } catch (error) {
      if (!(error instanceof AnswerError && error.status === 410)) throw error
      return true
    }
  }

  forget(service: string): void {
    this.#http.forget(service)
    this.#leftOut.forget(service)
  }

  close(): void {
    this.#http.close()
  }
}

/** True where any address is one of https; so is the default. */
function isSecure(address: unknown): boolean {
  return [address ?? ADDRESS].flat().some(text => typeof text === 'string' && /^https:/i.test(text))
}

/** The definition of `kind: kubernetes`. */
export const kubernetes = defineProvider({
  kind: 'kubernetes',
  options: kubernetesOptions,
  certificates: options => (isSecure(options['address']) ? { ca: ['caFile'] } : {}),
  create: (options, context) => new Kubernetes(options, askTls(context.certificates), context),
})
