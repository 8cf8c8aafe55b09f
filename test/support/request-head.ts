// A request's head as an engine would hand it over, for tests that need no socket.
import type { RequestHead } from '../../src/http/head.ts'

/** `target` is path and query, normalised already. `headers` is flat: name, value, … with lower-case names. */
export function requestHead(method: string, host: string, target: string, headers: string[] = []): RequestHead {
  const mark = target.indexOf('?')
  const path = mark === -1 ? target : target.slice(0, mark)
  return {
    method,
    rawPath: path,
    path,
    query: mark === -1 ? '' : target.slice(mark + 1),
    hasQuery: mark !== -1,
    minor: 1,
    secure: false,
    host,
    remoteAddress: '127.0.0.1',
    headers,
    bodyLength: 0,
    hasUnderscore: false,
    acceptsTrailers: false,
  }
}
