// From a checked configuration to a snapshot: upstreams, plugins, plans and the route table, carried over where they did not change.
// Over 300 lines because one pass in one order decides what is carried, made and let go; split, the order would be hidden.
import { dirname, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Config } from '../config/document.ts'
import type { Problem } from '../config/explain.ts'
import type { Path } from '../config/fault.ts'
import { abortable } from '../discovery/abortable.ts'
import { Registry } from '../discovery/discovery.ts'
import { certificatePlaces } from '../discovery/options.ts'
import type { Poller } from '../discovery/poller.ts'
import { messageOf } from '../errors.ts'
import { compileCondition, compileKey } from '../exchange/attribute.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { Slot } from '../exchange/slot.ts'
import { CertificateError } from '../http/certificates.ts'
import { CidrSet } from '../http/cidr.ts'
import { LineLimit, type Log } from '../log.ts'
import { PluginEvents } from '../metrics.ts'
import { hint, noSuch } from '../nearest.ts'
import { type Catalog, firstLine, isUserPlugin } from '../pipeline/catalog.ts'
import type { PluginEntry } from '../pipeline/entry.ts'
import { Plan, type PlanMember } from '../pipeline/plan.ts'
import {
  type Closable,
  PHASES,
  type PluginDefinition,
  PluginOptionsError,
  type SharedContext,
} from '../pipeline/plugin.ts'
import { type RetryTally, Route } from '../route/route.ts'
import { RouteTableBuilder } from '../route/table.ts'
import { MEMORY_STORE } from '../store/kinds.ts'
import { MemoryStore } from '../store/memory.ts'
import { RedisStore } from '../store/redis.ts'
import type { CounterStore } from '../store/store.ts'
import { BALANCERS } from '../upstream/balance/algorithms.ts'
import type { MakeBalancer } from '../upstream/balance/balancer.ts'
import { contained } from '../upstream/balance/user.ts'
import { isUserBalancer, type UpstreamOptions } from '../upstream/options.ts'
import { Upstream } from '../upstream/upstream.ts'
import { fingerprint, type PluginSite, type RegistrySite, type StoreSite, sameUpstream, siteKey } from './carry.ts'
import { type SharedState, SharedStates } from './shared-state.ts'
import { Snapshot } from './snapshot.ts'

/** Work done in one go before the event loop gets its turn, in milliseconds: a reload must not show in latencies. */
const SLICE = 4

/** What compiling needs beside the configuration. */
export interface CompileContext {
  readonly catalog: Catalog
  readonly log: Log
  /** The YAML file: relative paths start at its folder. */
  readonly file: string
  /** Aborted when the gateway stops: then registries and stores are not waited for. */
  readonly stop: AbortSignal
}

/** Faults that only compiling could find. */
export class CompileError extends Error {
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    super(problems.map(({ message }) => message).join('\n'))
    this.name = 'CompileError'
    this.problems = problems
  }
}

/** A snapshot that is ready, and what to do when it goes live or is not used. */
export interface Compiled {
  readonly snapshot: Snapshot
  /** Call at the moment of the swap: sets changed endpoints, closes what is no longer used once nothing needs it. */
  commit(): void
  /** Call instead when it is not used: closes what was made for it. */
  discard(): void
}

/**
 * Compile `config`, taking over from `previous` what did not change. In slices, so that requests in flight never wait
 * for more than a few milliseconds. Rejects with CompileError for all faults at once, having closed what it made.
 */
export async function compile(config: Config, previous: Snapshot | null, context: CompileContext): Promise<Compiled> {
  const compiler = new Compiler(config, previous, context)
  try {
    return await compiler.run()
  } catch (error) {
    compiler.discard()
    throw error
  }
}

class Compiler {
  readonly #config: Config
  readonly #previous: Snapshot | null
  readonly #context: CompileContext
  readonly #baseDir: string
  readonly #upstreams = new Map<string, Upstream>()
  readonly #freshUpstreams: Upstream[] = []
  readonly #stores = new Map<string, StoreSite>()
  readonly #freshStores: CounterStore[] = []
  readonly #registries = new Map<string, RegistrySite>()
  readonly #freshRegistries: Registry[] = []
  readonly #hashKeys = new Map<string, (x: Exchange) => string>()
  readonly #sites = new Map<string, PluginSite>()
  readonly #freshSites: PluginSite[] = []
  /** Slots in use, by route; null stands for gateway-wide. */
  readonly #slots = new Map<string | null, Set<number>>()
  readonly #shared: SharedStates
  /** What instances at these places have of it, by route: a second one there must not get the same. */
  readonly #held = new Map<string | null, Set<SharedState>>()
  readonly #upstreamNames: ReadonlySet<string>
  readonly #problems: Problem[] = []
  #sliceEnd = 0

  constructor(config: Config, previous: Snapshot | null, context: CompileContext) {
    this.#config = config
    this.#previous = previous
    this.#context = context
    this.#baseDir = dirname(resolve(context.file))
    this.#shared = previous?.shared ?? new SharedStates()
    this.#upstreamNames = new Set(Object.keys(config.upstreams))
  }

  async run(): Promise<Compiled> {
    const config = this.#config
    await this.#openRegistries()
    await this.#compileUpstreams()
    await this.#openStores()
    // Carried instances keep their slots, so they are settled before new ones get theirs.
    await this.#carrySites()
    const everywhere = await this.#members(null, config.plugins, ['plugins'], this.#takenSlots(null))
    const builder = new RouteTableBuilder<Route>()
    const tallies = new Map<string, RetryTally>()
    for (const [index, options] of config.routes.entries()) {
      const own = await this.#members(
        options.name,
        options.plugins,
        ['routes', index, 'plugins'],
        this.#takenSlots(options.name),
      )
      const plan = this.#plan([...everywhere, ...own], ['routes', index, 'plugins'])
      await this.#breathe()
      // Nothing will come of it: what remains is to find the other faults.
      if (plan === null || this.#problems.length > 0) continue
      const upstream = options.upstream === undefined ? null : this.#upstreams.get(options.upstream)!
      const route = new Route(options, plan, upstream, this.#previous?.tallies.get(options.name))
      tallies.set(route.name, route.tally)
      builder.add(options.match, route, index, plan.preflight)
    }
    if (this.#problems.length > 0) throw new CompileError(this.#problems)
    const trusted = config.trustedProxies.length === 0 ? null : new CidrSet(config.trustedProxies)
    const snapshot = new Snapshot(
      config,
      builder.build(),
      this.#upstreams,
      trusted,
      this.#sites,
      this.#stores,
      this.#registries,
      this.#hashKeys,
      this.#shared,
      tallies,
    )
    return { snapshot, commit: () => this.#commit(snapshot), discard: () => this.discard() }
  }

  /** One of the faults that are told in the end; null for what does not come of it. */
  #fault(path: Path, message: string): null {
    this.#problems.push({ path, message, code: 'SLUICE_CONFIG_INVALID' })
    return null
  }

  /** Give the event loop its turn when a slice is used up. */
  async #breathe(): Promise<void> {
    if (performance.now() < this.#sliceEnd) return
    await setImmediate()
    this.#sliceEnd = performance.now() + SLICE
  }

  async #openRegistries(): Promise<void> {
    const { stateDir = null, discovery } = this.#config
    const same = this.#previous?.config.stateDir === this.#config.stateDir
    for (const [name, options] of Object.entries(discovery)) {
      const before = same ? this.#previous?.registries.get(name) : undefined
      try {
        const unchanged = before !== undefined && fingerprint(before.options) === fingerprint(options)
        if (unchanged && before.registry.certificatesCurrent()) {
          this.#registries.set(name, before)
          continue
        }
        const context = { baseDir: this.#baseDir, stateDir, log: this.#context.log }
        const registry = await Registry.open(name, options, context)
        this.#registries.set(name, { registry, options })
        this.#freshRegistries.push(registry)
      } catch (error) {
        const at = error instanceof CertificateError ? certificatePlaces(options)[error.option]! : []
        this.#fault(['discovery', name, ...at], `the registry cannot be used: ${(error as Error).message}`)
      }
    }
  }

  async #compileUpstreams(): Promise<void> {
    const { log } = this.#context
    const pathOf = (path: string) => resolve(this.#baseDir, path)
    for (const [name, options] of Object.entries(this.#config.upstreams)) {
      const { discover, balance, hashOn } = options
      // One whose registry cannot be used is told there.
      if (discover !== undefined && !this.#registries.has(discover.from)) continue
      const before = this.#previous?.upstreams.get(name)
      const poller = discover === undefined ? null : this.#watch(discover)
      if (balance === 'ring-hash' || (hashOn !== undefined && isUserBalancer(balance)))
        this.#hashKeys.set(name, compileKey(hashOn ?? 'client.ip'))
      const makeBalancer = await this.#balancer(name, balance)
      if (makeBalancer === null) continue
      try {
        const same = before !== undefined && before.poller === poller && sameUpstream(before, options)
        if (same && !isUserBalancer(balance) && before.certificatesCurrent(pathOf)) {
          this.#upstreams.set(name, before)
        } else {
          const upstream = new Upstream(name, options, {
            resolve: pathOf,
            makeBalancer,
            poller,
            previous: before ?? null,
            log,
          })
          this.#upstreams.set(name, upstream)
          this.#freshUpstreams.push(upstream)
        }
      } catch (error) {
        const option = error instanceof CertificateError ? [error.option] : []
        this.#fault(
          ['upstreams', name, 'tls', ...option],
          `a certificate file cannot be used: ${(error as Error).message}`,
        )
      }
      await this.#breathe()
    }
    // A service that is asked for the first time: its endpoints first, then the requests.
    await this.#prepared(Array.from(this.#upstreams.values(), upstream => upstream.poller?.ready))
  }

  /** Wait for what never fails, and serves none but the first requests: a gateway that stops will see none. */
  async #prepared(waits: readonly (Promise<void> | undefined)[]): Promise<void> {
    if (this.#problems.length > 0) return
    await abortable(Promise.all(waits), this.#context.stop).catch(() => {})
  }

  /** A registry under other options may not answer: what it told before is better than nothing then. */
  #watch({ from, service }: NonNullable<UpstreamOptions['discover']>): Poller {
    const { registry } = this.#registries.get(from)!
    const before = this.#previous?.registries.get(from)?.registry
    return registry.watch(service, before === registry ? null : (before?.inUse(service) ?? null))
  }

  async #balancer(upstream: string, name: string): Promise<MakeBalancer | null> {
    if (!isUserBalancer(name)) return BALANCERS[name as keyof typeof BALANCERS]
    try {
      const definition = await this.#context.catalog.loadBalancer(name, this.#baseDir)
      const { log } = this.#context
      const lines = new LineLimit()
      return contained(definition, error => {
        const left = lines.admit(name)
        if (left !== null)
          log.error('a balancer failed', { upstream, balancer: name, error: messageOf(error), ...left })
      })
    } catch (error) {
      return this.#fault(['upstreams', upstream, 'balance'], (error as Error).message)
    }
  }

  /** The stores: those that stay the same go on, a new one gets a moment to connect, and a start goes on without it. */
  async #openStores(): Promise<void> {
    const before = this.#previous?.stores
    this.#stores.set(MEMORY_STORE, before?.get(MEMORY_STORE) ?? { store: new MemoryStore(MEMORY_STORE), options: null })
    const connecting: Promise<void>[] = []
    for (const [name, options] of Object.entries(this.#config.stores)) {
      const same = before?.get(name)
      if (same !== undefined && fingerprint(same.options) === fingerprint(options)) this.#stores.set(name, same)
      else {
        const store = new RedisStore(name, options, this.#context.log)
        this.#stores.set(name, { store, options })
        this.#freshStores.push(store)
        connecting.push(store.ready)
      }
    }
    await this.#prepared(connecting)
  }

  async #carrySites(): Promise<void> {
    if (this.#previous === null) return
    this.#carry(null, this.#config.plugins)
    for (const route of this.#config.routes) {
      if (route.plugins.length > 0) this.#carry(route.name, route.plugins)
      await this.#breathe()
    }
  }

  #carry(route: string | null, entries: readonly PluginEntry[]): void {
    for (const { key, entry } of sitesOf(route, entries)) {
      const before = this.#previous!.sites.get(key)
      // A user's module may have changed though its options did not, so only bundled plugins are carried over.
      if (before === undefined || this.#context.catalog.get(entry.name) !== before.definition) continue
      if (before.fingerprint !== fingerprint(entry.options) || before.plugin.current?.() === false) continue
      // One whose store was exchanged would go on with a closed one.
      if (before.stores.every(store => this.#stores.get(store.name)?.store === store)) this.#keep(before)
    }
  }

  /** Slots that an instance at this place may not use: those of every plugin it can share a plan with. */
  #takenSlots(route: string | null): Set<number> {
    if (route === null) return new Set(Array.from(this.#slots.values(), taken => [...taken]).flat())
    return new Set([...(this.#slots.get(null) ?? []), ...(this.#slots.get(route) ?? [])])
  }

  #keep(site: PluginSite): void {
    this.#sites.set(site.key, site)
    if (site.slot !== null) addTo(this.#slots, site.route, site.slot.index)
    if (site.shared !== null) addTo(this.#held, site.route, site.shared)
  }

  async #members(
    route: string | null,
    entries: readonly PluginEntry[],
    path: Path,
    taken: Set<number>,
  ): Promise<PlanMember[]> {
    const members: PlanMember[] = []
    for (const { key, entry, index } of sitesOf(route, entries)) {
      let site = this.#sites.get(key) ?? null
      if (site === null) {
        const at = [...path, index]
        const definition = await this.#definition(entry.name, at)
        if (definition !== null) site = this.#create(key, route, definition, entry, at, taken)
        if (site === null) continue
        this.#keep(site)
        this.#freshSites.push(site)
      }
      members.push({
        plugin: site.plugin,
        name: site.definition.name,
        when: entry.when === null ? null : compileCondition(entry.when),
        vouches: site.definition.vouches === true && !isUserPlugin(entry.name),
      })
    }
    return members
  }

  async #definition(name: string, path: Path): Promise<PluginDefinition | null> {
    try {
      const definition = await this.#context.catalog.find(name, this.#baseDir)
      if (definition !== undefined) return definition
    } catch (error) {
      return this.#fault(path, (error as Error).message)
    }
    return this.#fault(path, `there is no plugin named ${name}`)
  }

  #create(
    key: string,
    route: string | null,
    definition: PluginDefinition,
    entry: PluginEntry,
    path: Path,
    taken: Set<number>,
  ): PluginSite | null {
    let slot: Slot<unknown> | null = null
    const stores: CounterStore[] = []
    let shared: SharedState | null = null
    // Plugins keep what they get here: no closure may hold the compiler, which holds the snapshot before.
    const { log } = this.#context
    const available = this.#stores
    const states = this.#shared
    const held = this.#held.get(route)
    const name = definition.name
    const events = new PluginEvents(name, route ?? '')
    let made = false
    const inTime = (what: string) => {
      if (made) throw new Error(`it asks for ${what} in a phase; that is for its create`)
    }
    const common: SharedContext = {
      // Never ended: what instances have in common is of no route, and plugins are few.
      counter: event => new PluginEvents(name, '').counter(event),
      log: (level, message, fields) => log[level](message, { plugin: name, ...fields }),
    }
    try {
      const plugin = definition.create(definition.options.parse(entry.options), {
        route,
        site: key,
        baseDir: this.#baseDir,
        upstreams: this.#upstreamNames,
        store: wanted => {
          inTime('a store')
          const found = available.get(wanted)
          if (found === undefined) throw new PluginOptionsError(noSuch('store', wanted, available.keys()))
          stores.push(found.store)
          return found.store
        },
        slot: <T>() => {
          // By then the places of other plugins are dealt out: it would get one of theirs.
          if (slot === null) inTime('a slot')
          slot ??= new Slot(lowestFree(taken))
          return slot as Slot<T>
        },
        shared: <T extends Closable>(of: unknown, make: (context: SharedContext) => T) => {
          if (shared !== null) throw new Error('it asks twice for what instances share')
          inTime('what instances share')
          const sharer = fingerprint([route === null, of])
          shared = states.hold(definition, sharer, held, () => make(common))
          return shared.value as T
        },
        counter: event => events.counter(event),
        log: (level, message, fields) =>
          log[level](message, { plugin: name, ...(route === null ? {} : { route }), ...fields }),
      })
      made = true
      checkMade(plugin)
      return { key, route, fingerprint: fingerprint(entry.options), definition, plugin, slot, events, stores, shared }
    } catch (error) {
      events.end()
      // TypeScript does not see that the closure above sets it.
      ;(shared as SharedState | null)?.release()
      const inner = error instanceof PluginOptionsError ? error.path : []
      return this.#fault([...path, entry.name, ...inner], `${name} cannot be made: ${firstLine(error)}`)
    }
  }

  #plan(members: readonly PlanMember[], path: Path): Plan | null {
    try {
      return new Plan(members)
    } catch (error) {
      return this.#fault(path, (error as Error).message)
    }
  }

  #commit(snapshot: Snapshot): void {
    for (const [name, options] of Object.entries(this.#config.upstreams)) {
      const upstream = this.#upstreams.get(name)!
      if (upstream.options !== options) upstream.reconfigure(options)
    }
    const previous = this.#previous
    if (previous === null) return
    for (const upstream of previous.upstreams.values()) {
      if (this.#upstreams.get(upstream.name) !== upstream) upstream.close()
    }
    for (const [name, site] of previous.registries) if (this.#registries.get(name) !== site) site.registry.close()
    for (const { registry } of this.#registries.values()) registry.sweep()
    for (const registry of this.#freshRegistries) registry.keep()
    const gone = [...previous.sites.values()].filter(site => this.#sites.get(site.key) !== site)
    const left = [...previous.stores.values()].filter(({ store }) => this.#stores.get(store.name)?.store !== store)
    // Requests that began under the old snapshot still run through its plugins.
    previous.retire(snapshot, closing(gone, left, this.#context.log))
  }

  discard(): void {
    for (const upstream of this.#freshUpstreams) upstream.close()
    for (const registry of this.#freshRegistries) {
      registry.close()
      this.#previous?.registries.get(registry.name)?.registry.keep()
    }
    for (const { registry } of this.#registries.values()) registry.sweep()
    closeSites(this.#freshSites, this.#context.log)
    for (const store of this.#freshStores) store.close()
  }
}

const PHASES_IN_LOWER_CASE = new Set(PHASES.map(phase => phase.toLowerCase()))

/** Throws for what a plugin's `create` must not return: without its phases, a guard would let everybody by. */
function checkMade(plugin: unknown): void {
  const promised = plugin instanceof Promise
  if (typeof plugin === 'object' && plugin !== null && !promised) {
    for (const name of namesIn(plugin)) {
      if (PHASES.includes(name) || !(/^on[A-Z]/.test(name) || PHASES_IN_LOWER_CASE.has(name.toLowerCase()))) continue
      throw new TypeError(`its create returned "${name}", which is no phase${hint(name, PHASES)}`)
    }
    for (const phase of PHASES) {
      const given: unknown = (plugin as Record<string, unknown>)[phase]
      if (given === undefined || typeof given === 'function') continue
      throw new TypeError(
        `its create returned ${given === null ? 'null' : `a ${typeof given}`} as ${phase}; a function is due`,
      )
    }
    return
  }
  if (promised) plugin.catch(() => {})
  const made = promised ? 'a promise' : plugin === null ? 'null' : typeof plugin
  throw new TypeError(`its create returned ${made}; an object with its phases is due`)
}

/** Own and inherited, so that the methods of a class are among them. */
function namesIn(object: object): Set<string> {
  const names = new Set<string>()
  for (let at: object | null = object; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const name of Object.getOwnPropertyNames(at)) names.add(name)
  return names
}

/** Outside of the compiler: a function made within a method may keep all that its neighbours use, and so the compiler. */
function closing(sites: readonly PluginSite[], stores: readonly StoreSite[], log: Log): () => void {
  return () => {
    closeSites(sites, log)
    for (const { store } of stores) store.close()
  }
}

/** Close these plugins; what one throws, or rejects with, is logged and keeps nothing from closing. */
export function closeSites(sites: Iterable<PluginSite>, log: Log): void {
  for (const { plugin, definition, events, shared } of sites) {
    const failed = (error: unknown) => {
      log.error('a plugin failed to close', { plugin: definition.name, error: messageOf(error) })
    }
    for (const close of [() => plugin.close?.(), () => shared?.release()]) {
      try {
        const closing: unknown = close()
        if (closing instanceof Promise) closing.catch(failed)
      } catch (error) {
        failed(error)
      }
    }
    events.end()
  }
}

/**
 * The places of a list; the n-th of one name keeps its identity when others come and go. One that is off keeps its place:
 * those behind it would lose what they have counted, and two gateways that differ in it would no longer share that.
 */
function* sitesOf(route: string | null, entries: readonly PluginEntry[]) {
  const seen = new Map<string, number>()
  for (const [index, entry] of entries.entries()) {
    const nth = seen.get(entry.name) ?? 0
    seen.set(entry.name, nth + 1)
    if (!entry.off) yield { key: siteKey(route, entry.name, nth), entry, index }
  }
}

function addTo<K, V>(sets: Map<K, Set<V>>, key: K, value: V): void {
  const set = sets.get(key)
  if (set === undefined) sets.set(key, new Set([value]))
  else set.add(value)
}

function lowestFree(taken: Set<number>): number {
  let index = 0
  while (taken.has(index)) index++
  taken.add(index)
  return index
}
