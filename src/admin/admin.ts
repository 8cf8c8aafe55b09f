// The admin port: health, readiness, and what the gateway knows, as JSON; read-only and on loopback unless told otherwise.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { wheel } from '../clock.ts'
import { REDACTED, redact, redactText } from '../config/redact.ts'
import { type Door, takePort } from '../listener/handover.ts'
import { registry } from '../metrics.ts'
import type { Plugin } from '../pipeline/plugin.ts'
import type { Entry } from '../route/entry.ts'
import { describe, type ShownRoute } from '../route/listing.ts'
import type { Route } from '../route/route.ts'
import type { PluginSite } from '../snapshot/carry.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { Endpoint } from '../upstream/endpoint.ts'
import type { Upstream } from '../upstream/upstream.ts'

/** What the pages are made from. The gateway is one. */
export interface AdminSource {
  readonly snapshot: Snapshot
  /** JSON text of the configuration without secrets. */
  readonly shownConfig: string
  readonly lastReload: { readonly at: string; readonly ok: boolean; readonly faults: readonly string[] } | null
  readonly stopping: boolean
}

interface Page {
  readonly status: number
  readonly body: string
}

/** See the head of this file. */
export class AdminServer implements Door {
  readonly #source: AdminSource
  readonly #server: Server
  #shown: { readonly text: string; readonly value: Shown } | null = null
  host = ''
  /** The port as configured; 0 for any. */
  wantedPort = 0
  /** The real one. */
  port = 0

  constructor(source: AdminSource) {
    this.#source = source
    this.#server = createServer((request, response) => this.#answer(request, response))
    // Accepting can fail later (ENOMEM): that costs the one who wanted in, and not the process.
    this.#server.on('error', () => {})
    this.#server.headersTimeout = 5000
    this.#server.requestTimeout = 5000
    this.#server.maxConnections = 256
  }

  /** Calls `makeWay` right before it takes the port. Rejects with the system's error when it cannot listen. */
  listen(host: string, port: number, makeWay: () => void): Promise<void> {
    this.host = host
    this.wantedPort = port
    return this.#take(port, makeWay)
  }

  async #take(port: number, makeWay: () => void): Promise<void> {
    this.port = await takePort(this.#server, { host: this.host, port }, makeWay)
  }

  /** See Door. */
  stopAccepting(): void {
    this.#server.close()
  }

  /** See Door. */
  acceptAgain(): Promise<void> {
    return this.#take(this.port, () => {})
  }

  /** Read once a configuration: it may be megabytes, and pages are asked for again and again. */
  #shownNow(): Shown {
    const text = this.#source.shownConfig
    if (this.#shown?.text !== text) this.#shown = { text, value: JSON.parse(text) as Shown }
    return this.#shown.value
  }

  close(): Promise<void> {
    return new Promise(resolve => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume()
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end()
      return
    }
    const path = (request.url ?? '/').split('?')[0]!
    if (path === '/metrics') {
      registry.metrics().then(
        text => {
          response.writeHead(200, { 'content-type': registry.contentType })
          response.end(request.method === 'HEAD' ? '' : text)
        },
        // A number that cannot be had costs this page and no more.
        () => response.writeHead(500).end(),
      )
      return
    }
    const page = this.#page(path)
    response.writeHead(page.status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    response.end(request.method === 'HEAD' ? '' : `${page.body}\n`)
  }

  #page(path: string): Page {
    const source = this.#source
    switch (path) {
      case '/':
        return json(200, { pages: PAGES })
      case '/healthz':
        return json(200, { status: 'ok' })
      case '/readyz':
        return json(source.stopping ? 503 : 200, { ready: !source.stopping, lastReload: source.lastReload })
      case '/config':
        return { status: 200, body: source.shownConfig }
      case '/routes':
        return json(200, routesPage(source.snapshot, this.#shownNow()))
      case '/upstreams':
        return json(200, upstreamsPage(source.snapshot, this.#shownNow()))
      default:
        return json(404, { error: 'no such page', pages: '/' })
    }
  }
}

const PAGES = ['/healthz', '/readyz', '/metrics', '/config', '/routes', '/upstreams']

function json(status: number, value: unknown): Page {
  return { status, body: JSON.stringify(value, null, 2) }
}

/** What the pages take from the file itself: what one hides, all do. */
interface Shown {
  readonly routes?: readonly ShownRoute[]
  readonly upstreams?: Readonly<Record<string, ShownUpstream>>
}

interface ShownUpstream {
  readonly endpoints?: readonly ShownEndpoint[]
  readonly discover?: { readonly from: string; readonly service: string }
}

type ShownEndpoint = string | { readonly address: string; readonly labels?: Readonly<Record<string, string>> }

function routesPage(snapshot: Snapshot, shown: Shown) {
  const facts = pluginFacts(snapshot, 'routes')
  return snapshot.table
    .listing()
    .map(entry => ({ ...describeRoute(entry, shown.routes![entry.order]!), ...facts(entry.route.name) }))
}

function upstreamsPage(snapshot: Snapshot, shown: Shown) {
  const facts = pluginFacts(snapshot, 'upstreams')
  return [...snapshot.upstreams.values()].map(upstream => ({
    ...describeUpstream(upstream, shown.upstreams![upstream.name]!),
    ...facts(upstream.name),
  }))
}

/** What the plugins' `inspect` says of routes or of upstreams, by name: `state`, a list with one entry a plugin. */
function pluginFacts(snapshot: Snapshot, about: 'routes' | 'upstreams') {
  const found = new Map<string, object[]>()
  for (const [{ plugin, definition, route }, ...others] of tellers(snapshot)) {
    const routes = others.length === 0 ? { route } : { route: null, sharedBy: [route, ...others.map(one => one.route)] }
    for (const [name, facts] of factsOf(plugin, about)) {
      const entry = { plugin: definition.name, ...routes, ...facts }
      const list = found.get(name)
      if (list === undefined) found.set(name, [entry])
      else list.push(entry)
    }
  }
  return (name: string) => (found.has(name) ? { state: found.get(name) } : {})
}

/** The plugin instances; together those that share what they tell. */
function tellers(snapshot: Snapshot): Iterable<[PluginSite, ...PluginSite[]]> {
  const found = new Map<object, [PluginSite, ...PluginSite[]]>()
  for (const site of snapshot.sites.values()) {
    const what = site.shared ?? site
    const known = found.get(what)
    if (known === undefined) found.set(what, [site])
    else known.push(site)
  }
  return found.values()
}

function factsOf(plugin: Plugin, about: 'routes' | 'upstreams'): [string, object][] {
  if (plugin.inspect === undefined) return []
  try {
    const told = plugin.inspect() as Partial<Record<typeof about, Readonly<Record<string, object>>>> | null | undefined
    // As JSON here: what has none, such as a circle or a bigint, would break the page past this place.
    return Object.entries(JSON.parse(JSON.stringify(told?.[about] ?? {})) as Record<string, object>)
  } catch {
    // A user's plugin that breaks here must not take the page with it.
    return []
  }
}

function describeRoute(entry: Entry<Route>, shown: ShownRoute) {
  return { ...describe(entry, entry.route.options, shown), plugins: entry.route.plan.steps.map(step => step.name) }
}

function describeUpstream(upstream: Upstream, shown: ShownUpstream) {
  const { options, poller, view } = upstream
  const source = poller === null ? 'static' : `${shown.discover?.from}/${shown.discover?.service}`
  return {
    name: upstream.name,
    scheme: options.scheme,
    balance: options.balance,
    available: upstream.available,
    panic: upstream.panic,
    ...(poller !== null && {
      discovery: {
        source,
        ageSeconds: Number.isNaN(poller.age) ? null : Math.round(poller.age / 100) / 10,
        failure: poller.failure === null ? null : redactText(poller.failure),
        fromState: poller.fromState,
        told: poller.told,
        held: view?.guard.held.length ?? 0,
        mismatch: view?.mismatch ?? null,
      },
    }),
    // Those of the file stand in its order.
    endpoints: upstream.endpoints.map((endpoint, i) => describeEndpoint(endpoint, source, shown.endpoints?.[i])),
  }
}

/** `given` is what the file says of it; what a registry says is held to the same rules. */
function describeEndpoint(endpoint: Endpoint, source: string, given: ShownEndpoint | undefined) {
  const { health, pool } = endpoint
  const shown = typeof given === 'string' ? { address: given } : given
  return {
    address: shown?.address === REDACTED ? REDACTED : endpoint.address,
    weight: endpoint.weight,
    share: endpoint.share,
    labels: shown === undefined ? redact(endpoint.labels) : (shown.labels ?? {}),
    source,
    health: {
      usable: health.usable,
      active: health.active,
      reason: health.reason,
      ejectedUntil:
        health.ejectedUntil === 0 ? null : new Date(Date.now() + health.ejectedUntil - wheel.time()).toISOString(),
    },
    latencyMs: Math.round(endpoint.latency * 100) / 100,
    inFlight: endpoint.inFlight,
    requests: endpoint.requests,
    failures: endpoint.failures,
    connections: { open: pool.open, idle: pool.idle, waiting: pool.waiting },
  }
}
