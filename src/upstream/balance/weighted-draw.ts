// Drawing endpoints at random by their shares, in constant time however many there are.
import type { Endpoint } from '../endpoint.ts'

/** How often a draw is repeated when it hits one that is not wanted. Each hits with a chance of a half at most. */
const TRIES = 32

/** Walker's alias tables (Vose 1991): a number picks a column evenly, its fraction decides between the column's two owners. */
export class WeightedDraw {
  /** Those with a share, in the order given. */
  readonly usable: readonly Endpoint[]
  readonly #keep: Float64Array
  readonly #alias: Int32Array
  readonly #random: () => number
  /** The one with more than half of all shares: to draw around it by trying again could take long. */
  readonly #heavy: Endpoint | null = null
  /** All but `#heavy`. */
  readonly #rest: WeightedDraw | null = null

  /** `random` yields numbers in [0, 1). */
  constructor(endpoints: readonly Endpoint[], random: () => number) {
    const usable = endpoints.filter(endpoint => endpoint.share > 0)
    const n = usable.length
    this.usable = usable
    this.#random = random
    this.#keep = new Float64Array(n)
    this.#alias = new Int32Array(n)
    let sum = 0
    for (const { share } of usable) sum += share
    const scaled = Float64Array.from(usable, endpoint => (endpoint.share / sum) * n)
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
    for (const i of small) this.#keep[i] = 1
    for (const i of large) this.#keep[i] = 1
    if (n > 2) {
      this.#heavy = usable.find(endpoint => endpoint.share * 2 > sum) ?? null
      if (this.#heavy !== null) {
        this.#rest = new WeightedDraw(
          usable.filter(endpoint => endpoint !== this.#heavy),
          random,
        )
      }
    }
  }

  /** One of `usable`, which must not be empty. */
  draw(): Endpoint {
    const place = this.#random() * this.#keep.length
    const column = Math.floor(place)
    return this.usable[place - column < this.#keep[column]! ? column : this.#alias[column]!]!
  }

  /** One that is neither of the two, by the shares among the others; null when there is none. */
  other(than: Endpoint | null, nor: Endpoint | null): Endpoint | null {
    if (this.#heavy !== null) {
      if (than === this.#heavy) return this.#rest!.other(nor, null)
      if (nor === this.#heavy) return this.#rest!.other(than, null)
    }
    const usable = this.usable
    const n = usable.length
    if (n === 2) {
      // By name: the one that is left may be hard to draw.
      const first = usable[0]!
      const second = usable[1]!
      if (first === than || first === nor) return second === than || second === nor ? null : second
      return second === than || second === nor ? first : this.draw()
    }
    for (let tries = 0; tries < TRIES; tries++) {
      const endpoint = this.draw()
      if (endpoint !== than && endpoint !== nor) return endpoint
    }
    // Only where the two have nearly all there is: then any other.
    const at = Math.floor(this.#random() * n)
    for (let seen = 0; seen < n; seen++) {
      const endpoint = usable[(at + seen) % n]!
      if (endpoint !== than && endpoint !== nor) return endpoint
    }
    return null
  }
}
