// The calls that a breaker judges by: those of the last seconds in ten buckets, or the last N, in fixed arrays with running sums.

/** Outcome of one call. */
export interface CallWindow {
  /** Sums over the window as of the last `add`, `amend` or `advance`. */
  readonly calls: number
  readonly failures: number
  readonly slow: number
  /** Count a call that ended at `now`. Returns its place, for `amend`. */
  add(now: number, failed: boolean, slow: boolean): number
  /** The call at `place` counted as good and was not: it becomes a failure, where the window still holds it. */
  amend(now: number, place: number): void
  /** Let go of what is too old. */
  advance(now: number): void
  /** Forget all. */
  clear(): void
}

/** Buckets of a time window: what is forgotten at once is a tenth of it. */
const BUCKETS = 10

/** Calls of the last `length` milliseconds, forgotten a tenth at a time. Memory is the buckets', however many calls. */
export class TimeWindow implements CallWindow {
  calls = 0
  failures = 0
  slow = 0
  readonly #width: number
  readonly #calls = new Int32Array(BUCKETS)
  readonly #failures = new Int32Array(BUCKETS)
  readonly #slow = new Int32Array(BUCKETS)
  /** Number of the current bucket since the clock began, and the time at which it ends. */
  #bucket = 0
  #end = 0

  /** `length` in milliseconds. */
  constructor(length: number) {
    this.#width = length / BUCKETS
  }

  add(now: number, failed: boolean, slow: boolean): number {
    if (now >= this.#end) this.advance(now)
    const at = this.#bucket % BUCKETS
    this.#calls[at]!++
    this.calls++
    if (failed) {
      this.#failures[at]!++
      this.failures++
    }
    if (slow) {
      this.#slow[at]!++
      this.slow++
    }
    return this.#bucket
  }

  amend(now: number, place: number): void {
    if (now >= this.#end) this.advance(now)
    if (place <= this.#bucket - BUCKETS) return
    this.#failures[place % BUCKETS]!++
    this.failures++
  }

  advance(now: number): void {
    const bucket = Math.floor(now / this.#width)
    if (bucket <= this.#bucket) return
    if (bucket - this.#bucket >= BUCKETS) this.clear()
    else for (let gone = this.#bucket + 1; gone <= bucket; gone++) this.#empty(gone % BUCKETS)
    this.#bucket = bucket
    this.#end = (bucket + 1) * this.#width
  }

  #empty(at: number): void {
    this.calls -= this.#calls[at]!
    this.failures -= this.#failures[at]!
    this.slow -= this.#slow[at]!
    this.#calls[at] = 0
    this.#failures[at] = 0
    this.#slow[at] = 0
  }

  clear(): void {
    this.calls = 0
    this.failures = 0
    this.slow = 0
    this.#calls.fill(0)
    this.#failures.fill(0)
    this.#slow.fill(0)
  }
}

const FAILED = 1
const SLOW = 2

/** The last `size` calls, however long ago. One byte each. */
export class CountWindow implements CallWindow {
  calls = 0
  failures = 0
  slow = 0
  readonly #ring: Uint8Array
  /** Calls ever counted; the next one's place. */
  #next = 0

  constructor(size: number) {
    this.#ring = new Uint8Array(size)
  }

  add(_now: number, failed: boolean, slow: boolean): number {
    const ring = this.#ring
    const at = this.#next % ring.length
    if (this.calls < ring.length) this.calls++
    else {
      const oldest = ring[at]!
      if ((oldest & FAILED) !== 0) this.failures--
      if ((oldest & SLOW) !== 0) this.slow--
    }
    ring[at] = (failed ? FAILED : 0) | (slow ? SLOW : 0)
    if (failed) this.failures++
    if (slow) this.slow++
    return this.#next++
  }

  amend(_now: number, place: number): void {
    if (place < this.#next - this.calls) return
    this.#ring[place % this.#ring.length]! |= FAILED
    this.failures++
  }

  advance(): void {}

  clear(): void {
    this.calls = 0
    this.failures = 0
    this.slow = 0
  }
}
