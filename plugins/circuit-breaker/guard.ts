// One breaker at work: with a timer that moves it when nobody calls, and its moves told to log and counters.
import { type Endpoint, Timer, wheel } from '../../src/plugin-api.ts'
import { Breaker, type BreakerRules, type Move, Permit } from './breaker.ts'
import type { Capture } from './stale.ts'

/** A call on its way, kept in its exchange's slot and used again by later ones. */
export class Call extends Permit {
  guard: Guard | null = null
  /** Time of the wheel at which it began. */
  start = 0
  /** It goes to the fallback's upstream because a breaker refused it. */
  degraded = false
  /** Takes down the answer for later. */
  capture: Capture | null = null
}

/** Told of each move. */
export type ReportMove = (guard: Guard, move: Move, openFor: number) => void

/** What a guard stands for; all null for a route. */
export interface Guarded {
  readonly route: string | null
  readonly upstream: string | null
  readonly endpoint: Endpoint | null
}

/** See the head of this file. Every method brings the timer up to date. */
export class Guard {
  /** The endpoint's place may be taken by another object of its address. */
  of: Guarded
  readonly #breaker: Breaker
  readonly #timer: Timer
  /** The breaker's `wakeAt` for which the timer is set. */
  #set = Number.POSITIVE_INFINITY
  #closed = false
  opened = 0
  refused = 0
  /** Upstreams whose calls it has judged, by name. */
  readonly judged = new Set<string>()
  #lastJudged = ''

  constructor(of: Guarded, rules: BreakerRules, report: ReportMove) {
    this.of = of
    const moved = (move: Move) => {
      if (move.to === 'open') this.opened++
      report(this, move, this.#breaker.wakeAt - this.#breaker.since)
    }
    this.#breaker = new Breaker(rules, moved)
    // The wheel may be early by half a tick: then the timer is set once more.
    this.#timer = new Timer(wheel, () => {
      this.#breaker.advance(wheel.time())
      this.#arm()
    })
  }

  #arm(): void {
    const { wakeAt } = this.#breaker
    this.#set = wakeAt
    if (this.#closed || wakeAt === Number.POSITIVE_INFINITY) this.#timer.remove()
    else this.#timer.set(Math.max(1, wakeAt - wheel.time()))
  }

  /** True when the call may go ahead. */
  acquire(now: number, call: Call): boolean {
    const admitted = this.#breaker.acquire(now, call)
    if (this.#breaker.wakeAt !== this.#set) this.#arm()
    if (admitted) call.guard = this
    else this.refused++
    return admitted
  }

  record(now: number, call: Call, failed: boolean, slow: boolean): void {
    this.#breaker.record(now, call, failed, slow)
    if (this.#breaker.wakeAt !== this.#set) this.#arm()
  }

  release(now: number, call: Call): void {
    this.#breaker.release(now, call)
    if (this.#breaker.wakeAt !== this.#set) this.#arm()
  }

  amend(now: number, call: Call): void {
    this.#breaker.amend(now, call)
    if (this.#breaker.wakeAt !== this.#set) this.#arm()
  }

  /** A call to this upstream comes to it. */
  meet(upstream: string): void {
    if (upstream === this.#lastJudged) return
    this.#lastJudged = upstream
    this.judged.add(upstream)
  }

  /** Milliseconds until it is worth asking again. */
  retryIn(now: number): number {
    return this.#breaker.state === 'open' ? this.#breaker.wakeAt - now : 0
  }

  /** True when nothing is lost with it. */
  idle(now: number): boolean {
    return this.#breaker.idle(now)
  }

  /** Facts for the admin page. */
  facts(now: number): Record<string, unknown> {
    const breaker = this.#breaker
    breaker.advance(now)
    // Only to let go of old calls: the sums are read below.
    breaker.idle(now)
    const { state, window, since, wakeAt, inFlight, probes } = breaker
    const wall = (time: number) => new Date(Date.now() + time - now).toISOString()
    return {
      state,
      ...(state !== 'closed' && { since: wall(since) }),
      ...(state === 'open' && { openUntil: wall(wakeAt) }),
      ...(state === 'half-open' && { probes }),
      ...(state === 'ramp-up' && { share: rounded(breaker.share(now)) }),
      calls: window.calls,
      failureRate: rounded(window.calls === 0 ? 0 : window.failures / window.calls),
      slowRate: rounded(window.calls === 0 ? 0 : window.slow / window.calls),
      inFlight,
      opened: this.opened,
      refused: this.refused,
    }
  }

  /** Let go of the timer; what is under way changes nothing any more. */
  close(): void {
    this.#closed = true
    this.#timer.remove()
  }
}

function rounded(share: number): number {
  return Math.round(share * 1000) / 1000
}
