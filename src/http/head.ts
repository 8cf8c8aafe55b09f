// The words of an HTTP message as every room speaks them: flat header lists, heads, replies and their well-known rules.

/** Flat list `name, value, name, value, …`; names are lower-case tokens, values are trimmed latin1 strings. */
export type HeaderList = string[]

/** Body length of a head: `n >= 0` bytes, or `-1` when only the end of the body tells (chunked, or until close). */
export type BodyLength = number

/** Length not known before the end of the body. */
export const UNKNOWN_LENGTH = -1

/**
 * A request as an engine hands it over: already checked against RFC 9112, hop-by-hop fields taken out
 * (RFC 9110 7.6.1) and framing turned into `bodyLength`, so that nobody downstream can copy framing.
 */
export interface RequestHead {
  /** Any token, case kept (RFC 9110 9.1). */
  method: string
  /** The path as it was sent, or that of an absolute-form target; `*` for OPTIONS *. */
  rawPath: string
  /** The path as matched and forwarded (http/path.ts); a route or plugin may rewrite it. */
  path: string
  /** Bytes after the first `?`. */
  query: string
  /** Tells an empty query (`/a?`) from none (`/a`), so that both go on as they came. */
  hasQuery: boolean
  /** 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minor: number
  /** True when the client's side is TLS. */
  secure: boolean
  /** Host with port as the client named it (RFC 9112 3.2.2: an absolute-form target wins); `''` in HTTP/1.0 without one. */
  host: string
  /** The peer's IP address, an IPv4-mapped one unmapped. */
  remoteAddress: string
  /** Every field but the hop-by-hop and framing ones and Host. Names lower-case. */
  headers: HeaderList
  /** Length of the body; 0 when there is none. */
  bodyLength: BodyLength
  /** True when some field name holds an underscore: its dashed twin must not be forged. */
  hasUnderscore: boolean
  /** True when the client sent `TE: trailers`. */
  acceptsTrailers: boolean
  /** Names, with dashes, that were taken out on the way and must not come back as trailers; absent where none can. */
  removed?: string[]
}

/** What a request asks for, and of whom. */
export type RequestLine = Readonly<Pick<RequestHead, 'method' | 'path' | 'query' | 'host'>>

/** An upstream's answer: framing is in `bodyLength`, hop-by-hop fields are gone. */
export interface ResponseHead {
  status: number
  /** True when the list already holds a Date (RFC 9110 6.6.1: otherwise the engine adds one). */
  hasDate: boolean
  headers: HeaderList
  /** Length of the body; for HEAD and 304 what the field said, `-1` when unknown. */
  bodyLength: BodyLength
  /** As of a request. */
  removed?: string[]
}

/** An answer made by the gateway itself: by a plugin, a `respond` route or an error. */
export interface Reply {
  status: number
  headers: Readonly<HeaderList>
  body: string | Uint8Array | null
}

/** Where a request's body comes from. Chunks are borrowed: they are valid only during the call. */
export interface BodySource {
  /** Set before the first `resume()`; called with the decoded bytes, `last` on the final call (which may be empty). */
  onChunk: ((chunk: Uint8Array, last: boolean) => void) | null
  /** The trailer section that may be passed on; set before the final `onChunk`, null when there is none. */
  readonly trailers: HeaderList | null
  /** Stop delivering; bytes on the way are kept within the engine's read buffer. */
  pause(): void
  /** Begin or go on delivering. The first call sends 100-continue where the client waits for it. */
  resume(): void
}

/**
 * What of a message's trailers may go on: nothing that the head says already, or that was taken out of it, in either spelling.
 * Receivers that merge trailers into the head would believe it (RFC 9110 6.5.1). Null for none.
 */
export function passingTrailers(
  head: Pick<RequestHead, 'headers' | 'removed'>,
  trailers: HeaderList | null,
): HeaderList | null {
  if (trailers === null) return null
  const settled = new Set(head.removed)
  for (let i = 0; i < head.headers.length; i += 2) settled.add(dashed(head.headers[i]!))
  const passing: HeaderList = []
  for (let i = 0; i < trailers.length; i += 2)
    if (!settled.has(dashed(trailers[i]!))) passing.push(trailers[i]!, trailers[i + 1]!)
  return passing
}

/** The name with its underscores as dashes: two names that are one to many servers. */
export function dashed(name: string): string {
  return name.includes('_') ? name.replaceAll('_', '-') : name
}

/** The first value of a field in a flat list, or undefined. `name` is lower-case. */
export function header(list: Readonly<HeaderList>, name: string): string | undefined {
  for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1]
  return undefined
}

/** Remove every field of that name in place. `name` is lower-case. */
export function removeHeader(list: HeaderList, name: string): void {
  let kept = 0
  for (let i = 0; i < list.length; i += 2) {
    if (list[i] === name) continue
    list[kept] = list[i]
    list[kept + 1] = list[i + 1]
    kept += 2
  }
  if (kept !== list.length) list.length = kept
}

/** Remove the fields of all these names in place. They are a set, because a client may name thousands in Connection. */
export function removeHeaders(list: HeaderList, names: ReadonlySet<string>): void {
  let kept = 0
  for (let i = 0; i < list.length; i += 2) {
    if (names.has(list[i]!)) continue
    list[kept] = list[i]!
    list[kept + 1] = list[i + 1]!
    kept += 2
  }
  if (kept !== list.length) list.length = kept
}

/** The method that a CORS preflight (Fetch 3.2.2) asks leave for; undefined for every other request. */
export function preflightMethod({ method, headers }: RequestHead): string | undefined {
  if (method !== 'OPTIONS' || header(headers, 'origin') === undefined) return undefined
  return header(headers, 'access-control-request-method')
}

/** True for methods that may be sent twice (RFC 9110 9.2.2). */
export function isIdempotent(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'PUT':
    case 'DELETE':
    case 'OPTIONS':
    case 'TRACE':
      return true
    default:
      return false
  }
}

/** True when an answer with this status to this method carries no content (RFC 9112 6.3). */
export function isBodiless(method: string, status: number): boolean {
  return method === 'HEAD' || status === 204 || status === 304
}

/**
 * Fields that belong to the connection or to framing: the gateway sets them itself, and what a plugin set there would
 * break the message for both sides.
 */
export const GATEWAY_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
