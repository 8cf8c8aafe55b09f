// One immutable compiled configuration: what an exchange sees from its first byte to its last.
import type { Config } from '../config/document.ts'
import type { ExchangeWorld } from '../exchange/exchange.ts'
import type { CidrSet } from '../http/cidr.ts'
import type { Route } from '../route/route.ts'
import type { RouteTable } from '../route/table.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { PluginSite } from './carry.ts'

/** See the head of this file. Made by snapshot/compile.ts, swapped in by one assignment. */
export class Snapshot implements ExchangeWorld {
  readonly config: Config
  readonly table: RouteTable<Route>
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly trusted: CidrSet | null
  /** The plugin instances at their places, for the next snapshot to carry over. */
  readonly sites: ReadonlyMap<string, PluginSite>
  /** Exchanges that began under it and are not over. */
  inFlight = 0
  #onIdle: (() => void) | null = null

  constructor(
    config: Config,
    table: RouteTable<Route>,
    upstreams: ReadonlyMap<string, Upstream>,
    trusted: CidrSet | null,
    sites: ReadonlyMap<string, PluginSite>,
  ) {
    this.config = config
    this.table = table
    this.upstreams = upstreams
    this.trusted = trusted
    this.sites = sites
  }

  /** Call back once no exchange is under way; at once when none is. At most one callback is kept. */
  whenIdle(callback: () => void): void {
    if (this.inFlight === 0) callback()
    else this.#onIdle = callback
  }

  /** One exchange is over. */
  leave(): void {
    this.inFlight--
    if (this.inFlight === 0 && this.#onIdle !== null) {
      const callback = this.#onIdle
      this.#onIdle = null
      callback()
    }
  }
}
