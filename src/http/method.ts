// Methods as the configuration names them: what a request can have, and what would hold for none.

const KNOWN = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'])
/** As others write "every method": tokens as good as any, that no request has. */
const EVERY = /^(?:\*|any|all)$/i

/** Why no request that reaches a route has this method (an RFC 9110 token), or null. */
export function methodFault(name: string): string | null {
  if (EVERY.test(name)) return 'for every method, leave this out'
  const upper = name.toUpperCase()
  if (upper === 'CONNECT') return 'CONNECT is answered 501 before any route'
  return KNOWN.has(upper) && name !== upper ? 'methods are written in capitals' : null
}
