// When a failed attempt is made again: the route's conditions, a budget that keeps retries from becoming a storm, and the pause before.
import { wheel } from '../clock.ts'
import type { GatewayError } from '../errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { isIdempotent } from '../http/head.ts'
import type { Route } from '../route/route.ts'

/** Length of the window over which the budget is counted, in milliseconds. */
const WINDOW = 10_000
/** Retries that a window always allows, so that a route with little traffic can retry at all. */
const FLOOR = 3

/** Count a request towards the budget. Called once an exchange. */
export function countRequest({ tally }: Route): void {
  const now = wheel.time()
  if (now - tally.windowStart > WINDOW) {
    // Half of the last window stays, so that a boundary neither refills nor empties the budget at once.
    const stale = now - tally.windowStart > 2 * WINDOW
    tally.requests = stale ? 0 : tally.requests >> 1
    tally.retries = stale ? 0 : tally.retries >> 1
    tally.windowStart = now
  }
  tally.requests++
}

/** True when another attempt may follow; it is then counted. */
function spend({ tally, options }: Route): boolean {
  const { budget } = options.retry
  if (budget === 0 || tally.retries >= Math.max(FLOOR, tally.requests * budget)) return false
  tally.retries++
  return true
}

/** May the exchange be tried again after an attempt that brought no answer? */
export function mayRetryError(x: Exchange<Route>, error: GatewayError): boolean {
  const { retry } = x.route.options
  if (!error.retryable || x.attempts > retry.attempts) return false
  if (error.code === 'SLUICE_UPSTREAM_TIMEOUT' && !error.unsent) return false
  if (!retry.on.includes(error.unsent ? 'connect' : 'reset')) return false
  // What was never sent cannot have had an effect, whatever the method (RFC 9110 9.2.2).
  return (error.unsent || isIdempotent(x.head.method)) && spend(x.route)
}

/** May the exchange be tried again instead of passing on this status? Only without a body: it may have been used. */
export function mayRetryStatus(x: Exchange<Route>, status: number): boolean {
  if (status < 502 || status > 504) return false
  const { retry } = x.route.options
  if (x.attempts > retry.attempts || !retry.on.includes(status as 502)) return false
  return x.head.bodyLength === 0 && isIdempotent(x.head.method) && spend(x.route)
}

/** Milliseconds to wait before the next attempt: exponential with full jitter (Brooker 2015). */
export function backoff(x: Exchange<Route>): number {
  const { retry } = x.route.options
  return Math.random() * Math.min(retry.maxBackoff, retry.backoff * 2 ** (x.attempts - 1))
}
