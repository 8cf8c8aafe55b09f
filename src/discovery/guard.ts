// What is believed of a registry's answer: additions at once, but not that everything, or most of it, is suddenly gone.

/** Within this many milliseconds losses add up. */
const WINDOW = 30_000
/** Losing more than this share within the window is held. */
const LARGEST_LOSS = 0.5

/** How the guard was told to judge. */
export interface GuardOptions {
  readonly onEmpty: 'keep' | 'drop'
  /** Milliseconds. */
  readonly holdFor: number
}

/** What the registry no longer tells of, and that is used on. */
interface Held<T> {
  readonly one: T
  readonly until: number
  /** Nothing at all was left. */
  readonly empty: boolean
}

/** The endpoints of one selection as they are believed, by address. Times are milliseconds of any one monotonic clock. */
export class Guard<T> {
  readonly #options: GuardOptions
  #told: ReadonlyMap<string, T> = new Map()
  readonly #held = new Map<string, Held<T>>()
  #losses: { readonly at: number; readonly count: number }[] = []

  constructor(options: GuardOptions) {
    this.#options = options
  }

  /** What to use: what the registry tells, and what is held. */
  get believed(): T[] {
    return [...this.#told.values(), ...this.held]
  }

  /** What is in use that the registry does not tell of. */
  get held(): T[] {
    return Array.from(this.#held.values(), ({ one }) => one)
  }

  /** Of what is held that which was lost among others: a probe may settle it. */
  get doubtful(): T[] {
    return Array.from(this.#held.values())
      .filter(({ empty }) => !empty)
      .map(({ one }) => one)
  }

  /** When the first of what is held has to go; Infinity when nothing is held. */
  get nextEnd(): number {
    let least = Number.POSITIVE_INFINITY
    for (const { until } of this.#held.values()) least = Math.min(least, until)
    return least
  }

  /** A whole answer of the registry. What is missing in it and `elsewhere` was not lost, and goes at once. */
  take(next: ReadonlyMap<string, T>, now: number, elsewhere: (one: T) => boolean = () => false): void {
    this.expire(now)
    this.#losses = this.#losses.filter(({ at }) => now - at < WINDOW)
    const lostBefore = this.#losses.reduce((sum, { count }) => sum + count, 0)
    const before = this.#told.size + this.#held.size + lostBefore
    const gone: [string, T][] = []
    for (const [id, one] of this.#told) if (!next.has(id) && !elsewhere(one)) gone.push([id, one])
    for (const [id, { one }] of this.#held) if (next.has(id) || elsewhere(one)) this.#held.delete(id)
    this.#told = next
    if (next.size === 0) {
      if (this.#options.onEmpty === 'keep') this.#hold(gone, now, true)
      else this.#held.clear()
      return
    }
    // Whoever was held because nothing was told is judged anew, now that something is.
    for (const [id, { one, empty }] of this.#held) {
      if (!empty) continue
      this.#held.delete(id)
      gone.push([id, one])
    }
    if (gone.length === 0) return
    const lost = lostBefore + this.#held.size + gone.length
    if (lost > before * LARGEST_LOSS) this.#hold(gone, now, false)
    else this.#losses.push({ at: now, count: gone.length })
  }

  #hold(gone: readonly (readonly [string, T])[], now: number, empty: boolean): void {
    if (this.#options.holdFor === 0) return
    for (const [id, one] of gone) this.#held.set(id, { one, until: now + this.#options.holdFor, empty })
  }

  /** Let go of what was held long enough. True when something went. */
  expire(now: number): boolean {
    const before = this.#held.size
    for (const [id, { until }] of this.#held) if (until <= now) this.#held.delete(id)
    return this.#held.size < before
  }

  /** A probe confirmed that what is held is gone. */
  confirmGone(id: string): void {
    this.#held.delete(id)
  }
}
