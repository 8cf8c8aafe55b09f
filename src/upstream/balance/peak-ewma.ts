// The endpoint that is likely to answer sooner, of two that are drawn: by the time its answers took, and what it has to do.
import { wheel } from '../../clock.ts'
import { type Endpoint, LATENCY_MEMORY } from '../endpoint.ts'
import { TwoChoices } from './two-choices.ts'

/** What a request costs, in milliseconds, while its endpoint has not answered any and already has one to answer. */
const UNKNOWN = 60_000

/** Finagle's Peak EWMA, with `Endpoint.answeredIn` as its memory. */
export class PeakEwma extends TwoChoices {
  readonly timed = true
  readonly #now: () => number

  /** `random` yields numbers in [0, 1), `now` milliseconds of performance.now(), as coarse as may be beside 10 seconds. */
  constructor(
    endpoints: readonly Endpoint[],
    random: () => number = Math.random,
    now: () => number = () => wheel.time(),
  ) {
    super(endpoints, random)
    this.#now = now
  }

  protected better(first: Endpoint, second: Endpoint): Endpoint {
    const now = this.#now()
    return cost(first, now) <= cost(second, now) ? first : second
  }
}

/** The time that one more request is expected to take there, for each share. */
function cost(endpoint: Endpoint, now: number): number {
  const { latency, inFlight } = endpoint
  // Nothing is under way: the longer it was not asked, the less is held against it. With one under way it is being tried,
  // and until that is answered what is known counts in full: one that was slow, or is new, gets one request, not a flood.
  if (inFlight === 0)
    return (latency * Math.exp(Math.min(0, endpoint.latencyAt - now) / LATENCY_MEMORY)) / endpoint.share
  return ((latency === 0 ? UNKNOWN : latency) * (inFlight + 1)) / endpoint.share
}
