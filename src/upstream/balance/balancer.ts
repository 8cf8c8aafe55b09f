// What a balancer is: it knows endpoints and a key, never a request.
import type { Endpoint } from '../endpoint.ts'

/** Picks an endpoint for each attempt. Replaced as a whole when the set of endpoints, or the share of one, changes. */
export interface Balancer {
  /** All that it was made over; those without a share are not picked. */
  readonly endpoints: readonly Endpoint[]
  /** It goes by `Endpoint.latency`: attempts are to be timed. */
  readonly timed: boolean
  /**
   * An endpoint to try, or null when there is none. `key` is the hash of the attribute to balance on (unsigned 32 bits,
   * 0 without one). `avoid` is the endpoint that just failed: another is given where there is one.
   */
  pick(key: number, avoid: Endpoint | null): Endpoint | null
}

/**
 * Makes a balancer over a set of endpoints and their shares as they are now. `previous` is the one that it replaces, so
 * that it goes on where that one was; null at the first.
 */
export type MakeBalancer = (endpoints: readonly Endpoint[], previous: Balancer | null) => Balancer
