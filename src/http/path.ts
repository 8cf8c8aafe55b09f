// The one path that routes, access rules, rewrites and upstreams see: a request's path made unambiguous, or refused.

const HASH = 0x23
const PERCENT = 0x25
const DOT = 0x2e
const SLASH = 0x2f
const QUESTION = 0x3f
const BACKSLASH = 0x5c

const PLAIN = 0
const REFUSED = 1
const SUSPECT = 2

/** What the first scan does with a byte: pass it, refuse the path, or look closer. */
const CLASS = new Uint8Array(128)
for (let code = 0; code < 128; code++) {
  if (code <= 0x20 || code === 0x7f || code === BACKSLASH || code === HASH || code === QUESTION) CLASS[code] = REFUSED
}
CLASS[PERCENT] = SUSPECT
CLASS[DOT] = SUSPECT

/** Value of a hexadecimal digit; 255 for any other byte. */
const HEX = new Uint8Array(128).fill(255)
for (let digit = 0; digit < 16; digit++) {
  const text = digit.toString(16)
  HEX[text.charCodeAt(0)] = digit
  HEX[text.toUpperCase().charCodeAt(0)] = digit
}

/** RFC 3986 2.3. */
const UNRESERVED = new Uint8Array(128)
for (const char of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~')
  UNRESERVED[char.charCodeAt(0)] = 1

/**
 * The path as it is matched and forwarded, or null: answer 400. `*` (OPTIONS *) passes. A path that is clean already,
 * which nearly all are, comes back as the same string after one scan.
 *
 * - Escapes of unreserved characters are decoded once, the others get upper-case digits (RFC 3986 6.2.2); a broken
 *   escape is refused. Escaped reserved characters keep their escape: `%3B` is not `;`, to us and to the upstream.
 * - Dot segments are then removed (RFC 3986 5.2.4), escaped ones too; one that would climb above the root is refused.
 *   `//` is kept: an empty segment is a segment.
 * - Control characters, space, `\`, `#`, `?` and bytes past ASCII are refused; `%00`…`%1F` and `%5C` too. An escaped DEL
 *   is a valid path that does no harm, so it passes.
 * - `%2F` is refused unless `keepEncodedSlash`; kept, it belongs to its segment and never separates.
 * - Refused is also what is no dot segment here but becomes one behind us: `..;x` where servlet containers cut
 *   parameters off before they resolve dots, `..%2Fx` where an upstream decodes first. Passing either would let
 *   a client leave the prefix that a route was granted for. `api..` is a plain segment, and `/api/*` does not match it.
 *
 * Idempotent: what comes out goes through unchanged.
 */
export function normalizePath(raw: string, keepEncodedSlash: boolean): string | null {
  const length = raw.length
  if (length === 0 || raw.charCodeAt(0) !== SLASH) return raw === '*' ? raw : null
  let previous = SLASH
  for (let i = 1; i < length; i++) {
    const code = raw.charCodeAt(i)
    if (code > 0x7e) return null
    const kind = CLASS[code]
    if (kind !== PLAIN) {
      if (kind === REFUSED) return null
      if (code === PERCENT || previous === SLASH) return rebuild(raw, keepEncodedSlash)
    }
    previous = code
  }
  return raw
}

function rebuild(raw: string, keepEncodedSlash: boolean): string | null {
  const path = decodeOnce(raw, keepEncodedSlash)
  if (path === null) return null
  // A dot segment, open or hidden, begins with a dot.
  return path.includes('/.') || path.includes('%2F.') ? removeDots(path) : path
}

/** Decode what is unreserved and refuse what no path may hold, however it is written. */
function decodeOnce(raw: string, keepEncodedSlash: boolean): string | null {
  let out = ''
  let copied = 0
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i)
    if (code > 0x7e || CLASS[code] === REFUSED) return null
    if (code !== PERCENT) continue
    if (i + 2 >= raw.length) return null
    const first = raw.charCodeAt(i + 1)
    const second = raw.charCodeAt(i + 2)
    if (first > 0x7e || second > 0x7e || HEX[first] === 255 || HEX[second] === 255) return null
    const escaped = HEX[first]! * 16 + HEX[second]!
    if (escaped < 0x20 || escaped === BACKSLASH) return null
    if (escaped === SLASH && !keepEncodedSlash) return null
    if (escaped < 128 && UNRESERVED[escaped] === 1) {
      out += raw.slice(copied, i) + String.fromCharCode(escaped)
      copied = i + 3
    } else if (first >= 0x61 || second >= 0x61) {
      out += raw.slice(copied, i) + raw.slice(i, i + 3).toUpperCase()
      copied = i + 3
    }
    i += 2
  }
  return copied === 0 ? raw : out + raw.slice(copied)
}

function removeDots(path: string): string | null {
  const segments = path.split('/')
  const kept: string[] = []
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i]!
    if (segment === '.' || segment === '..') {
      if (segment === '..' && kept.pop() === undefined) return null
      // `/a/..` and `/a/.` name a folder: they end in a slash.
      if (i === segments.length - 1) kept.push('')
    } else if (hidesDots(segment)) {
      return null
    } else {
      kept.push(segment)
    }
  }
  return `/${kept.join('/')}`
}

/** True when cutting parameters off or decoding `%2F` would lay a dot segment bare. */
function hidesDots(segment: string): boolean {
  for (const piece of segment.split('%2F')) {
    const name = beforeParameters(piece)
    if (name === '.' || name === '..') return true
  }
  return false
}

function beforeParameters(piece: string): string {
  const raw = piece.indexOf(';')
  const name = raw === -1 ? piece : piece.slice(0, raw)
  const escaped = name.indexOf('%3B')
  return escaped === -1 ? name : name.slice(0, escaped)
}
