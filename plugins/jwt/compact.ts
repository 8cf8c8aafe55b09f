// A token in compact form (RFC 7515 7.1) taken apart before any key is touched: one spelling, one meaning, bounded.
import { type JsonObject, parseObject } from './json-object.ts'

/** Longest token, in characters. */
const MAX_TOKEN = 8192

/** A token whose form is good. Nothing in it is verified. */
export interface CompactToken {
  readonly text: string
  readonly alg: string
  readonly kid: string | undefined
  /** Lower-case and without `application/` (RFC 7515 4.1.9); undefined when absent. */
  readonly typ: string | undefined
  readonly payload: Uint8Array
}

/** Take a token apart; null when its form is not what RFC 7515 and RFC 7519 ask for. */
export function parseCompact(text: string): CompactToken | null {
  if (text.length > MAX_TOKEN) return null
  const parts = text.split('.', 4)
  if (parts.length !== 3) return null
  const [first, second, third] = parts.map(decodeSegment)
  if (!first || !second || !third || third.length === 0) return null
  const header = parseObject(first)
  if (header === null) return null
  const { alg, kid, typ } = header
  if (typeof alg !== 'string') return null
  if (kid !== undefined && typeof kid !== 'string') return null
  if (typ !== undefined && typeof typ !== 'string') return null
  if (!isUnderstood(header)) return null
  return { text, alg, kid, typ: typ === undefined ? undefined : mediaType(typ), payload: second }
}

/** The claims of a token, or null when its payload is no JSON object of one reading. */
export function parseClaims({ payload }: CompactToken): JsonObject | null {
  return parseObject(payload)
}

/** A type's name as types are compared: without case and without `application/`. */
export function mediaType(typ: string): string {
  const lower = typ.toLowerCase()
  return lower.startsWith('application/') ? lower.slice('application/'.length) : lower
}

/**
 * Bytes of a segment, or null. Written back they must give the same text: that leaves out padding, blanks, letters of
 * other alphabets and stray last bits (RFC 4648 3.5), all of which Node's decoder passes over, so that no token has a
 * second spelling.
 */
export function decodeSegment(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : null
}

/**
 * False when the header asks for what is not done here: `crit` must be a list of distinct names that are present and
 * understood (RFC 7515 4.1.11), and the one understood is `b64` (RFC 7797) in the sense that it has anyway. `jku`,
 * `jwk`, `x5u`, `x5c` and `zip` mean nothing here: a key comes from the configuration alone.
 */
function isUnderstood(header: JsonObject): boolean {
  if (Object.hasOwn(header, 'b64') && header.b64 !== true) return false
  if (!Object.hasOwn(header, 'crit')) return true
  const { crit } = header
  return Array.isArray(crit) && crit.length === 1 && crit[0] === 'b64' && header.b64 === true
}

/** Freeze claims all the way down, since all requests with the token share them. */
export function freeze<T extends object>(claims: T): Readonly<T> {
  for (const value of Object.values(claims)) if (typeof value === 'object' && value !== null) freeze(value)
  return Object.freeze(claims)
}
