// Weighted random choice.
import type { Endpoint } from '../endpoint.ts'
import type { Balancer } from './balancer.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Each pick by itself: nothing is remembered, so that many gateways in front of one service never fall into step. */
export class Random implements Balancer {
  readonly endpoints: readonly Endpoint[]
  readonly timed = false
  readonly #draw: WeightedDraw

  /** `random` yields numbers in [0, 1). */
  constructor(endpoints: readonly Endpoint[], random: () => number = Math.random) {
    this.endpoints = endpoints
    this.#draw = new WeightedDraw(endpoints, random)
  }

  pick(_key: number, avoid: Endpoint | null): Endpoint | null {
    const draw = this.#draw
    if (draw.usable.length < 2) return draw.usable[0] ?? null
    return avoid === null ? draw.draw() : draw.other(avoid, null)
  }
}
