// Weighted random choice by the alias method: constant time however many endpoints there are.
import type { Endpoint } from '../endpoint.ts'
import type { Balancer } from './balancer.ts'

/** Walker's alias tables (Vose 1991): one draw picks a column, a second decides between its two owners. */
export class Random implements Balancer {
  readonly endpoints: readonly Endpoint[]
  readonly #usable: readonly Endpoint[]
  readonly #keep: Float64Array
  readonly #alias: Int32Array
  readonly #random: () => number

  /** `random` yields numbers in [0, 1). */
  constructor(endpoints: readonly Endpoint[], random: () => number = Math.random) {
    this.endpoints = endpoints
    this.#random = random
    this.#usable = endpoints.filter(endpoint => endpoint.weight > 0)
    const n = this.#usable.length
    const sum = this.#usable.reduce((total, endpoint) => total + endpoint.weight, 0)
    this.#keep = new Float64Array(n)
    this.#alias = new Int32Array(n)
    const scaled = this.#usable.map(endpoint => (endpoint.weight * n) / sum)
    const small: number[] = []
    const large: number[] = []
    for (let i = 0; i < n; i++) (scaled[i]! < 1 ? small : large).push(i)
    while (small.length > 0 && large.length > 0) {
      const low = small.pop()!
      const high = large.pop()!
      this.#keep[low] = scaled[low]!
      this.#alias[low] = high
      scaled[high] = scaled[high]! + scaled[low]! - 1
      ;(scaled[high]! < 1 ? small : large).push(high)
    }
    for (const i of [...small, ...large]) this.#keep[i] = 1
  }

  pick(_key: number, avoid: Endpoint | null): Endpoint | null {
    const usable = this.#usable
    if (usable.length === 0) return null
    let endpoint = this.#draw()
    // A few more draws find another where there is one; the weights among the others stay as they are.
    for (let tries = 0; endpoint === avoid && tries < 8; tries++) endpoint = this.#draw()
    if (endpoint === avoid) endpoint = usable.find(other => other !== avoid) ?? endpoint
    return endpoint
  }

  #draw(): Endpoint {
    const column = Math.floor(this.#random() * this.#usable.length)
    return this.#usable[this.#random() < this.#keep[column]! ? column : this.#alias[column]!]!
  }
}
