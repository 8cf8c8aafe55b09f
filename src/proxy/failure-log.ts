// Why exchanges failed, for the operator: one line each until there are too many, then a count.
import type { GatewayError } from '../errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Log } from '../log.ts'

/** Lines a second and code; what is past them is counted in the next line. A storm must not drown the log. */
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

  /** Note an error that the upstream or the gateway is to blame for; a client's own are not told. */
  note(x: Exchange, error: GatewayError): void {
    if (error.source === 'client' || error.code === 'SLUICE_PLUGIN_FAILED') return
    const now = this.#now()
    let tally = this.#tallies.get(error.code)
    if (tally === undefined) {
      tally = { since: now, lines: 0, suppressed: 0 }
      this.#tallies.set(error.code, tally)
    }
    if (now - tally.since >= WINDOW) {
      tally.since = now
      tally.lines = 0
    }
    if (++tally.lines > LINES) {
      tally.suppressed++
      return
    }
    this.#log.warn('a request failed', {
      code: error.code,
      why: error.message,
      route: x.route.name,
      upstream: x.upstream?.name,
      endpoint: x.endpoint?.address,
      attempts: x.attempts,
      requestId: x.requestId,
      ...(tally.suppressed > 0 && { suppressed: tally.suppressed }),
    })
    tally.suppressed = 0
  }
}
