// The field names that most heads are made of, interned, so that a name on the wire costs a hash and no new string.

/** What the codec itself does with a field; everything else is passed on. */
export const Field = {
  Other: 0,
  Connection: 1,
  /** Hop-by-hop with no meaning to us: dropped (RFC 9110 7.6.1). */
  Drop: 2,
  Te: 3,
  TransferEncoding: 4,
  Upgrade: 5,
  ContentLength: 6,
  Host: 7,
  Expect: 8,
  Trailer: 9,
  Date: 10,
  KeepAlive: 11,
} as const

const SPECIAL: Record<string, number> = {
  connection: Field.Connection,
  'keep-alive': Field.KeepAlive,
  'proxy-connection': Field.Drop,
  'proxy-authenticate': Field.Drop,
  'proxy-authorization': Field.Drop,
  'proxy-authentication-info': Field.Drop,
  'http2-settings': Field.Drop,
  te: Field.Te,
  'transfer-encoding': Field.TransferEncoding,
  upgrade: Field.Upgrade,
  'content-length': Field.ContentLength,
  host: Field.Host,
  expect: Field.Expect,
  trailer: Field.Trailer,
  date: Field.Date,
}

const COMMON = `accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials
access-control-allow-headers access-control-allow-methods access-control-allow-origin access-control-expose-headers
access-control-max-age access-control-request-headers access-control-request-method age allow alt-svc authorization
cache-control cdn-loop content-disposition content-encoding content-language content-location content-range
content-security-policy content-type cookie cross-origin-opener-policy cross-origin-resource-policy dnt etag expires
forwarded from grpc-status grpc-message if-match if-modified-since if-none-match if-range if-unmodified-since
last-modified link location max-forwards origin permissions-policy pragma priority range ratelimit ratelimit-policy
referer referrer-policy refresh retry-after sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode
sec-fetch-site sec-fetch-user sec-websocket-accept sec-websocket-extensions sec-websocket-key sec-websocket-protocol
sec-websocket-version server server-timing set-cookie strict-transport-security traceparent tracestate
upgrade-insecure-requests user-agent vary via www-authenticate x-api-key x-content-type-options x-correlation-id
x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-frame-options x-powered-by x-real-ip
x-request-id x-requested-with x-xss-protection`.split(/\s+/)

/** For each byte: its lower-case form when it may stand in a field name (RFC 9110 5.6.2 tchar), else 0. */
export const NAME_BYTE = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  NAME_BYTE[char.charCodeAt(0)] = char.toLowerCase().charCodeAt(0)
}

/** Bytes that may stand in a field value: VCHAR, SP, HTAB and obs-text (RFC 9110 5.5). */
export const VALUE_BYTE = new Uint8Array(256)
for (let byte = 0; byte < 256; byte++) VALUE_BYTE[byte] = byte === 9 || (byte >= 0x20 && byte !== 0x7f) ? 1 : 0

const MASK = 1023

/** One name of the table. */
export interface KnownName {
  readonly name: string
  readonly kind: number
}

const table: (KnownName | null)[] = new Array(MASK + 1).fill(null)

/** The hash that the parser carries along while it reads a name: lower-case bytes, 32 bits, signed. */
export function hashName(name: string): number {
  let hash = 0
  for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) | 0
  return hash
}

/** Every name of the table. */
export const KNOWN_NAMES: readonly string[] = [...Object.keys(SPECIAL), ...COMMON]

const UNSEEN: readonly number[] = [
  Field.Connection,
  Field.Drop,
  Field.Te,
  Field.TransferEncoding,
  Field.Upgrade,
  Field.ContentLength,
  Field.KeepAlive,
]

/** The names that go no further than the codec: hop-by-hop and framing. No route and no plugin sees them. */
export const UNSEEN_NAMES: ReadonlySet<string> = new Set(
  Object.keys(SPECIAL).filter(name => UNSEEN.includes(SPECIAL[name]!)),
)

for (const name of KNOWN_NAMES) {
  let at = hashName(name) & MASK
  while (table[at] !== null) at = (at + 1) & MASK
  table[at] = { name, kind: SPECIAL[name] ?? Field.Other }
}

/** The interned name that stands in `bytes[from, to)`, or null. `hash` is hashName of its lower-case form. */
export function lookupName(bytes: Uint8Array, from: number, to: number, hash: number): KnownName | null {
  let at = hash & MASK
  for (let known = table[at]!; known !== null; at = (at + 1) & MASK, known = table[at]!) {
    const name = known.name
    if (name.length !== to - from) continue
    let i = 0
    while (i < name.length && NAME_BYTE[bytes[from + i]!] === name.charCodeAt(i)) i++
    if (i === name.length) return known
  }
  return null
}
