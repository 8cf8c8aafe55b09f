// The endpoint with fewer requests under way, of two that are drawn.
import type { Endpoint } from '../endpoint.ts'
import { TwoChoices } from './two-choices.ts'

/** Goes by the attempts under way for each share; an idle set is dealt by shares, as if at random. */
export class LeastRequest extends TwoChoices {
  readonly timed = false

  /** `random` yields numbers in [0, 1). */
  constructor(endpoints: readonly Endpoint[], random: () => number = Math.random) {
    super(endpoints, random)
  }

  protected better(first: Endpoint, second: Endpoint): Endpoint {
    // Both quotients times both shares: no division.
    return first.inFlight * second.share <= second.inFlight * first.share ? first : second
  }
}
