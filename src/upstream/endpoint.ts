// One address of an upstream: its connections, its numbers, and whether it may be picked.
import type { EndpointPool } from './transport/transport.ts'

/** What the configuration or a discovery says of an endpoint. */
export interface EndpointFacts {
  /** `host:port` as it was written: the endpoint's identity across reloads. */
  readonly address: string
  readonly host: string
  readonly port: number
  /** Share of the traffic beside the others; 0 gets none. */
  readonly weight: number
  readonly labels: Readonly<Record<string, string>>
}

/** Lives as long as its address stays in some snapshot; numbers and connections survive a reload. */
export class Endpoint implements EndpointFacts {
  readonly address: string
  readonly host: string
  readonly port: number
  weight: number
  labels: Readonly<Record<string, string>>
  readonly pool: EndpointPool
  /** Attempts under way. */
  inFlight = 0
  /** Attempts begun, and those that ended in an error or a 5xx. */
  requests = 0
  failures = 0

  constructor(facts: EndpointFacts, pool: EndpointPool) {
    this.address = facts.address
    this.host = facts.host
    this.port = facts.port
    this.weight = facts.weight
    this.labels = facts.labels
    this.pool = pool
  }
}
