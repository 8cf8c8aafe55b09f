// What a store of counters is: limits that are opened once at load, and hit once for each request.

/** How a limit counts; what each of them guarantees stands in plugins/rate-limit/README.md. */
export type Algorithm = 'sliding-window' | 'sliding-log' | 'token-bucket'

/** One limit: so many units in so long. */
export interface Limit {
  /** Units that are admitted in `window`; a whole number of at least 1. */
  readonly limit: number
  /** Milliseconds; at least 1. */
  readonly window: number
  /** Units that a full bucket holds; only the token bucket looks at it. */
  readonly burst: number
}

/** What a counter is opened with. */
export interface CounterOptions {
  /**
   * What is counted, the same on every gateway and over reloads. Counters of one id share their counts, and those of a
   * counter that is opened anew with other numbers go on as long as algorithm and windows are the same.
   */
  readonly id: string
  readonly algorithm: Algorithm
  /** At least one. All must allow; none is charged when one refuses. */
  readonly limits: readonly Limit[]
  /** Most keys that are remembered in this process. */
  readonly maxKeys: number
  /** Share of the smallest limit that a shared store lends at a time, between 0 and 1; 0 asks it for every request. */
  readonly lease: number
}

/** What counters have in common that share their counts, in one text. */
export function countedBy({ id, algorithm, limits }: CounterOptions): string {
  return JSON.stringify([id, algorithm, limits.map(limit => limit.window)])
}

/** Who made a decision: the store itself, this gateway in its place, or nobody, because the store does not answer. */
export type Decider = 'store' | 'local' | 'nobody'

/** The decision on one request, and how one limit stands after it. */
export class Tally {
  /** False: refused, and nothing was counted. The same on every tally of a list. */
  readonly allowed: boolean
  /** Whole units that would be admitted right now. */
  readonly remaining: number
  /** Milliseconds until more is left: to the window's end, or, with nothing left, to when one unit passes. */
  readonly reset: number
  /** Milliseconds until this very request would pass when nobody else asks: 0 when it did, Infinity when it never can. */
  readonly retryAfter: number
  readonly decider: Decider
  /** The next limit, in the order given. */
  readonly next: Tally | null

  constructor(
    allowed: boolean,
    remaining: number,
    reset: number,
    retryAfter: number,
    decider: Decider,
    next: Tally | null,
  ) {
    this.allowed = allowed
    this.remaining = remaining
    this.reset = reset
    this.retryAfter = retryAfter
    this.decider = decider
    this.next = next
  }
}

/** What is said when the store does not answer and nobody counts in its place. */
export const LET_THROUGH = new Tally(true, 0, 0, 0, 'nobody', null)
export const TURNED_AWAY = new Tally(false, 0, 0, 0, 'nobody', null)

/** Limits at work. */
export interface Counter {
  /**
   * Decide on `cost` units (whole, at least 1) for `key`, and charge them when every limit allows. Memory answers at
   * once, a shared store with a promise that never rejects.
   */
  hit(key: string, cost: number): Tally | Promise<Tally>
  /** Nobody hits it any more. Its counts stay for as long as another counter of the same id is open. */
  close(): void
}

/** See the head of this file. Made by snapshot/compile.ts, handed to plugins by `PluginContext.store`. */
export interface CounterStore {
  readonly name: string
  counter(options: CounterOptions): Counter
  /** Let go of connections and timers. Counters that are still open go on by themselves. */
  close(): void
}
