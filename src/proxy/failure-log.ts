// Why exchanges failed, for the operator: one line each until there are too many, then a count.
import { type GatewayError, stackOf } from '../errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { LineLimit, type Log } from '../log.ts'
import type { Step } from '../pipeline/plan.ts'

/** See the head of this file. */
export class FailureLog {
  readonly #log: Log
  readonly #lines: LineLimit

  constructor(log: Log, now?: () => number) {
    this.#log = log
    this.#lines = new LineLimit(now)
  }

  /** Note an error that the upstream or the gateway is to blame for; a client's own are not told, a plugin's by `plugin`. */
  note(x: Exchange, error: GatewayError): void {
    if (error.source === 'client' || error.code === 'SLUICE_PLUGIN_FAILED') return
    const left = this.#lines.admit(error.code)
    if (left === null) return
    this.#log.warn('a request failed', {
      code: error.code,
      why: error.message,
      route: x.route.name,
      upstream: x.upstream?.name,
      endpoint: x.endpoint?.address,
      attempts: x.attempts,
      requestId: x.requestId,
      ...left,
    })
  }

  /** Note what a plugin threw or did wrong; a null `step` where it is not known which. */
  plugin(x: Exchange, step: Step | null, error: unknown): void {
    // Codes are upper-case throughout and names of plugins are not: neither stands in the other's place.
    const left = this.#lines.admit(step === null ? 'plugin' : `plugin ${step.name}`)
    if (left === null) return
    this.#log.error('a plugin failed', {
      ...(step !== null && { plugin: step.name }),
      route: x.route.name,
      requestId: x.requestId,
      error: stackOf(error),
      ...left,
    })
  }
}
