// What is believed of a registry's answer: additions at once, but not that everything, or most of it, is suddenly gone.
import { byAddress } from './select.ts'

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

/** What a guard knows of an endpoint. */
export interface Guarded {
  readonly address: string
  readonly host: string
  readonly port: number
}

/** What the registry no longer tells of, and that is used on. */
interface Held<T> {
  readonly one: T
  readonly until: number
  /** Nothing at all was left. */
  readonly empty: boolean
}

/** The endpoints of one selection as they are believed. Times are milliseconds of any one monotonic clock. */
export class Guard<T extends Guarded> {
  readonly #options: GuardOptions
  #told: readonly T[] = []
  /** By address. */
  readonly #held = new Map<string, Held<T>>()
  readonly #losses: { readonly at: number; readonly count: number }[] = []

  constructor(options: GuardOptions) {
    this.#options = options
  }

  /** What to use, in the order of addresses: what the registry tells, and what is held. */
  get believed(): readonly T[] {
    return this.holds ? [...this.#told, ...this.held].sort(byAddress) : this.#told
  }

  /** True while something is in use that the registry does not tell of. */
  get holds(): boolean {
    return this.#held.size > 0
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

  /**
   * A whole answer of the registry, in the order of addresses, each once. What is missing in it and `elsewhere` was not
   * lost, and goes at once.
   */
  take(next: readonly T[], now: number, elsewhere: (one: T) => boolean = () => false): void {
    this.expire(now)
    while (this.#losses.length > 0 && now - this.#losses[0]!.at >= WINDOW) this.#losses.shift()
    let lostBefore = 0
    for (const { count } of this.#losses) lostBefore += count
    const before = this.#told.length + this.#held.size + lostBefore
    const gone = missing(this.#told, next).filter(one => !elsewhere(one))
    if (this.holds) {
      const told = new Set(next.map(({ address }) => address))
      for (const [address, { one }] of this.#held) if (told.has(address) || elsewhere(one)) this.#held.delete(address)
    }
    this.#told = next
    if (next.length === 0) {
      if (this.#options.onEmpty === 'keep') this.#hold(gone, now, true)
      else this.#held.clear()
      return
    }
    // Whoever was held because nothing was told is judged anew, now that something is.
    for (const [address, { one, empty }] of this.#held) {
      if (!empty) continue
      this.#held.delete(address)
      gone.push(one)
    }
    if (gone.length === 0) return
    const lost = lostBefore + this.#held.size + gone.length
    if (lost > before * LARGEST_LOSS) this.#hold(gone, now, false)
    else this.#losses.push({ at: now, count: gone.length })
  }

  #hold(gone: readonly T[], now: number, empty: boolean): void {
    if (this.#options.holdFor === 0) return
    for (const one of gone) this.#held.set(one.address, { one, until: now + this.#options.holdFor, empty })
  }

  /** Let go of what was held long enough. True when something went. */
  expire(now: number): boolean {
    const before = this.#held.size
    for (const [address, { until }] of this.#held) if (until <= now) this.#held.delete(address)
    return this.#held.size < before
  }

  /** A probe confirmed that what is held at this address is gone. */
  confirmGone(address: string): void {
    this.#held.delete(address)
  }
}

/** Of one list what the other has not, both in the order of addresses. */
function missing<T extends Guarded>(before: readonly T[], next: readonly T[]): T[] {
  const found: T[] = []
  let at = 0
  for (const one of before) {
    while (at < next.length && byAddress(next[at]!, one) < 0) at++
    if (at === next.length || byAddress(next[at]!, one) !== 0) found.push(one)
  }
  return found
}
