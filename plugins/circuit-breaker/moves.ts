// The moves of breakers, told once each to log and counters.
import type { SharedContext } from '../../src/plugin-api.ts'
import type { Move } from './breaker.ts'
import type { ReportMove } from './guard.ts'

/** Make what tells of moves. */
export function reporter(context: SharedContext): ReportMove {
  const count: Readonly<Record<Move['to'], () => void>> = {
    open: context.counter('opened'),
    'half-open': context.counter('half-opened'),
    'ramp-up': context.counter('ramped-up'),
    closed: context.counter('closed'),
  }
  return (guard, move, openFor) => {
    count[move.to]()
    const { route, upstream, endpoint } = guard.of
    const { from, to, reason, calls, failures, slow } = move
    context.log(to === 'open' ? 'warn' : 'info', `circuit breaker is ${to}`, {
      ...(route !== null && { route }),
      ...(upstream !== null && { upstream }),
      ...(endpoint !== null && { endpoint: endpoint.address }),
      from,
      reason,
      ...(calls > 0 && { calls, failures, slow }),
      ...(to === 'open' && { openForMs: Math.round(openFor) }),
    })
  }
}
