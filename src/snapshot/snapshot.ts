// One immutable compiled configuration: what an exchange sees from its first byte to its last.
import type { Config } from '../config/document.ts'
import type { Exchange, ExchangeWorld } from '../exchange/exchange.ts'
import { murmur3 } from '../hash.ts'
import type { CidrSet } from '../http/cidr.ts'
import type { RetryTally, Route } from '../route/route.ts'
import type { RouteTable } from '../route/table.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { PluginSite, RegistrySite, StoreSite } from './carry.ts'
import type { SharedStates } from './shared-state.ts'

/** See the head of this file. Made by snapshot/compile.ts, swapped in by one assignment. */
export class Snapshot implements ExchangeWorld {
  readonly config: Config
  readonly table: RouteTable<Route>
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly trusted: CidrSet | null
  /** The plugin instances at their places, for the next snapshot to carry over. */
  readonly sites: ReadonlyMap<string, PluginSite>
  /** The stores by name, for the same. */
  readonly stores: ReadonlyMap<string, StoreSite>
  /** The registries by name, for the same. */
  readonly registries: ReadonlyMap<string, RegistrySite>
  /** What an upstream's balancer goes by, by the name of the upstream; for those alone that go by something. */
  readonly hashKeys: ReadonlyMap<string, (x: Exchange) => string>
  /** What plugin instances have in common, for the same. */
  readonly shared: SharedStates
  /** What the routes have of their retry budgets, by name, for the same. */
  readonly tallies: ReadonlyMap<string, RetryTally>
  /** Exchanges that began under it and are not over. */
  inFlight = 0
  readonly #tenure = new Tenure()

  constructor(
    config: Config,
    table: RouteTable<Route>,
    upstreams: ReadonlyMap<string, Upstream>,
    trusted: CidrSet | null,
    sites: ReadonlyMap<string, PluginSite>,
    stores: ReadonlyMap<string, StoreSite>,
    registries: ReadonlyMap<string, RegistrySite>,
    hashKeys: ReadonlyMap<string, (x: Exchange) => string>,
    shared: SharedStates,
    tallies: ReadonlyMap<string, RetryTally>,
  ) {
    this.config = config
    this.table = table
    this.upstreams = upstreams
    this.trusted = trusted
    this.sites = sites
    this.stores = stores
    this.registries = registries
    this.hashKeys = hashKeys
    this.shared = shared
    this.tallies = tallies
  }

  /**
   * No exchange begins under it any more, but under `successor` (null at the end of the gateway). Calls back once none
   * is under way, neither here nor under an earlier snapshot: what was carried over may be in use there still.
   */
  retire(successor: Snapshot | null, idle: () => void): void {
    this.#tenure.end(this.inFlight > 0, successor === null ? null : successor.#tenure, idle)
  }

  /** What the balancer of an upstream goes by: a hash of what `hashOn` names, 0 where nothing is asked for. */
  keyFor(upstream: Upstream, x: Exchange): number {
    if (this.hashKeys.size === 0) return 0
    const keyOf = this.hashKeys.get(upstream.name)
    return keyOf === undefined ? 0 : murmur3(keyOf(x), 0)
  }

  /** One exchange is over. */
  leave(): void {
    this.inFlight--
    if (this.inFlight === 0) this.#tenure.left()
  }
}

/**
 * How long a snapshot is needed. Apart from it, so that one long exchange keeps no more than this of all the snapshots
 * that came after its own.
 */
class Tenure {
  /** Exchanges of this snapshot, or of an earlier one, are under way. Both are settled when it ends. */
  #own = true
  #earlier = false
  #ended = false
  #next: Tenure | null = null
  #idle: (() => void) | null = null

  end(own: boolean, next: Tenure | null, idle: () => void): void {
    this.#ended = true
    this.#own = own
    this.#next = next
    this.#idle = idle
    if (next !== null) next.#earlier = true
    this.#settle()
  }

  left(): void {
    if (!this.#ended) return
    this.#own = false
    this.#settle()
  }

  #settle(): void {
    if (!this.#ended || this.#own || this.#earlier || this.#idle === null) return
    const idle = this.#idle
    this.#idle = null
    idle()
    if (this.#next === null) return
    this.#next.#earlier = false
    this.#next.#settle()
  }
}
