// A named group of endpoints with its balancer, its health and its settings.
import { wheel } from '../clock.ts'
import type { Poller } from '../discovery/poller.ts'
import { passing } from '../discovery/same.ts'
import type { Subscription } from '../discovery/service.ts'
import { lookupAllowed } from '../discovery/target.ts'
import type { View } from '../discovery/view.ts'
import type { EndpointFacts } from '../http/address.ts'
import { type CertificateFiles, readCertificates, secureContext } from '../http/certificates.ts'
import type { Log } from '../log.ts'
import type { Balancer, MakeBalancer } from './balance/balancer.ts'
import { Endpoint } from './endpoint.ts'
import { finder, without } from './endpoints.ts'
import { ActiveHealth } from './health/active.ts'
import type { ActiveState } from './health/health.ts'
import { PassiveHealth } from './health/passive.ts'
import type { UpstreamOptions } from './options.ts'
import { SlowStart } from './slow-start.ts'
import { Http1Pool } from './transport/pool.ts'
import type { TransportOptions } from './transport/transport.ts'

/** What an upstream is made of beside its options. */
export interface UpstreamParts {
  /** Finds the file that a path in the options means. */
  readonly resolve: (path: string) => string
  readonly makeBalancer: MakeBalancer
  /** Finds the endpoints; null for those that stand in the options. */
  readonly poller: Poller | null
  /** The one of the same name whose place it takes; null for none. */
  readonly previous: Upstream | null
  readonly log: Log
}

/** What an upstream takes over from the one before, of endpoints that both have. */
interface Legacy {
  readonly endpoints: ReadonlyMap<string, Endpoint>
  /** What probes found. */
  readonly probes: boolean
  /** What passive health holds against them. */
  readonly ejections: boolean
}

/** Up to so many endpoints each change is dealt with at once. */
const SMALL = 64

/** Lives across reloads for as long as its options stay the same. */
export class Upstream {
  readonly name: string
  options: UpstreamOptions
  /** All endpoints, those included that are not used for now. */
  endpoints: readonly Endpoint[] = []
  /** Swapped by one assignment when the endpoints, their shares or their health change. */
  balancer: Balancer
  /** True while some endpoint is healthy. Settled whenever that may change, so that asking costs nothing. */
  available = false
  /** True while so few endpoints are healthy that all are used. */
  panic = false
  /** Where the endpoints come from; null for the options. */
  readonly poller: Poller | null
  readonly #makeBalancer: MakeBalancer
  readonly #transport: TransportOptions
  /** Null for http. */
  readonly #certificates: CertificateFiles | null
  readonly #log: Log
  readonly #active: ActiveHealth | null
  readonly #passive: PassiveHealth | null
  readonly #slowStart: SlowStart
  readonly #subscription: Subscription | null
  /** False until the first endpoints are known: those all begin at once, and slowly to nobody's good. */
  #warm = false
  /** Until then. */
  #legacy: Legacy | null
  #pending: NodeJS.Immediate | null = null

  /** Throws when a certificate file cannot be read, or is none (CertificateError). */
  constructor(name: string, options: UpstreamOptions, { resolve, makeBalancer, poller, previous, log }: UpstreamParts) {
    this.name = name
    this.options = options
    this.poller = poller
    this.#makeBalancer = makeBalancer
    this.#log = log
    const { scheme, connections, timeouts, health, host } = options
    this.#certificates = scheme === 'https' ? readCertificates(options.tls ?? {}, resolve) : null
    const tls =
      this.#certificates === null
        ? null
        : {
            context: secureContext(this.#certificates),
            verify: options.tls?.verify ?? true,
            servername: options.tls?.servername ?? null,
          }
    const lookup = poller === null ? null : lookupAllowed(poller.linkLocal)
    this.#transport = { scheme, tls, connections, timeouts, lookup }
    const probe = { tls, lookup, host: host === 'pass' || host === 'endpoint' ? null : host }
    this.#active = health?.active === undefined ? null : new ActiveHealth(health.active, probe, this, wheel)
    this.#passive = health?.passive === undefined ? null : new PassiveHealth(health.passive, this, wheel)
    this.#legacy = previous === null ? null : this.#legacyOf(previous)
    this.#slowStart = new SlowStart(options.slowStart, () => this.#rebuild(), wheel)
    this.balancer = makeBalancer([], null)
    this.#subscription = poller?.subscribe(options.discover!, () => this.#discovered()) ?? null
    if (poller === null) this.update(options.endpoints ?? [])
    else if (poller.known) this.#discovered()
  }

  /** False when a certificate file was renewed since it was read. Throws when one can no longer be read. */
  certificatesCurrent(resolve: (path: string) => string): boolean {
    if (this.#certificates === null) return true
    return JSON.stringify(readCertificates(this.options.tls ?? {}, resolve)) === JSON.stringify(this.#certificates)
  }

  /** Take over options that differ in nothing but their endpoints. */
  reconfigure(options: UpstreamOptions): void {
    const before = this.options.endpoints
    this.options = options
    if (this.poller === null && JSON.stringify(before) !== JSON.stringify(options.endpoints))
      this.update(options.endpoints ?? [])
  }

  /** What it gets of a registry; null where the endpoints stand in the options. */
  get view(): View | null {
    return this.#subscription?.view ?? null
  }

  /** Why the balancer picks none, for the log. */
  get whyNone(): string {
    const { endpoints, poller } = this
    const { length } = endpoints
    // Asked for each request that fails by it: of many endpoints mostly the first says enough.
    if (this.available) return `the balancer picks none of ${length}`
    if (endpoints.some(({ weight }) => weight > 0)) return `none of ${length} is healthy`
    if (length > 0) return `all ${length} have weight 0`
    if (poller === null) return 'none is configured'
    const mismatch = this.view?.mismatch ?? null
    if (mismatch !== null) return mismatch
    return poller.failure === null ? 'the registry tells of no instance' : `discovery fails: ${poller.failure}`
  }

  #discovered(): void {
    this.update(this.#subscription!.view.endpoints)
  }

  /**
   * Set the endpoints: those known before keep their connections, numbers and health, those gone finish what they have.
   */
  update(facts: readonly EndpointFacts[]): void {
    const known = finder(this.endpoints)
    const next: Endpoint[] = []
    const fresh: Endpoint[] = []
    for (const one of facts) {
      const kept = known(one.address)
      if (kept === undefined) {
        const endpoint = new Endpoint(one, new Http1Pool(one.host, one.port, this.#transport), this.#passive)
        next.push(endpoint)
        fresh.push(endpoint)
        continue
      }
      kept.weight = one.weight
      kept.labels = one.labels
      this.#slowStart.apply(kept)
      next.push(kept)
    }
    const gone = next.length - fresh.length < this.endpoints.length ? without(this.endpoints, next) : []
    this.endpoints = next
    for (const endpoint of fresh) {
      if (this.#warm) this.#slowStart.begin(endpoint)
      else this.#inherit(endpoint)
      this.#active?.watch(endpoint)
    }
    for (const endpoint of gone) {
      this.#active?.forget(endpoint)
      this.#passive?.forget(endpoint)
      this.#slowStart.forget(endpoint)
    }
    if (next.length > 0) {
      this.#warm = true
      this.#legacy = null
    }
    this.#rebuild()
    // Last: no attempt begins there any more.
    for (const endpoint of gone) endpoint.pool.close()
  }

  /**
   * What is known under other options is still so, where it was found out by the same rules. How often is asked, how many
   * times and how long an ejection lasts are none of them: no reload brings back what is ill.
   */
  #legacyOf(previous: Upstream): Legacy {
    const asked = ({ options: { scheme, tls, host, health } }: Upstream) => {
      const { interval: _a, healthyAfter: _b, unhealthyAfter: _c, ...probe } = health?.active ?? {}
      return [scheme, tls, host, probe]
    }
    const held = ({ options: { health } }: Upstream) => {
      const { ejectFor: _a, maxEjectFor: _b, ...rules } = health?.passive ?? {}
      return rules
    }
    const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
    return {
      endpoints: new Map(previous.endpoints.map(endpoint => [endpoint.address, endpoint])),
      probes: same(asked(this), asked(previous)) && same(this.#certificates, previous.#certificates),
      ejections: same(held(this), held(previous)),
    }
  }

  #inherit(endpoint: Endpoint): void {
    const before = this.#legacy?.endpoints.get(endpoint.address)
    if (before === undefined) return
    if (this.#legacy!.probes) {
      endpoint.health.active = before.health.active
      endpoint.health.probeFault = before.health.probeFault
    }
    if (this.#legacy!.ejections) this.#passive?.adopt(endpoint, before.health)
  }

  /** Deal anew among those that may be used. */
  #rebuild(): void {
    const open = passing(this.endpoints, endpoint => endpoint.weight > 0)
    const healthy = passing(open, endpoint => endpoint.health.usable)
    const panicBelow = this.options.health?.panicBelow ?? 0
    // Divided, as the option was: a product of the two may be a little more than the whole number that it stands for.
    const panic = healthy.length / open.length < panicBelow
    if (panic !== this.panic) {
      this.panic = panic
      const fields = { upstream: this.name, healthy: healthy.length, endpoints: open.length }
      if (panic) this.#log.warn('too few endpoints are healthy: all are used', fields)
      else this.#log.info('enough endpoints are healthy again', fields)
    }
    this.available = healthy.length > 0
    this.balancer = this.#makeBalancer(panic ? open : healthy, this.balancer)
  }

  /** Deal anew soon: of a large set many may change at once. */
  #rebuildSoon(): void {
    if (this.endpoints.length <= SMALL) this.#rebuild()
    else
      this.#pending ??= setImmediate(() => {
        this.#pending = null
        this.#rebuild()
      })
  }

  /** See ActiveOwner. */
  probed(endpoint: Endpoint, before: ActiveState): void {
    const { active, reason, usable } = endpoint.health
    const fields = { upstream: this.name, endpoint: endpoint.address }
    if (active === 'unhealthy') {
      this.#log.warn('an endpoint is unhealthy', { ...fields, reason })
      this.#slowStart.forget(endpoint)
      this.#rebuildSoon()
      return
    }
    // It was in use before its first probe as well.
    if (before === 'unknown') return
    this.#log.info('an endpoint is healthy again', fields)
    if (usable) this.#comesBack(endpoint)
  }

  /** See ActiveOwner. */
  proven(endpoint: Endpoint): void {
    this.#passive?.proven(endpoint)
  }

  /** See PassiveOwner. */
  ejected(endpoint: Endpoint): void {
    const { reason } = endpoint.health
    this.#log.warn('an endpoint was ejected', { upstream: this.name, endpoint: endpoint.address, reason })
    this.#slowStart.forget(endpoint)
    this.#rebuildSoon()
  }

  /** See PassiveOwner. */
  returned(endpoint: Endpoint): void {
    // Probes may find it ill, and say so when they no longer do.
    if (!endpoint.health.usable) return
    this.#log.info('an ejected endpoint is used again', { upstream: this.name, endpoint: endpoint.address })
    this.#comesBack(endpoint)
  }

  #comesBack(endpoint: Endpoint): void {
    // In panic it was used all the time.
    if (!this.panic) this.#slowStart.begin(endpoint)
    this.#rebuildSoon()
  }

  /** The Host field for an attempt: the client's, the endpoint's or a literal. */
  hostFor(endpoint: Endpoint, clientHost: string): string {
    const host = this.options.host
    if (host === 'pass') return clientHost === '' ? endpoint.address : clientHost
    return host === 'endpoint' ? endpoint.address : host
  }

  /** Let go of all connections, probes and timers; requests in flight finish. */
  close(): void {
    this.#subscription?.end()
    if (this.#pending !== null) clearImmediate(this.#pending)
    this.#active?.close()
    this.#passive?.close()
    this.#slowStart.close()
    for (const endpoint of this.endpoints) endpoint.pool.close()
  }
}
