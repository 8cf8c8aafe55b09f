// Why exchanges failed, for the operator: one line each until there are too many, then a count.
import { type GatewayError, stackOf } from '../errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Log } from '../log.ts'
import type { Step } from '../pipeline/plan.ts'

/** Lines a second of one code or plugin; what is past them is counted in the next line. A storm must not drown the log. */
const LINES = 10
const WINDOW = 1000

interface Tally {
  since: number
  lines: number
  suppressed: number
}

/** See the head of this file. */
export class FailureLog {
  readonly #log: Log
  readonly #now: () => number
  readonly #tallies = new Map<string, Tally>()

  constructor(log: Log, now: () => number = () => performance.now()) {
    this.#log = log
    this.#now = now
  }

  /** Note an error that the upstream or the gateway is to blame for; a client's own are not told, a plugin's by `plugin`. */
  note(x: Exchange, error: GatewayError): void {
    if (error.source === 'client' || error.code === 'SLUICE_PLUGIN_FAILED') return
    const suppressed = this.#admit(error.code)
    if (suppressed === null) return
    this.#log.warn('a request failed', {
      code: error.code,
      why: error.message,
      route: x.route.name,
      upstream: x.upstream?.name,
      endpoint: x.endpoint?.address,
      attempts: x.attempts,
      requestId: x.requestId,
      ...(suppressed > 0 && { suppressed }),
    })
  }

  /** Note what a plugin threw or did wrong; a null `step` where it is not known which. */
  plugin(x: Exchange, step: Step | null, error: unknown): void {
    // Codes are upper-case throughout and names of plugins are not: neither stands in the other's place.
    const suppressed = this.#admit(step === null ? 'plugin' : `plugin ${step.name}`)
    if (suppressed === null) return
    this.#log.error('a plugin failed', {
      ...(step !== null && { plugin: step.name }),
      route: x.route.name,
      requestId: x.requestId,
      error: stackOf(error),
      ...(suppressed > 0 && { suppressed }),
    })
  }

  /** How many lines of this kind were left out since the last one; null where one more must be. */
  #admit(kind: string): number | null {
    const now = this.#now()
    let tally = this.#tallies.get(kind)
    if (tally === undefined) {
      tally = { since: now, lines: 0, suppressed: 0 }
      this.#tallies.set(kind, tally)
    }
    if (now - tally.since >= WINDOW) {
      tally.since = now
      tally.lines = 0
    }
    if (++tally.lines > LINES) {
      tally.suppressed++
      return null
    }
    const { suppressed } = tally
    tally.suppressed = 0
    return suppressed
  }
}
