// The guards of all entries with the same options, found by what each stands for: an upstream, a route or an endpoint.
import { type Endpoint, type Exchange, wheel } from '../../src/plugin-api.ts'
import type { BreakerRules } from './breaker.ts'
import { Guard, type Guarded, type ReportMove } from './guard.ts'
import type { Options } from './options.ts'

/** What is told of an upstream: its breaker, or those of its endpoints or of the routes to it. */
interface UpstreamFacts {
  readonly [fact: string]: unknown
  readonly endpoints?: Record<string, object>
  readonly routes?: Record<string, object>
}

/** Guards that may stand before those that remember nothing are let go of. */
const SWEEP = 64

/** See the head of this file. */
export class Guards {
  readonly #scope: Options['scope']
  readonly #rules: BreakerRules
  readonly #report: ReportMove
  /** By name of the upstream or route, or by endpoint: one that is removed and comes back begins anew. */
  readonly #found = new Map<string | Endpoint, Guard>()
  /** Nearly always the same one is wanted again. */
  #lastKey: string | Endpoint | null = null
  #last: Guard | null = null
  #sweepAt = SWEEP
  /** By upstream, where its guards were last looked through: whose endpoints they are, and which those were. */
  readonly #sets = new Map<string, { readonly upstream: object; readonly endpoints: readonly Endpoint[] }>()

  constructor(scope: Options['scope'], rules: BreakerRules, report: ReportMove) {
    this.#scope = scope
    this.#rules = rules
    this.#report = report
  }

  /** The guard of this try. Called in the attempt phase, where upstream and endpoint are known. */
  of(x: Exchange): Guard {
    const scope = this.#scope
    const key = scope === 'upstream' ? x.upstream!.name : scope === 'route' ? x.route.name : x.endpoint!
    if (key !== this.#lastKey) {
      this.#last = this.#found.get(key) ?? this.#make(key, x)
      this.#lastKey = key
    }
    const guard = this.#last!
    // Only a route may go to more than one.
    if (scope === 'route') guard.meet(x.upstream!.name)
    return guard
  }

  #make(key: string | Endpoint, x: Exchange): Guard {
    this.#sweep(x)
    const known = this.#found.get(key)
    if (known !== undefined) return known
    const guard = new Guard(this.#guarded(x), this.#rules, this.#report)
    this.#found.set(key, guard)
    return guard
  }

  #guarded(x: Exchange): Guarded {
    const scope = this.#scope
    return {
      route: scope === 'route' ? x.route.name : null,
      upstream: scope === 'route' ? null : x.upstream!.name,
      endpoint: scope === 'endpoint' ? x.endpoint : null,
    }
  }

  /** Names and endpoints come and go with reloads and discovery; what is left of them must not pile up. */
  #sweep(x: Exchange): void {
    if (this.#scope === 'endpoint') {
      const upstream = x.upstream!
      const { name, endpoints } = upstream
      const before = this.#sets.get(name)
      if (before?.endpoints !== endpoints) {
        this.#sets.set(name, { upstream, endpoints })
        if (before !== undefined && before.upstream !== upstream) this.#hand(name, endpoints)
        // Those that are out of use for now are among them.
        const present = new Set(endpoints)
        this.#drop(guard => guard.of.upstream === name && !present.has(guard.of.endpoint!))
      }
    }
    if (this.#found.size < this.#sweepAt) return
    const now = wheel.time()
    this.#drop(guard => guard.idle(now))
    const left = new Set(Array.from(this.#found.values(), guard => guard.of.upstream))
    for (const name of this.#sets.keys()) if (!left.has(name) && name !== x.upstream!.name) this.#sets.delete(name)
    this.#sweepAt = Math.max(SWEEP, 2 * this.#found.size)
  }

  /** A reload made the upstream anew, and its endpoints with it: each takes over the guard of its address. */
  #hand(name: string, endpoints: readonly Endpoint[]): void {
    const heirs = new Map(endpoints.map(endpoint => [endpoint.address, endpoint]))
    for (const [key, guard] of [...this.#found]) {
      const { upstream, endpoint } = guard.of
      const heir = upstream === name ? heirs.get(endpoint!.address) : undefined
      if (heir === undefined || heir === endpoint || this.#found.has(heir)) continue
      this.#found.delete(key)
      guard.of = { ...guard.of, endpoint: heir }
      this.#found.set(heir, guard)
    }
  }

  #drop(gone: (guard: Guard) => boolean): void {
    for (const [key, guard] of this.#found) {
      if (!gone(guard)) continue
      guard.close()
      this.#found.delete(key)
    }
    this.#lastKey = null
    this.#last = null
  }

  /** Facts for the admin pages, under the names of upstreams and routes. */
  facts(): { upstreams: Record<string, object>; routes: Record<string, object> } {
    const now = wheel.time()
    // Names are a user's: no prototype.
    const upstreams: Record<string, UpstreamFacts> = Object.create(null)
    const routes: Record<string, object> = Object.create(null)
    const scope = this.#scope
    for (const guard of this.#found.values()) {
      const { route, upstream, endpoint } = guard.of
      const facts = { scope, ...guard.facts(now) }
      if (route !== null) {
        routes[route] = facts
        for (const name of guard.judged) {
          upstreams[name] ??= { scope, routes: Object.create(null) }
          upstreams[name]!.routes![route] = facts
        }
      } else if (endpoint === null) upstreams[upstream!] = facts
      else {
        upstreams[upstream!] ??= { scope, endpoints: Object.create(null) }
        upstreams[upstream!]!.endpoints![endpoint.address] = facts
      }
    }
    return { upstreams, routes }
  }

  close(): void {
    for (const guard of this.#found.values()) guard.close()
  }
}
