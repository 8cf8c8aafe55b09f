// The power of two choices (Mitzenmacher 1996): two endpoints are drawn, and the better of them is picked.
import type { Endpoint } from '../endpoint.ts'
import type { Balancer } from './balancer.ts'
import { WeightedDraw } from './weighted-draw.ts'

/**
 * Nearly as even as comparing all, at a price that does not grow with them; and gateways that see the same numbers do not
 * all run to the same endpoint. What is better, the balancers that extend this say.
 */
export abstract class TwoChoices implements Balancer {
  readonly endpoints: readonly Endpoint[]
  abstract readonly timed: boolean
  readonly #draw: WeightedDraw

  /** `random` yields numbers in [0, 1). */
  constructor(endpoints: readonly Endpoint[], random: () => number) {
    this.endpoints = endpoints
    this.#draw = new WeightedDraw(endpoints, random)
  }

  /** The one to pick of two different ones. They were drawn by their shares: where nothing speaks for either, `first`. */
  protected abstract better(first: Endpoint, second: Endpoint): Endpoint

  pick(_key: number, avoid: Endpoint | null): Endpoint | null {
    const draw = this.#draw
    if (draw.usable.length < 2) return draw.usable[0] ?? null
    const first = avoid === null ? draw.draw() : draw.other(avoid, null)!
    const second = draw.other(first, avoid)
    return second === null ? first : this.better(first, second)
  }
}
