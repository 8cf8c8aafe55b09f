// Attributes: what a key, a hash, a condition or a template may name of an exchange; keys and conditions compiled at load.
import { CidrSet, parseCidr } from '../http/cidr.ts'
import { cookieValue } from '../http/cookie.ts'
import { fieldValueFault } from '../http/field-text.ts'
import { addressKey } from '../http/forwarded.ts'
import { hostKey } from '../http/host.ts'
import { methodFault } from '../http/method.ts'
import { normalizePath } from '../http/path.ts'
import { queryValue } from '../http/query.ts'
import { isHostField } from '../http1/framing.ts'
import { UNSEEN_NAMES } from '../http1/known-fields.ts'
import { TOKEN } from '../units.ts'
import { compileClaim } from './claim.ts'
import type { Exchange } from './exchange.ts'

/** Reads one attribute; undefined when the exchange has none. */
export type Attribute = (x: Exchange) => string | undefined

/** A text that names no attribute, or asks something of one that it can never be. */
export class AttributeError extends Error {
  override readonly name = 'AttributeError'
}

function unknown(text: string): AttributeError {
  return new AttributeError(
    `"${text}" is no attribute; use client.ip, route, host, path, method, consumer, header.NAME, query.NAME, cookie.NAME or jwt.CLAIM`,
  )
}

/** Compile one attribute. Throws AttributeError. `client.ip` shortens IPv6 to its /64 where `exact` is not set. */
export function compileAttribute(text: string, exact = false): Attribute {
  switch (text) {
    case 'client.ip':
      return exact ? x => x.clientIp : x => addressKey(x.clientIp)
    case 'route':
      return x => x.route.name
    case 'host':
      return x => hostKey(x.head.host)
    case 'path':
      return x => x.head.path
    case 'method':
      return x => x.head.method
    case 'consumer':
      return x => x.consumer ?? undefined
  }
  const dot = text.indexOf('.')
  const name = text.slice(dot + 1)
  if (dot < 1 || name === '') throw unknown(text)
  const kind = text.slice(0, dot)
  if ((kind === 'header' || kind === 'cookie') && !TOKEN.test(name)) throw unknown(text)
  switch (kind) {
    case 'header': {
      const lower = name.toLowerCase()
      if (lower === 'host') return x => x.head.host
      if (UNSEEN_NAMES.has(lower))
        throw new AttributeError(`"${text}" is never there: hop-by-hop and framing fields reach no plugin`)
      return x => x.requestHeader(lower)
    }
    case 'query':
      return x => queryValue(x.head.query, name)
    case 'cookie':
      return x => cookieValue(x.head.headers, name)
    case 'jwt': {
      const claim = compileClaim(name)
      return x => (x.claims === null ? undefined : textOf(claim(x.claims)))
    }
    default:
      throw unknown(text)
  }
}

/** Lists and objects have no one text, and a number that was rounded when it was read has another's. */
function textOf(claim: unknown): string | undefined {
  if (typeof claim === 'string' || typeof claim === 'boolean') return String(claim)
  return typeof claim === 'number' && Math.abs(claim) <= Number.MAX_SAFE_INTEGER ? String(claim) : undefined
}

/** What every exchange has: these never fall back. */
const ALWAYS: ReadonlySet<string> = new Set(['client.ip', 'route', 'host', 'path', 'method'])

/** Begins a key that is an address in place of what the client did not send; no address begins with it. */
const FALLBACK = '/'
const FALLBACK_CODE = 0x2f

/**
 * Compile attributes joined with `+` into one key; a missing one falls back to the client's address. Nobody can send what
 * gives the key of another client's fallback. Throws AttributeError.
 */
export function compileKey(text: string): (x: Exchange) => string {
  const names = text.split('+').map(part => part.trim())
  const parts = names.map(name => compileAttribute(name))
  const [only] = parts
  if (parts.length > 1) return joined(parts)
  if (ALWAYS.has(names[0]!)) return only as (x: Exchange) => string
  return x => {
    const value = only!(x)
    if (value === undefined) return FALLBACK + addressKey(x.clientIp)
    // Doubled, so that no value can be taken for a fallback. All stays plain, for stores that show or hash keys.
    return value.charCodeAt(0) === FALLBACK_CODE ? FALLBACK + value : value
  }
}

function joined(parts: readonly Attribute[]): (x: Exchange) => string {
  return x => {
    let key = ''
    for (const part of parts) {
      const value = part(x)
      // Lengths keep `a` + `bc` from meaning the same as `ab` + `c`; what was sent begins with a digit.
      if (value !== undefined) key += `${value.length}:${value}|`
      else {
        const address = addressKey(x.clientIp)
        key += `${FALLBACK}${address.length}:${address}|`
      }
    }
    return key
  }
}

/** True or false for an exchange. */
export type Predicate = (x: Exchange) => boolean

/**
 * Compile a `when`: all must hold. An expectation is a value (of `client.ip` an address or a network), `present`,
 * `absent`, or `~` and a regular expression. Throws AttributeError, or SyntaxError for a bad expression.
 */
export function compileCondition(when: Readonly<Record<string, string>>): Predicate {
  const tests = Object.entries(when).map(([name, expectation]) => compileExpectation(name, expectation))
  const [only] = tests
  if (tests.length === 1) return only!
  return x => {
    for (const test of tests) if (!test(x)) return false
    return true
  }
}

function compileExpectation(name: string, expectation: string): Predicate {
  const attribute = compileAttribute(name, true)
  if (expectation === 'present') return x => attribute(x) !== undefined
  if (expectation === 'absent') return x => attribute(x) === undefined
  if (expectation.startsWith('~')) {
    const pattern = new RegExp(expectation.slice(1))
    return x => {
      const value = attribute(x)
      return value !== undefined && pattern.test(value)
    }
  }
  if (name === 'client.ip') {
    // Compared as text, a mistyped network would hold for nobody.
    if (parseCidr(expectation) === null)
      throw new AttributeError(
        'an address, a network such as 10.0.0.0/8, present, absent, or ~ and an expression is due',
      )
    const networks = new CidrSet([expectation])
    return x => networks.has(x.clientIp)
  }
  const fault = neverThere(name, expectation)
  if (fault !== null) throw new AttributeError(fault)
  return x => attribute(x) === expectation
}

/** Why no request ever has this value, or null: the condition would hold for nobody, and switch off what it stands on. */
function neverThere(name: string, value: string): string | null {
  switch (name) {
    case 'method':
      return TOKEN.test(value) ? methodFault(value) : 'a method such as GET is due'
    case 'path': {
      if (/\/(?:\*|:[A-Za-z_]\w*)(?:\/|$)/.test(value))
        return 'a whole path is due, or ~ and an expression, such as ~^/admin(/|$): patterns are for routes'
      const path = normalizePath(value, true)
      if (path === value) return null
      return path === null ? 'no request has such a path' : `no request has such a path; it is written ${path}`
    }
    case 'host': {
      // That of a request of HTTP/1.0 that names none.
      if (value === '') return null
      if (value.includes('*')) return 'a whole host is due, or ~ and an expression, such as ~\\.example\\.com$'
      const host = hostKey(value)
      if (!isHostField(value)) return 'no request has such a host'
      return host === value ? null : `hosts are compared without case, port and trailing dot: write ${host}`
    }
  }
  return name.startsWith('header.') && name.toLowerCase() !== 'header.host' ? fieldValueFault(value) : null
}
