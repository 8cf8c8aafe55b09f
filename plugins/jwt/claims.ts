// What a token says, held to time, audience and what a route asks for, and made into headers for the upstream.
import { type ClaimReader, compileClaim, fieldText } from '../../src/plugin-api.ts'
import type { JsonObject } from './json-object.ts'

/** False for what holds, at any depth, a number that others were rounded to when it was read: it may be another tenant's. */
export function isExact(value: unknown): boolean {
  if (typeof value === 'number') return Math.abs(value) <= Number.MAX_SAFE_INTEGER
  return typeof value !== 'object' || value === null || Object.values(value).every(isExact)
}

/**
 * A time that a claim names: whole seconds. RFC 7519 2 would allow parts of one; no issuer of note writes them, and two
 * readers that round differently disagree on whether a token is good.
 */
function isDate(value: unknown): value is number {
  return Number.isSafeInteger(value)
}

/** What is wrong with the times of a token, as told to its bearer; null when nothing is. `now` and `leeway` in milliseconds. */
export function timeFault(claims: JsonObject, now: number, leeway: number, requireExp: boolean): string | null {
  const { exp, nbf, iat } = claims
  if (exp === undefined && requireExp) return 'the token has no expiry'
  if (exp !== undefined && !isDate(exp)) return 'the token is malformed'
  if (nbf !== undefined && !isDate(nbf)) return 'the token is malformed'
  if (iat !== undefined && !isDate(iat)) return 'the token is malformed'
  if (exp !== undefined && now >= exp * 1000 + leeway) return 'the token has expired'
  if (nbf !== undefined && now < nbf * 1000 - leeway) return 'the token is not valid yet'
  return null
}

/** False when `aud` is malformed, or names none of ours (RFC 7519 4.1.3). Null: the issuer's tokens are for anybody. */
export function isForUs(aud: unknown, audiences: readonly string[] | null): boolean {
  const named = typeof aud === 'string' ? [aud] : aud
  if (named === undefined) return audiences === null
  if (!Array.isArray(named) || !named.every(name => typeof name === 'string')) return false
  return audiences === null || named.some(name => audiences.includes(name))
}

/** Values that a claim may have to fit. */
export type Wanted = string | number | boolean

/** Asks something of a token's claims. */
export type Requirement = (claims: JsonObject) => boolean

/**
 * Compile `require.claims`: all must fit. `name` is met by a claim that equals one of the values; `name[]` by a list, or
 * a text of words between blanks (RFC 8693 4.2, `scope`), that holds one of them.
 */
export function compileRequirements(wanted: Readonly<Record<string, Wanted | readonly Wanted[]>>): Requirement {
  const tests = Object.entries(wanted).map(([name, given]): Requirement => {
    const values: readonly unknown[] = Array.isArray(given) ? given : [given]
    const listed = name.endsWith('[]')
    const claim = compileClaim(listed ? name.slice(0, -2) : name)
    if (!listed) return claims => values.includes(claim(claims))
    return claims => {
      const value = claim(claims)
      const held: readonly unknown[] = typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : []
      return held.some(one => values.includes(one))
    }
  })
  return claims => tests.every(test => test(claims))
}

/** A claim and the header that it goes to. */
export interface Forward {
  readonly claim: ClaimReader
  readonly header: string
}

/**
 * The headers for these claims as a flat list; a claim that is absent or null gives none. Null when a claim cannot be
 * told by a header as what it is: an upstream would read another identity out of a mended one.
 */
export function forwardedHeaders(claims: JsonObject, forwards: readonly Forward[]): string[] | null {
  const headers: string[] = []
  for (const { claim, header } of forwards) {
    const value = claim(claims)
    if (value === undefined || value === null) continue
    const text = headerText(value)
    if (text === null) return null
    headers.push(header, text)
  }
  return headers
}

/** Text, numbers and booleans as they are, in UTF-8; lists and objects as JSON without letters beyond ASCII. */
function headerText(value: unknown): string | null {
  if (!isExact(value)) return null
  return typeof value === 'object' ? JSON.stringify(value).replace(/[\x7f-\uffff]/g, escaped) : fieldText(String(value))
}

function escaped(letter: string): string {
  return `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`
}
