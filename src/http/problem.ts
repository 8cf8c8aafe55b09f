// The body that tells a client of an error: problem+json by RFC 9457, with the code and its title, and never a cause.
import { ERRORS, type ErrorCode } from '../errors.ts'
import type { HeaderList, Reply } from './head.ts'

/** The answer for this code; `instance` is the request's id, `extra` are headers beside its own (flat, lower-case names). */
export function problem(error: { readonly code: ErrorCode }, instance: string, extra: HeaderList = []): Reply {
  const { status, title } = ERRORS[error.code]
  const body = JSON.stringify({ type: `urn:sluice:error:${error.code}`, title, status, code: error.code, instance })
  return { status, headers: ['content-type', 'application/problem+json', 'cache-control', 'no-store', ...extra], body }
}
