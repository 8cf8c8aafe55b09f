// The circuit breaker itself: closed → open → half-open → ramp-up → closed, moved by outcomes and by the time it is told; it reads no clock.
import { type CallWindow, CountWindow, TimeWindow } from './window.ts'

/** `ramp-up` lets a growing share through; with `rampUp` 0 there is none. */
export type BreakerState = 'closed' | 'open' | 'half-open' | 'ramp-up'

/** Longest time for which a breaker stays open, in milliseconds; also the longest that one probe may take. */
export const LONGEST = 300_000
/** How far `openFor` is spread to both sides, so that many gateways do not probe at once. */
const JITTER = 0.2

/** What a breaker goes by. Times in milliseconds, rates between 0 and 1. */
export interface BreakerRules {
  /** Length of the time window; null for a count window of `calls`. */
  readonly window: number | null
  readonly calls: number
  readonly minimumCalls: number
  readonly failureRate: number
  /** Share of slow calls that opens it; Infinity when calls are not timed. */
  readonly slowRate: number
  /** 0: off. */
  readonly consecutiveFailures: number
  readonly openFor: number
  readonly halfOpenCalls: number
  readonly rampUp: number
}

/** Calls, and how many of them failed and were slow. */
type Counts = Readonly<Pick<CallWindow, 'calls' | 'failures' | 'slow'>>

/** Why a breaker moved, and the numbers it went by: of the window, or of the probes, before it was cleared. */
export interface Move extends Counts {
  readonly from: BreakerState
  readonly to: BreakerState
  readonly reason: 'failures' | 'slow calls' | 'consecutive failures' | 'probes' | 'lost probes' | 'time'
}

const NONE: Counts = { calls: 0, failures: 0, slow: 0 }

/**
 * A call that was let through; the caller's to keep until it has ended. Every permit is given back once: by `record`
 * or `release`; and may be used again after that, so that a call costs no allocation.
 */
export class Permit {
  /** The state it was given in; results of an earlier one move nothing. */
  generation = 0
  probe = false
  /** Given and not given back. */
  held = false
  /** Recorded as good; its places in the window and in the row of the last calls. */
  good = false
  place = 0
  rowPlace = 0
}

// Rates are quotients: what was written as 7% must hold for 7 of 100.
const EPSILON = 1e-9

/** See the head of this file. `now` never goes back; use a monotonic clock. */
export class Breaker {
  readonly #rules: BreakerRules
  readonly #window: CallWindow
  /** The last calls, as many as must fail in a row, one by one because a good one may still break off; null: none need to. */
  readonly #row: CountWindow | null
  readonly #random: () => number
  readonly #moved: (move: Move) => void
  #state: BreakerState = 'closed'
  /** Counts the moves. */
  #generation = 0
  /** Failed recoveries in a row: `openFor` has doubled so often. */
  #setbacks = 0
  #since = 0
  /** When time alone moves it; Infinity when only calls do. */
  #wakeAt = Number.POSITIVE_INFINITY
  /** Probes under way, and those that ended; of these failed and slow. */
  #probes = 0
  #judged = 0
  #probeFailures = 0
  #probeSlow = 0
  /** Permits that are out, of any generation. */
  inFlight = 0

  /** `random` yields numbers in [0, 1); `moved` is called after each move. */
  constructor(rules: BreakerRules, moved: (move: Move) => void, random: () => number = Math.random) {
    this.#rules = rules
    this.#window = rules.window === null ? new CountWindow(rules.calls) : new TimeWindow(rules.window)
    this.#row = rules.consecutiveFailures > 0 ? new CountWindow(rules.consecutiveFailures) : null
    this.#moved = moved
    this.#random = random
  }

  /** As of the last call of a method; `advance` brings it up to date. */
  get state(): BreakerState {
    return this.#state
  }

  /** When `advance` is due without any traffic; Infinity when it is not. */
  get wakeAt(): number {
    return this.#wakeAt
  }

  /** When it took this state. */
  get since(): number {
    return this.#since
  }

  /** The calls by which it would open. */
  get window(): Counts {
    return this.#window
  }

  /** Probes under way; never more than `halfOpenCalls`. */
  get probes(): number {
    return this.#probes
  }

  /** True when a new breaker would behave as this one does. */
  idle(now: number): boolean {
    this.#window.advance(now)
    const remembers = this.#window.calls > 0 || (this.#row !== null && this.#row.failures > 0)
    return this.#state === 'closed' && this.inFlight === 0 && !remembers
  }

  /** May a call go ahead? Fills in `permit` when it may. */
  acquire(now: number, permit: Permit): boolean {
    if (this.#state !== 'closed' && !this.#admit(now)) return false
    permit.generation = this.#generation
    permit.probe = this.#state === 'half-open'
    permit.held = true
    permit.good = false
    this.inFlight++
    return true
  }

  #admit(now: number): boolean {
    this.advance(now)
    switch (this.#state) {
      case 'open':
        return false
      case 'ramp-up':
        return this.#random() < this.share(now)
      case 'half-open':
        if (this.#probes + this.#judged >= this.#rules.halfOpenCalls) return false
        // A probe that never ends must not keep the others waiting for ever.
        if (this.#probes++ === 0) this.#wakeAt = now + LONGEST
        return true
      default:
        return true
    }
  }

  /** Share of the calls that is let through, between 0 and 1; probes do not count. */
  share(now: number): number {
    if (this.#state === 'closed') return 1
    return this.#state === 'ramp-up' ? Math.min(1, (now - this.#since) / this.#rules.rampUp) : 0
  }

  /** The call ended; gives its permit back. */
  record(now: number, permit: Permit, failed: boolean, slow: boolean): void {
    if (now >= this.#wakeAt) this.advance(now)
    if (!this.#take(permit)) return
    if (permit.probe) {
      this.#probes--
      this.#judged++
      if (failed) this.#probeFailures++
      if (slow) this.#probeSlow++
      permit.good = false
      this.#judgeProbes(now)
      return
    }
    permit.good = !failed
    permit.place = this.#window.add(now, failed, slow)
    if (this.#row !== null) permit.rowPlace = this.#row.add(now, failed, false)
    this.#judge(now)
  }

  /** The call says nothing about the upstream: its client went away, or it was never sent. */
  release(now: number, permit: Permit): void {
    if (now >= this.#wakeAt) this.advance(now)
    if (this.#take(permit) && permit.probe && --this.#probes === 0) this.#wakeAt = Number.POSITIVE_INFINITY
  }

  /** A call that was recorded as good broke off later. */
  amend(now: number, permit: Permit): void {
    if (now >= this.#wakeAt) this.advance(now)
    if (!permit.good || permit.generation !== this.#generation) return
    permit.good = false
    this.#window.amend(now, permit.place)
    this.#row?.amend(now, permit.rowPlace)
    this.#judge(now)
  }

  /** False for a permit that is back already, or was given before the last move. */
  #take(permit: Permit): boolean {
    if (!permit.held) return false
    permit.held = false
    permit.good = false
    this.inFlight--
    return permit.generation === this.#generation
  }

  #judge(now: number): void {
    const { minimumCalls, failureRate, slowRate, consecutiveFailures } = this.#rules
    const { calls, failures, slow } = this.#window
    if (this.#row !== null && this.#row.failures === consecutiveFailures) {
      this.#open(now, 'consecutive failures', this.#window)
    } else if (calls >= minimumCalls) {
      if (failures / calls >= failureRate - EPSILON) this.#open(now, 'failures', this.#window)
      else if (slow / calls >= slowRate - EPSILON) this.#open(now, 'slow calls', this.#window)
    }
  }

  /** All probes together decide, by the same rates. */
  #judgeProbes(now: number): void {
    const { halfOpenCalls, failureRate, slowRate, rampUp } = this.#rules
    if (this.#judged < halfOpenCalls) {
      if (this.#probes === 0) this.#wakeAt = Number.POSITIVE_INFINITY
      return
    }
    const counts = this.#probeCounts
    const { calls, failures, slow } = counts
    const bad = failures / calls >= failureRate - EPSILON || slow / calls >= slowRate - EPSILON
    if (bad) this.#open(now, 'probes', counts)
    else if (rampUp > 0) this.#move(now, 'ramp-up', now + rampUp, 'probes', counts)
    else this.#close(now, 'probes', counts)
  }

  get #probeCounts(): Counts {
    return { calls: this.#judged, failures: this.#probeFailures, slow: this.#probeSlow }
  }

  #open(now: number, reason: Move['reason'], counts: Counts): void {
    // Opening again before it was closed is one more setback.
    if (this.#state !== 'closed') this.#setbacks++
    const spread = 1 - JITTER + 2 * JITTER * this.#random()
    const openFor = Math.min(LONGEST, this.#rules.openFor * 2 ** Math.min(this.#setbacks, 30) * spread)
    this.#move(now, 'open', now + openFor, reason, counts)
  }

  #close(now: number, reason: Move['reason'], counts: Counts): void {
    this.#setbacks = 0
    this.#move(now, 'closed', Number.POSITIVE_INFINITY, reason, counts)
  }

  /** Make the moves that time alone makes. */
  advance(now: number): void {
    if (now < this.#wakeAt) return
    switch (this.#state) {
      case 'open':
        this.#move(now, 'half-open', Number.POSITIVE_INFINITY, 'time', NONE)
        break
      case 'half-open':
        this.#open(now, 'lost probes', this.#probeCounts)
        break
      case 'ramp-up':
        this.#close(now, 'time', this.#window)
        break
    }
  }

  #move(now: number, to: BreakerState, wakeAt: number, reason: Move['reason'], counts: Counts): void {
    // Read before the window is cleared, which may be what they are.
    const { calls, failures, slow } = counts
    const from = this.#state
    this.#state = to
    this.#since = now
    this.#wakeAt = wakeAt
    // The end of the ramp is no new beginning: what is under way and what was counted goes on.
    if (from !== 'ramp-up' || to !== 'closed') {
      this.#generation++
      this.#window.clear()
      this.#row?.clear()
      this.#probes = 0
      this.#judged = 0
      this.#probeFailures = 0
      this.#probeSlow = 0
    }
    this.#moved({ from, to, reason, calls, failures, slow })
  }
}
