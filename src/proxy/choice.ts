// Choosing again for one try: which endpoints plugins have passed over, and how often they have changed the upstream.
import type { Endpoint } from '../upstream/endpoint.ts'
import type { Upstream } from '../upstream/upstream.ts'

/** How often plugins may send one try to another upstream: two that do so in turn would never end. */
const MAX_MOVES = 4

/** How often the balancer is asked for another: one that goes by a key says the same few again and again. */
const MAX_PICKS = 16

/** Made only once a plugin had it otherwise; the plain way knows nothing of it. */
export class Choice {
  /** Where the try stands. */
  upstream: Upstream
  /** No endpoint of it is left that was not passed over. */
  exhausted = false
  #passed: Set<Endpoint>
  #last: Endpoint
  #moves = 0

  readonly #keyFor: (upstream: Upstream) => number

  /** `first` is the endpoint that the balancer picked; `keyFor` gives the hash to balance on. */
  constructor(upstream: Upstream, first: Endpoint, keyFor: (upstream: Upstream) => number) {
    this.upstream = upstream
    this.#keyFor = keyFor
    this.#last = first
    this.#passed = new Set([first])
  }

  /**
   * The endpoint was passed over: another; the same once more when none is left, then null. The balancer is asked
   * first, so that its order holds among those that are left.
   */
  next(): Endpoint | null {
    if (this.exhausted) return null
    const { balancer } = this.upstream
    const key = this.#keyFor(this.upstream)
    for (let tries = Math.min(balancer.endpoints.length, MAX_PICKS); tries > 0; tries--) {
      const picked = balancer.pick(key, this.#last)
      if (picked === null) break
      if (!this.#passed.has(picked)) return this.#take(picked)
    }
    // With uneven weights its order may come back to the same few for long.
    for (const endpoint of balancer.endpoints) {
      if (endpoint.share > 0 && !this.#passed.has(endpoint)) return this.#take(endpoint)
    }
    this.exhausted = true
    return this.#last
  }

  /** The exchange goes to another upstream: an endpoint of that, or null when there is none, or no end to it. */
  move(to: Upstream | null): Endpoint | null {
    if (to === null || ++this.#moves > MAX_MOVES) return null
    this.upstream = to
    this.exhausted = false
    this.#passed = new Set()
    const picked = to.balancer.pick(this.#keyFor(to), null)
    return picked === null ? null : this.#take(picked)
  }

  #take(endpoint: Endpoint): Endpoint {
    this.#passed.add(endpoint)
    this.#last = endpoint
    return endpoint
  }
}
