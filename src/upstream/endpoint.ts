// One address of an upstream: its connections, its numbers, and whether it may be picked.
import type { EndpointFacts } from '../http/address.ts'
import { EndpointHealth } from './health/health.ts'
import type { EndpointPool } from './transport/transport.ts'

/** Wants to know what became of each request to an endpoint. Passive health is one. */
export interface OutcomeWatcher {
  ended(endpoint: Endpoint, failed: boolean): void
}

/** Milliseconds in which what is known of a latency fades to a third (1/e), as in Finagle. */
export const LATENCY_MEMORY = 10_000

/** A latency is not taken for less: 0 stands for none, and clocks are coarse. */
const LEAST_LATENCY = 0.001

/** Nor does failing make it more. */
const MOST_BY_FAILURES = 60_000

/** Lives as long as its address stays in some snapshot; numbers and connections survive a reload. */
export class Endpoint implements EndpointFacts {
  readonly address: string
  readonly host: string
  readonly port: number
  /** As the configuration or a registry says; 0 gets none. */
  weight: number
  /** The weight that balancers go by: less than `weight` during a slow start. */
  share: number
  labels: Readonly<Record<string, string>>
  readonly pool: EndpointPool
  readonly health = new EndpointHealth()
  /** Told of every outcome; null where nobody asks. */
  readonly watcher: OutcomeWatcher | null
  /** Attempts under way. */
  inFlight = 0
  /** Attempts begun, and those that ended in an error or a 5xx. */
  requests = 0
  failures = 0
  /** Time to the head of the answer in milliseconds, an average that forgets; 0 before the first. See `answeredIn`. */
  latency = 0
  /** When `latency` was last set, by performance.now(). */
  latencyAt = 0

  constructor(facts: EndpointFacts, pool: EndpointPool, watcher: OutcomeWatcher | null = null) {
    this.address = facts.address
    this.host = facts.host
    this.port = facts.port
    this.weight = facts.weight
    this.share = facts.weight
    this.labels = facts.labels
    this.pool = pool
    this.watcher = watcher
  }

  /**
   * An answer's head came after `ms`, `now` by performance.now(). For balancers that are `timed`. A slower answer counts
   * at once, a faster one by the time that has passed since the last: so that a burst of fast ones hides no slow one.
   */
  answeredIn(ms: number, now: number): void {
    const slower = Math.max(ms, LEAST_LATENCY)
    if (slower >= this.latency) this.latency = slower
    else this.latency = slower + (this.latency - slower) * Math.exp(Math.min(0, this.latencyAt - now) / LATENCY_MEMORY)
    this.latencyAt = now
  }

  /**
   * No answer came, and that was clear after `ms`. Counts as twice what was known, or as `ms` if that is more: whoever
   * fails quickly must not look quick, or it would draw all requests to itself.
   */
  failedIn(ms: number, now: number): void {
    this.latency = Math.max(ms, LEAST_LATENCY, Math.min(2 * this.latency, MOST_BY_FAILURES))
    this.latencyAt = now
  }
}
