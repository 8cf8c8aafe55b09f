// The answers that jwt gives instead of the upstream, with the challenges of RFC 6750 3.
import { type Exchange, problemReply, type Reply } from '../../src/plugin-api.ts'
import type { Refused } from './verifier.ts'

/** 401 to a request without token: no error code, for nothing was wrong with what it brought (RFC 6750 3.1). */
export function challenge(x: Exchange): Reply {
  return problemReply(x, 'SLUICE_UNAUTHORIZED', ['www-authenticate', 'Bearer realm="sluice"'])
}

/** 401 to a bad token; 503 where nobody can tell whether it is bad. The description is ours, never the token's. */
export function refusal(x: Exchange, { refused, retryAfter }: Refused): Reply {
  if (retryAfter !== null) return problemReply(x, 'SLUICE_STORE_UNAVAILABLE', ['retry-after', String(retryAfter)])
  return problemReply(x, 'SLUICE_UNAUTHORIZED', [
    'www-authenticate',
    `Bearer error="invalid_token", error_description="${refused}"`,
  ])
}

/** 403 to a good token whose claims do not fit. */
export function forbidden(x: Exchange): Reply {
  return problemReply(x, 'SLUICE_FORBIDDEN', [
    'www-authenticate',
    'Bearer error="insufficient_scope", error_description="the claims of the token do not allow this"',
  ])
}
