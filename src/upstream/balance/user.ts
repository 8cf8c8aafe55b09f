// Balancers of users: what a module exports, and how what it throws is kept from the requests of others.
import type { Endpoint } from '../endpoint.ts'
import type { Balancer, MakeBalancer } from './balancer.ts'

/** What a module named under `balance:` has as its default export. Made with `defineBalancer`. */
export interface BalancerDefinition {
  /**
   * Make a balancer over endpoints that may be picked, each with a `share` above 0. Called anew, with the balancer
   * before, whenever the endpoints, their shares or their health change.
   */
  create(endpoints: readonly Endpoint[], previous: UserBalancer | null): UserBalancer
}

/** The part of a Balancer that a user writes. */
export interface UserBalancer {
  /**
   * One of the endpoints it was made with, or null for none: then the request is answered with 503. `key` is the hash
   * of `hashOn` (0 without one), `avoid` the endpoint that just failed.
   */
  pick(key: number, avoid: Endpoint | null): Endpoint | null
  /** True when it goes by `Endpoint.latency`: every attempt is timed then. */
  readonly timed?: boolean
}

/** Type-check a balancer; gives back what it is given. */
export function defineBalancer(definition: BalancerDefinition): BalancerDefinition {
  return definition
}

class Contained implements Balancer {
  readonly endpoints: readonly Endpoint[]
  readonly timed: boolean
  readonly inner: UserBalancer | null
  readonly #failed: (error: unknown) => void
  readonly #known: ReadonlySet<Endpoint>

  constructor(endpoints: readonly Endpoint[], inner: UserBalancer | null, failed: (error: unknown) => void) {
    this.endpoints = endpoints
    this.inner = inner
    this.timed = inner?.timed ?? false
    this.#failed = failed
    this.#known = new Set(endpoints)
  }

  pick(key: number, avoid: Endpoint | null): Endpoint | null {
    try {
      const picked = this.inner?.pick(key, avoid) ?? null
      if (picked === null || this.#known.has(picked)) return picked
      throw new TypeError('it picked what is none of its endpoints')
    } catch (error) {
      this.#failed(error)
      return null
    }
  }
}

/** Make balancers of a definition. What it throws goes to `failed`; the request then finds no endpoint. */
export function contained(definition: BalancerDefinition, failed: (error: unknown) => void): MakeBalancer {
  return (endpoints, previous) => {
    let inner: UserBalancer | null = null
    try {
      const usable = endpoints.filter(endpoint => endpoint.share > 0)
      inner = definition.create(usable, previous instanceof Contained ? previous.inner : null)
    } catch (error) {
      failed(error)
    }
    return new Contained(endpoints, inner, failed)
  }
}
