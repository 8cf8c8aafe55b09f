// How often, for one key and one limit: the arithmetic of the three algorithms, in whole milliseconds and whole units.
import type { Algorithm, Limit } from './store.ts'

/**
 * The count of one key under one limit. `limit` is given at each call, so that a reload or a share of it changes no
 * cell. Times are whole milliseconds of one clock; one that steps back costs precision, never a lock-out.
 */
export interface Cell {
  /** Whole units that pass at `now`. May forget what is too old. */
  available(now: number, limit: Limit): number
  /** Count `cost` units at `now`, just after `available`. */
  charge(now: number, limit: Limit, cost: number): void
  /** Milliseconds after which `cost` units pass when nobody asks before; 0 now, Infinity never. Just after `available`. */
  wait(now: number, limit: Limit, cost: number): number
  /** Milliseconds until what is left grows again by itself. Just after `available`. */
  reset(now: number, limit: Limit): number
  /** The cell of the same key under the next limit. */
  next: Cell | null
}

/** A cell that has counted nothing yet. */
export function createCell(algorithm: Algorithm): Cell {
  switch (algorithm) {
    case 'sliding-window':
      return new WindowCell()
    case 'sliding-log':
      return new LogCell()
    case 'token-bucket':
      return new BucketCell()
  }
}

/**
 * Two counters: what was admitted in this aligned window and in the one before, of which the part counts that the
 * sliding window still covers: `est = prev · R/W + curr`, R the time left. Whole units of it count, so that a request
 * passes as soon as `est < limit`, as others' sliding counters have it.
 */
class WindowCell implements Cell {
  #index = -1
  #previous = 0
  #current = 0
  next: Cell | null = null

  #left(now: number, window: number): number {
    const index = Math.floor(now / window)
    if (index !== this.#index) {
      // A step back over a boundary counts as the start of the window that had begun (see the return).
      if (index === this.#index - 1) return window
      this.#previous = index === this.#index + 1 ? this.#current : 0
      this.#current = 0
      this.#index = index
    }
    return (index + 1) * window - now
  }

  available(now: number, { limit, window }: Limit): number {
    const left = this.#left(now, window)
    const free = limit - this.#current - Math.floor((this.#previous * left) / window)
    return free > 0 ? free : 0
  }

  charge(_now: number, _limit: Limit, cost: number): void {
    this.#current += cost
  }

  wait(now: number, { limit, window }: Limit, cost: number): number {
    if (cost > limit) return Number.POSITIVE_INFINITY
    const left = this.#left(now, window)
    const room = limit - cost + 1
    if (this.#current < room) {
      // prev · R/W must fall below room − curr.
      const covered = under(room - this.#current, window, this.#previous)
      return covered >= left ? 0 : left - covered
    }
    // In the next window the current one decays in its turn.
    return left + window - Math.min(window, under(room, window, this.#current))
  }

  reset(now: number, { window }: Limit): number {
    return this.#left(now, window)
  }
}

/** The largest whole R with `count · R < room · window`. */
function under(room: number, window: number, count: number): number {
  return count === 0 ? Number.POSITIVE_INFINITY : Math.ceil((room * window) / count) - 1
}

/** The moment of every admitted unit within the last window, (now − W, now]: exact, at 8 bytes a unit. */
class LogCell implements Cell {
  /** A ring; a power of two long, grown on need. */
  #times = new Float64Array(4)
  #first = 0
  #count = 0
  next: Cell | null = null

  available(now: number, { limit, window }: Limit): number {
    const times = this.#times
    const mask = times.length - 1
    while (this.#count > 0) {
      const oldest = times[this.#first]!
      // Beyond now by more than a window: the clock went back.
      if (oldest > now - window && oldest <= now + window) break
      this.#first = (this.#first + 1) & mask
      this.#count--
    }
    return this.#count < limit ? limit - this.#count : 0
  }

  charge(now: number, _limit: Limit, cost: number): void {
    while (this.#count + cost > this.#times.length) this.#grow()
    const mask = this.#times.length - 1
    for (let i = 0; i < cost; i++) this.#times[(this.#first + this.#count++) & mask] = now
  }

  #grow(): void {
    const old = this.#times
    const grown = new Float64Array(old.length * 2)
    for (let i = 0; i < this.#count; i++) grown[i] = old[(this.#first + i) & (old.length - 1)]!
    this.#times = grown
    this.#first = 0
  }

  wait(now: number, { limit, window }: Limit, cost: number): number {
    if (cost > limit) return Number.POSITIVE_INFINITY
    const leave = this.#count + cost - limit
    return leave <= 0 ? 0 : this.#times[(this.#first + leave - 1) & (this.#times.length - 1)]! + window - now
  }

  reset(now: number, { window }: Limit): number {
    return this.#count === 0 ? window : this.#times[this.#first]! + window - now
  }
}

/** What was taken and has not flowed back, times the window, so that all stays whole: `limit` flows back each millisecond. */
class BucketCell implements Cell {
  #debt = 0
  #at = 0
  next: Cell | null = null

  available(now: number, { limit, window, burst }: Limit): number {
    if (now > this.#at) this.#debt = Math.max(0, this.#debt - (now - this.#at) * limit)
    this.#at = now
    const free = Math.floor((burst * window - this.#debt) / window)
    return free > 0 ? free : 0
  }

  charge(_now: number, { window }: Limit, cost: number): void {
    this.#debt += cost * window
  }

  wait(_now: number, { limit, window, burst }: Limit, cost: number): number {
    if (cost > burst) return Number.POSITIVE_INFINITY
    return Math.max(0, Math.ceil((this.#debt - (burst - cost) * window) / limit))
  }

  reset(_now: number, { limit }: Limit): number {
    return Math.ceil(this.#debt / limit)
  }
}
