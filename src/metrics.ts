// Counters and gauges of the whole process, in Prometheus' text form, with label children resolved at load.
import { Counter, Gauge, Registry } from 'prom-client'

/** What /metrics shows. */
export const registry = new Registry()

const pluginEvents = new Counter({
  name: 'sluice_plugin_events_total',
  help: 'What plugins report, such as refused requests and state changes.',
  labelNames: ['plugin', 'route', 'event'],
  registers: [registry],
})

const reloads = new Counter({
  name: 'sluice_config_reloads_total',
  help: 'Reloads of the configuration by how they went.',
  labelNames: ['result'],
  registers: [registry],
})

const configGood = new Gauge({
  name: 'sluice_config_last_reload_success',
  help: '1 when the configuration file was last read without faults, 0 while a faulty one waits.',
  registers: [registry],
})
configGood.set(1)

/** What is shown of a plugin's events on a route, by both names. */
const shownEvents = new Map<string, { readonly events: Set<string>; instances: number }>()

/** The counters of one instance of a plugin; those of a route are shown until its last instance there has ended. */
export class PluginEvents {
  readonly #plugin: string
  readonly #route: string
  readonly #key: string
  #ended = false

  /** `route` is empty for what belongs to none. */
  constructor(plugin: string, route: string) {
    this.#plugin = plugin
    this.#route = route
    this.#key = JSON.stringify([plugin, route])
    const shown = shownEvents.get(this.#key) ?? { events: new Set(), instances: 0 }
    shown.instances++
    shownEvents.set(this.#key, shown)
  }

  /** A counter for one event. Resolve at load, call per event. */
  counter(event: string): () => void {
    shownEvents.get(this.#key)?.events.add(event)
    const child = pluginEvents.labels(this.#plugin, this.#route, event)
    return () => {
      if (!this.#ended) child.inc()
    }
  }

  /** The instance is closed: nothing of it counts any more. Routes come and go for as long as the process runs. */
  end(): void {
    const shown = shownEvents.get(this.#key)
    if (this.#ended || shown === undefined) return
    this.#ended = true
    if (--shown.instances > 0) return
    shownEvents.delete(this.#key)
    for (const event of shown.events) pluginEvents.remove(this.#plugin, this.#route, event)
  }
}

/** Note how a reload went. */
export function countReload(good: boolean): void {
  reloads.labels(good ? 'success' : 'faulty').inc()
  configGood.set(good ? 1 : 0)
}

const storeSwitches = new Counter({
  name: 'sluice_store_switches_total',
  help: 'How often a shared store was given up (down) and taken up again (up).',
  labelNames: ['store', 'to'],
  registers: [registry],
})

/** A shared store as its gauges show it. */
export interface ShownStore {
  readonly name: string
  /** False while it, or a server of its cluster, does not answer. */
  readonly up: boolean
  /** Gateways that were alive when it was last heard of. */
  readonly gateways: number
}

const stores = new Set<ShownStore>()

new Gauge({
  name: 'sluice_store_up',
  help: '1 while a shared store is asked, 0 while it (or a server of its cluster) does not answer.',
  labelNames: ['store'],
  registers: [registry],
  collect() {
    this.reset()
    for (const { name, up } of stores) this.labels(name).set(up ? 1 : 0)
  },
})

new Gauge({
  name: 'sluice_store_gateways',
  help: 'Gateways that were alive when a shared store was last heard of.',
  labelNames: ['store'],
  registers: [registry],
  collect() {
    this.reset()
    for (const { name, gateways } of stores) this.labels(name).set(gateways)
  },
})

/** Show a store; of several with one name the last counts. Returns what ends it. */
export function showStore(store: ShownStore): () => void {
  stores.add(store)
  return () => void stores.delete(store)
}

/** What each leased counter may admit beyond its limit, by store and counter. */
const leaseBounds = new Set<{ readonly store: string; readonly counter: string; readonly bound: () => number }>()

new Gauge({
  name: 'sluice_lease_over_admission_bound',
  help: 'Units beyond its limit that a leased counter may admit for one key: gateways alive times the units of a lease.',
  labelNames: ['store', 'counter'],
  registers: [registry],
  collect() {
    this.reset()
    for (const { store, counter, bound } of leaseBounds) this.labels(store, counter).set(bound())
  },
})

/** A shared store was given up, or is asked again. */
export function countStoreSwitch(store: string, to: 'down' | 'up'): void {
  storeSwitches.labels(store, to).inc()
}

/** Show the bound on what leasing may admit too much; returns what ends it. */
export function leaseBound(store: string, counter: string, bound: () => number): () => void {
  const own = { store, counter, bound }
  leaseBounds.add(own)
  return () => void leaseBounds.delete(own)
}

const polls = new Counter({
  name: 'sluice_discovery_polls_total',
  help: 'Polls of registries by what came of them: changed, same or failed.',
  labelNames: ['registry', 'result'],
  registers: [registry],
})

const POLL_RESULTS = ['changed', 'same', 'failed'] as const
type PollResult = (typeof POLL_RESULTS)[number]

/** What is shown of one service that discovery looks after. */
export interface DiscoveredService {
  readonly service: string
  /** Milliseconds since the registry last answered; NaN before it has. */
  readonly age: number
  readonly instances: number
  readonly held: number
}

/** Those under `discovery:`, in the order in which they were opened. */
const discovered = new Set<{ readonly name: string; readonly list: () => readonly DiscoveredService[] }>()

function discoveryGauge(name: string, help: string, value: (service: DiscoveredService) => number): void {
  new Gauge({
    name,
    help,
    labelNames: ['registry', 'service'],
    registers: [registry],
    collect() {
      this.reset()
      // The first of a name last: until a reload has the new one's answer, the old one is in use.
      for (const { name, list } of [...discovered].reverse())
        for (const one of list()) this.labels(name, one.service).set(value(one))
    },
  })
}

discoveryGauge(
  'sluice_discovery_age_seconds',
  'Seconds since the registry last answered for a service; NaN before it has.',
  one => one.age / 1000,
)
discoveryGauge('sluice_discovery_instances', 'Instances in use of a service.', one => one.instances)
discoveryGauge(
  'sluice_discovery_held_instances',
  'Instances in use that the registry does not tell of any more.',
  one => one.held,
)

/** A registry was asked. */
export function countPoll(registry: string, result: PollResult): void {
  polls.labels(registry, result).inc()
}

/** Show the services of a registry, until what this returns is called; of several with one name the first counts. */
export function showRegistry(name: string, list: () => readonly DiscoveredService[]): () => void {
  const own = { name, list }
  discovered.add(own)
  return () => {
    discovered.delete(own)
    if (![...discovered].some(other => other.name === name))
      for (const result of POLL_RESULTS) polls.remove(name, result)
  }
}
