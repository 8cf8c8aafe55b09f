// The rules that decide where a message ends and whom it is for; used by every engine and for both directions.
import { isIPv6 } from 'node:net'
import { isClaim } from '../http/forwarded.ts'
import { dashed } from '../http/head.ts'
import { KNOWN_NAMES, NAME_BYTE } from './known-fields.ts'

/**
 * A Content-Length value: 1*DIGIT and at most 2^53-1 (RFC 9110 8.6); -1 when it is not. Lists, signs, spaces and
 * over-long forms with leading zeros are refused, because two parsers may read them differently.
 */
export function parseContentLength(value: string): number {
  const length = value.length
  if (length === 0 || length > 16) return -1
  let number = 0
  for (let i = 0; i < length; i++) {
    const digit = value.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return -1
    number = number * 10 + digit
  }
  return number <= Number.MAX_SAFE_INTEGER ? number : -1
}

/** True for exactly one `chunked`, in any case: the one transfer coding that is accepted (RFC 9112 6.1). */
export function isChunked(value: string): boolean {
  // An expression, because toLowerCase makes a `k` of the Kelvin sign.
  return value.length === 7 && /^chunked$/i.test(value)
}

/** True for a token (RFC 9110 5.6.2): methods and field names. */
export function isToken(text: string): boolean {
  if (text.length === 0) return false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || NAME_BYTE[code] === 0) return false
  }
  return true
}

/** `test`, which remembers the first 1024 texts that passed it: for names, which are mostly the same few hundred. */
export function remembering(test: (text: string) => boolean): (text: string) => boolean {
  const passed = new Set<string>()
  return text => {
    if (passed.has(text)) return true
    if (!test(text)) return false
    if (passed.size < 1024) passed.add(text)
    return true
  }
}

const BAD_IN_TARGET = /[^\x21\x22\x24-\x7e]/

/** True when every character may stand in a request target that was split at `?`: visible ASCII but `#` (RFC 9112 3.2). */
export function isTarget(text: string): boolean {
  return !BAD_IN_TARGET.test(text)
}

const BAD_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/

/** True when every character may stand in a field value or reason phrase (RFC 9110 5.5): no CR, LF, NUL, controls. */
export function isFieldValue(text: string): boolean {
  // Values are slices of their head: the expression's engine reads those faster than a loop over charCodeAt.
  return !BAD_IN_VALUE.test(text)
}

// reg-name without the comma, which would make a list of two hosts (RFC 3986 3.2.2).
const HOST_CHAR = new Uint8Array(128)
for (const char of "-._~!$&'()*+;=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  HOST_CHAR[char.charCodeAt(0)] = 1

/** Digits for at most 65535, or none at all: zeros may lead it (RFC 3986 3.2.3). */
function isPort(text: string, at: number): boolean {
  let port = 0
  for (; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 48
    if (digit < 0 || digit > 9) return false
    port = port * 10 + digit
    if (port > 65_535) return false
  }
  return true
}

function isHex(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 65 && code <= 70) || (code >= 97 && code <= 102)
}

/** True for the value of a Host field: `uri-host [":" port]` with a host that is not empty (RFC 9110 7.2, RFC 3986 3.2.2). */
export function isHostField(text: string): boolean {
  if (text.charCodeAt(0) === 0x5b) return isBracketed(text)
  let i = 0
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 128 && HOST_CHAR[code] === 1) continue
    if (code === 0x25 && isHex(text.charCodeAt(i + 1)) && isHex(text.charCodeAt(i + 2))) i += 2
    else break
  }
  if (i === 0) return false
  return i === text.length || (text.charCodeAt(i) === 0x3a && isPort(text, i + 1))
}

function isBracketed(text: string): boolean {
  const close = text.indexOf(']')
  if (close < 0) return false
  const address = text.slice(1, close)
  // A zone id is meaningful on the client's machine alone (RFC 6874): refused with the rest.
  if (address.includes('%') || !(isIPv6(address) || /^v[0-9a-f]+\.[-\w.~!$&'()*+;=:]+$/i.test(address))) return false
  return close + 1 === text.length || (text[close + 1] === ':' && isPort(text, close + 2))
}

/** A host for comparing: lower-case, and without the port where that is `usual`. */
export function comparableHost(host: string, usual: number): string {
  const lower = host.toLowerCase().replace(/:$/, '')
  return lower.endsWith(`:${usual}`) ? lower.slice(0, lower.lastIndexOf(':')) : lower
}

// End-to-end fields that Connection may not name to have them dropped: those that somebody relies on
// to arrive. Names that nobody has registered or made known are the sender's own business.
const END_TO_END = new Set([
  ...KNOWN_NAMES,
  ...`baggage cf-connecting-ip clear-site-data content-digest cross-origin-embedder-policy dpop idempotency-key
last-event-id prefer preference-applied repr-digest signature signature-input true-client-ip x-csrf-token
x-robots-tag`.split(/\s+/),
])

function isBlank(code: number): boolean {
  return code === 0x20 || code === 9
}

/** Without OWS at both ends (RFC 9110 5.6.3). `trim` would take U+00A0 for a blank, which is a byte like any other here. */
function trimBlanks(text: string): string {
  let from = 0
  let to = text.length
  while (from < to && isBlank(text.charCodeAt(from))) from++
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--
  return text.substring(from, to)
}

/** What a Connection field says. */
export interface ConnectionOptions {
  close: boolean
  keepAlive: boolean
  upgrade: boolean
  /** Field names to drop besides the usual ones, lower-case; null when there is none. */
  named: string[] | null
}

/** Read one Connection value into `into`; false when an option is no token (RFC 9110 7.6.1). */
export function readConnection(value: string, into: ConnectionOptions): boolean {
  if (value === 'keep-alive') {
    into.keepAlive = true
    return true
  }
  for (const part of value.toLowerCase().split(',')) {
    const option = trimBlanks(part)
    if (option === '') continue
    if (!isToken(option)) return false
    if (option === 'close') into.close = true
    else if (option === 'keep-alive') into.keepAlive = true
    else if (option === 'upgrade') into.upgrade = true
    else if (!END_TO_END.has(option) && !isClaim(option)) {
      if (into.named === null) into.named = [option]
      else into.named.push(option)
    }
  }
  return true
}

// What must not come as a trailer (RFC 9110 6.5.1), beside what is said of the way here: framing, routing, authentication,
// conditions, what controls a cache or the answer, and what a request is known by.
const NO_TRAILER = new Set(
  `accept accept-encoding accept-language age authorization cache-control connection content-encoding content-length
content-range content-type cookie date expect expires host if-match if-modified-since if-none-match if-range
if-unmodified-since keep-alive location max-forwards origin proxy-authenticate proxy-authorization proxy-connection range
referer retry-after set-cookie te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate x-api-key
x-request-id`.split(/\s+/),
)

/** True when a field of that lower-case name may be passed on in a trailer section, `_` read as `-`. */
export function isTrailerField(name: string): boolean {
  const plain = dashed(name)
  return !NO_TRAILER.has(plain) && !isClaim(plain)
}
