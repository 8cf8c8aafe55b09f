// Slow start: an endpoint that comes (back) gets its share bit by bit, so that cold caches are not met by full load.
import { Timer, type Wheel } from '../clock.ts'
import type { Endpoint } from './endpoint.ts'

/** Share of its weight that an endpoint begins with. */
const LEAST = 0.1
/** Shares are set anew this often over the whole time, but not more often than TICK. */
const STEPS = 20
const TICK = 100

/** The endpoints of one upstream that are on their way to their full weight. */
export class SlowStart {
  readonly #length: number
  readonly #wheel: Wheel
  readonly #changed: () => void
  readonly #begun = new Map<Endpoint, number>()
  readonly #timer: Timer

  /** `length` in milliseconds; `changed` is called whenever shares were set anew. */
  constructor(length: number, changed: () => void, wheel: Wheel) {
    this.#length = length
    this.#changed = changed
    this.#wheel = wheel
    this.#timer = new Timer(wheel, () => this.#step())
  }

  /** An endpoint comes into use. */
  begin(endpoint: Endpoint): void {
    if (this.#length === 0) return
    this.#begun.set(endpoint, this.#wheel.time())
    endpoint.share = endpoint.weight * LEAST
    // It may run for others, whose next step must not be put off by everybody who comes.
    if (this.#timer.deadline === Number.POSITIVE_INFINITY) this.#timer.set(this.#pause)
  }

  /** Set the share of an endpoint whose weight was changed. */
  apply(endpoint: Endpoint): void {
    const begun = this.#begun.get(endpoint)
    if (begun === undefined) endpoint.share = endpoint.weight
    else endpoint.share = endpoint.weight * Math.max(LEAST, Math.min(1, (this.#wheel.time() - begun) / this.#length))
  }

  get #pause(): number {
    return Math.max(TICK, this.#length / STEPS)
  }

  #step(): void {
    const now = this.#wheel.time()
    for (const [endpoint, begun] of this.#begun) {
      if (now - begun >= this.#length) this.#begun.delete(endpoint)
      this.apply(endpoint)
    }
    if (this.#begun.size > 0) this.#timer.set(this.#pause)
    this.#changed()
  }

  /** The endpoint is no longer used: it does not count, until it begins anew. */
  forget(endpoint: Endpoint): void {
    if (this.#begun.delete(endpoint)) endpoint.share = endpoint.weight
    if (this.#begun.size === 0) this.#timer.remove()
  }

  close(): void {
    this.#timer.remove()
    this.#begun.clear()
  }
}
