// What a balancer is: it knows endpoints and a key, never a request.
import type { Endpoint } from '../endpoint.ts'

/** Picks an endpoint for each attempt. Replaced as a whole when the set of endpoints changes. */
export interface Balancer {
  readonly endpoints: readonly Endpoint[]
  /**
   * An endpoint to try, or null when there is none. `key` is the hash of the attribute to balance on (0 without one).
   * `avoid` is the endpoint that just failed: another is given where there is one.
   */
  pick(key: number, avoid: Endpoint | null): Endpoint | null
}

/** Makes a balancer over a set of endpoints. */
export type MakeBalancer = (endpoints: readonly Endpoint[]) => Balancer
