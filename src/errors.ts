// The table of the gateway's own errors: code, status, title and whose fault each is; and the text of whatever was thrown.
import { inspect } from 'node:util'

/** Whose doing an error is: decides logging and what a retry may help. */
export type ErrorSource = 'client' | 'upstream' | 'gateway'

interface ErrorKind {
  readonly status: number
  readonly title: string
  readonly source: ErrorSource
}

/** Every code that an answer of the gateway can carry; docs/errors.md explains each. */
export const ERRORS = {
  SLUICE_NO_ROUTE: { status: 404, title: 'No route matches this request', source: 'client' },
  SLUICE_METHOD_NOT_ALLOWED: { status: 405, title: 'This path does not take that method', source: 'client' },
  SLUICE_BAD_REQUEST: { status: 400, title: 'The request is malformed', source: 'client' },
  SLUICE_REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive in time', source: 'client' },
  SLUICE_BODY_TOO_LARGE: { status: 413, title: 'The request body is too large', source: 'client' },
  SLUICE_EXPECTATION_FAILED: { status: 417, title: 'The expectation cannot be met', source: 'client' },
  SLUICE_HEADERS_TOO_LARGE: { status: 431, title: 'The request head is too large', source: 'client' },
  SLUICE_CLIENT_CLOSED: { status: 499, title: 'The client closed the connection', source: 'client' },
  SLUICE_VERSION_NOT_SUPPORTED: { status: 505, title: 'This HTTP version is not supported', source: 'client' },
  SLUICE_NOT_IMPLEMENTED: { status: 501, title: 'This method is not supported', source: 'client' },
  SLUICE_UPSTREAM_CONNECT: { status: 502, title: 'The upstream could not be reached', source: 'upstream' },
  SLUICE_UPSTREAM_RESET: { status: 502, title: 'The upstream closed the connection early', source: 'upstream' },
  SLUICE_UPSTREAM_PROTOCOL: { status: 502, title: 'The upstream sent a malformed answer', source: 'upstream' },
  SLUICE_NO_ENDPOINT: { status: 503, title: 'The upstream has no endpoint', source: 'gateway' },
  SLUICE_OVERLOADED: { status: 503, title: 'Too much is under way at once', source: 'gateway' },
  SLUICE_BREAKER_OPEN: { status: 503, title: 'The circuit breaker is open', source: 'gateway' },
  SLUICE_STORE_UNAVAILABLE: {
    status: 503,
    title: 'A store that the answer depends on is unavailable',
    source: 'gateway',
  },
  SLUICE_UPSTREAM_TIMEOUT: { status: 504, title: 'The upstream did not answer in time', source: 'upstream' },
  SLUICE_LOOP_DETECTED: { status: 508, title: 'The request has passed this gateway before', source: 'gateway' },
  SLUICE_RATE_LIMITED: { status: 429, title: 'Too many requests', source: 'client' },
  SLUICE_UNAUTHORIZED: { status: 401, title: 'Valid credentials are required', source: 'client' },
  SLUICE_FORBIDDEN: { status: 403, title: 'Access is not allowed', source: 'client' },
  SLUICE_PLUGIN_FAILED: { status: 500, title: 'A plugin failed', source: 'gateway' },
  SLUICE_INTERNAL: { status: 500, title: 'The gateway failed', source: 'gateway' },
} as const satisfies Record<`SLUICE_${string}`, ErrorKind>

/** A code of the table above. */
export type ErrorCode = keyof typeof ERRORS

/**
 * An error that ends an attempt or an exchange. The message is for the log only: what the client sees is
 * the code's title (http/problem.ts). Made without a stack, because it is flow and not a defect.
 */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly source: ErrorSource
  readonly status: number
  /** True when the same request may be tried at another endpoint: nothing of the answer was seen. */
  readonly retryable: boolean
  /** True when no byte of the request went out. */
  readonly unsent: boolean

  /** `source` is another than the code's where it was somebody else's doing this time. */
  constructor(
    code: ErrorCode,
    message: string,
    options?: { retryable?: boolean; unsent?: boolean; source?: ErrorSource },
  ) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = limit
    this.name = 'GatewayError'
    this.code = code
    this.source = options?.source ?? ERRORS[code].source
    this.status = ERRORS[code].status
    this.retryable = options?.retryable ?? false
    this.unsent = options?.unsent ?? false
  }
}

/**
 * What was thrown, in words. Anything can be: also what says nothing by itself, such as a bare object. Never throws
 * itself.
 */
export function messageOf(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return String(thrown.message)
    return typeof thrown === 'string' ? thrown : inspect(thrown, { depth: 1, breakLength: 200 }).slice(0, 1000)
  } catch {
    return 'something that has no text'
  }
}

/** The same with where it was thrown, as far as that is known. */
export function stackOf(error: unknown): string {
  const stack: unknown = error instanceof Error ? error.stack : undefined
  return typeof stack === 'string' ? stack : messageOf(error)
}
