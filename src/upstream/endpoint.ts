// One address of an upstream: its connections, its numbers, and whether it may be picked.
import type { EndpointFacts } from '../http/address.ts'
import type { EndpointPool } from './transport/transport.ts'

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
  /** Attempts under way. */
  inFlight = 0
  /** Attempts begun, and those that ended in an error or a 5xx. */
  requests = 0
  failures = 0
  /** Time to the head of the answer in milliseconds, an average that forgets; 0 before the first. See `answeredIn`. */
  latency = 0
  /** When `latency` was last set, by performance.now(). */
  latencyAt = 0

  constructor(facts: EndpointFacts, pool: EndpointPool) {
    this.address = facts.address
    this.host = facts.host
    this.port = facts.port
    this.weight = facts.weight
    this.share = facts.weight
    this.labels = facts.labels
    this.pool = pool
  }
}
