// How a plugin refuses: the answer of the gateway's own errors, for the exchange that it is refused to.
import type { ErrorCode } from '../errors.ts'
import type { HeaderList, Reply } from '../http/head.ts'
import { problem } from '../http/problem.ts'
import type { Exchange } from './exchange.ts'

/**
 * A problem+json Reply with the status and title of `code` and the request's id; `extra` are headers to add, such as
 * `['retry-after', '3']`. For a plugin to return from `onRequest` or `onAttempt`.
 */
export function problemReply(x: Exchange, code: ErrorCode, extra: HeaderList = []): Reply {
  return problem({ code }, x.requestId, extra)
}
