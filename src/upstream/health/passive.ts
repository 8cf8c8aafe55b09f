// Passive health: an endpoint whose requests fail is left out for a while, longer each time, and never too many at once.
import { Timer, type Wheel } from '../../clock.ts'
import type { Endpoint } from '../endpoint.ts'
import type { EndpointHealth } from './health.ts'
import type { PassiveOptions } from './options.ts'

/** What passive health tells its upstream. */
export interface PassiveOwner {
  readonly endpoints: readonly Endpoint[]
  /** An endpoint was ejected, or comes back. */
  ejected(endpoint: Endpoint): void
  returned(endpoint: Endpoint): void
}

/**
 * Watches the outcome of every request to the endpoints of one upstream. The rules are those of Envoy's outlier
 * detection (consecutive failures, failure share, ejection times that grow, a bound on how many), decided at each
 * outcome instead of in sweeps.
 */
export class PassiveHealth {
  readonly #options: PassiveOptions
  readonly #owner: PassiveOwner
  readonly #wheel: Wheel
  readonly #timers = new Map<Endpoint, Timer>()
  #closed = false

  constructor(options: PassiveOptions, owner: PassiveOwner, wheel: Wheel) {
    this.#options = options
    this.#owner = owner
    this.#wheel = wheel
  }

  /** A request came to an end: `failed` when there was no answer, or one with a 5xx. Called by the attempt. */
  ended(endpoint: Endpoint, failed: boolean): void {
    const { health } = endpoint
    const { consecutiveFailures, failureShare } = this.#options
    if (failed) health.consecutiveFailures++
    else health.consecutiveFailures = 0
    const byShare = failureShare !== undefined && this.#count(endpoint, failed, failureShare)
    if (health.ejectedUntil !== 0) return
    if (health.consecutiveFailures >= consecutiveFailures)
      this.#eject(endpoint, `${consecutiveFailures} failures in a row`)
    else if (byShare) this.#eject(endpoint, `${health.windowFailures} of ${health.windowRequests} requests failed`)
  }

  /** True when the window's share of failures is too large. */
  #count({ health }: Endpoint, failed: boolean, share: number): boolean {
    const now = this.#wheel.time()
    if (now - health.windowStart >= this.#options.window) {
      health.windowStart = now
      health.windowRequests = 0
      health.windowFailures = 0
    }
    health.windowRequests++
    if (failed) health.windowFailures++
    return (
      failed &&
      health.windowRequests >= this.#options.minRequests &&
      health.windowFailures / health.windowRequests >= share
    )
  }

  #eject(endpoint: Endpoint, reason: string): void {
    const { ejectFor, maxEjected } = this.#options
    const { endpoints } = this.#owner
    // Requests that outlive their endpoint, or their upstream, end here as well.
    if (this.#closed || !endpoints.includes(endpoint)) return
    // Those with weight 0 serve nobody: they would make room for all others to be left out.
    const open = endpoints.filter(other => other.weight > 0)
    const ejected = open.filter(other => other.health.ejectedUntil !== 0).length
    if (ejected > 0 && (ejected + 1) / open.length > maxEjected) return
    const { health } = endpoint
    const now = this.#wheel.time()
    // Time without an ejection is forgiveness: one is forgotten for each `ejectFor` that went well.
    const forgiven = health.ejections === 0 ? 0 : Math.floor((now - health.returnedAt) / ejectFor)
    health.ejections = Math.max(0, health.ejections - forgiven) + 1
    this.#leaveOut(endpoint, now + this.#length(health), reason)
    this.#owner.ejected(endpoint)
  }

  #leaveOut(endpoint: Endpoint, until: number, reason: string): void {
    const { health } = endpoint
    health.ejectedUntil = until
    health.ejectedFor = reason
    const timer = new Timer(this.#wheel, () => this.#return(endpoint))
    timer.set(until - this.#wheel.time())
    this.#timers.set(endpoint, timer)
  }

  /** Take over what another upstream's passive health, by the same rules, holds against its endpoint at that address. */
  adopt(endpoint: Endpoint, before: EndpointHealth): void {
    const { health } = endpoint
    health.ejections = before.ejections
    health.returnedAt = before.returnedAt
    health.consecutiveFailures = before.consecutiveFailures
    health.windowStart = before.windowStart
    health.windowRequests = before.windowRequests
    health.windowFailures = before.windowFailures
    if (before.ejectedUntil === 0) return
    // No longer than one that begins now.
    const until = Math.min(before.ejectedUntil, this.#wheel.time() + this.#length(health))
    this.#leaveOut(endpoint, until, before.ejectedFor)
  }

  /** How long the last ejection is to last that was counted. */
  #length({ ejections }: EndpointHealth): number {
    const { ejectFor, maxEjectFor } = this.#options
    return Math.min(maxEjectFor, ejectFor * ejections)
  }

  /** An active probe succeeded: whatever was held against the endpoint is over. */
  proven(endpoint: Endpoint): void {
    if (endpoint.health.ejectedUntil !== 0) this.#return(endpoint)
  }

  #return(endpoint: Endpoint): void {
    const { health } = endpoint
    this.#timers.get(endpoint)?.remove()
    this.#timers.delete(endpoint)
    health.ejectedUntil = 0
    health.returnedAt = this.#wheel.time()
    health.consecutiveFailures = 0
    health.windowRequests = 0
    health.windowFailures = 0
    this.#owner.returned(endpoint)
  }

  /** The endpoint is no longer part of the upstream. */
  forget(endpoint: Endpoint): void {
    this.#timers.get(endpoint)?.remove()
    this.#timers.delete(endpoint)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#timers.values()) timer.remove()
    this.#timers.clear()
  }
}
