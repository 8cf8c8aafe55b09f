// What a route matches on, parsed once at load: host patterns, path patterns, and conditions on method and fields.
import { isIPv6 } from 'node:net'
import { cookieValues } from '../http/cookie.ts'
import { fieldValueFault } from '../http/field-text.ts'
import type { RequestHead } from '../http/head.ts'
import { normalizePath } from '../http/path.ts'
import { queryValues } from '../http/query.ts'
import { UNSEEN_NAMES } from '../http1/known-fields.ts'
import { TOKEN } from '../units.ts'

/** What a route asks of a request: the checked `match` of route/options.ts. */
export interface MatchOptions {
  /** Host patterns; `*` is any. */
  readonly host: readonly string[]
  readonly path: readonly string[]
  /** Absent: every method. */
  readonly methods?: readonly string[] | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly query?: Readonly<Record<string, string>> | undefined
  readonly cookies?: Readonly<Record<string, string>> | undefined
}

/** A pattern or condition that cannot be: the message goes behind its place in the file. */
export class PatternError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PatternError'
  }
}

/** Better patterns have lower numbers. */
export const HOST_EXACT = 0
export const HOST_WILDCARD = 1
export const HOST_ANY = 2

/** One host pattern. `name` is the whole host, the part behind `*.`, or empty. */
export interface HostPattern {
  readonly kind: typeof HOST_EXACT | typeof HOST_WILDCARD | typeof HOST_ANY
  readonly name: string
}

const ANY_HOST: HostPattern = { kind: HOST_ANY, name: '' }
const HOST_NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/

/**
 * Parse `api.example.com`, `*.example.com` (exactly one label more), an IP literal, or `*` (any host).
 * Ports do not take part: the listener has one already. Throws PatternError.
 */
export function parseHost(text: string): HostPattern {
  if (text === '*') return ANY_HOST
  const wildcard = text.startsWith('*.')
  let name = (wildcard ? text.slice(2) : text).toLowerCase()
  if (name.endsWith('.')) name = name.slice(0, -1)
  const bare = name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name
  if (!wildcard && isIPv6(bare)) return { kind: HOST_EXACT, name: new URL(`http://[${bare}]/`).hostname }
  if (/:\d+$/.test(name)) throw new PatternError('a host pattern has no port')
  if (name.includes('*')) throw new PatternError('`*` stands only for a whole first label, as in *.example.com')
  if (/[^\x00-\x7f]/.test(name)) throw new PatternError('an international name is due in its ASCII form (xn--…)')
  if (!HOST_NAME.test(name)) throw new PatternError('a host such as api.example.com, *.example.com or [::1] is due')
  return { kind: wildcard ? HOST_WILDCARD : HOST_EXACT, name }
}

/** One path pattern. A path's segments are what stands between its slashes: `/a/` has `a` and an empty one. */
export interface PathPattern {
  readonly text: string
  /** A literal as normalised paths spell it, or null where a parameter stands. */
  readonly segments: readonly (string | null)[]
  /** Names of the parameters, left to right. */
  readonly names: readonly string[]
  /** True when the pattern ends in `*`: `segments` is then a prefix. */
  readonly star: boolean
  /** The only path that matches, or null for a pattern with a parameter or star. */
  readonly exact: string | null
  /** The pattern without its parameters' names: patterns of the same shape match the same paths. */
  readonly shape: string
}

const PARAMETER = /^:([A-Za-z_][A-Za-z0-9_]*)$/
/** As others write parameters and what is left. Raw braces are no part of a URI (RFC 3986 2); escaped ones stand for themselves. */
const BRACED = /^\{[*+]?([A-Za-z_][A-Za-z0-9_]*)[^{}]*\}$/

/** Parse `/a`, `/users/:id`, `/a/*` (`/a` and all below it), `/*`, or a mixture such as `/a/:id/b/*`. Throws PatternError. */
export function parsePath(text: string): PathPattern {
  if (!text.startsWith('/')) throw new PatternError('a path pattern begins with /')
  const pieces = text.slice(1).split('/')
  const star = pieces.at(-1) === '*'
  if (star) pieces.pop()
  const names = new Set<string>()
  const segments = pieces.map(piece => {
    if (piece.startsWith(':')) {
      const name = PARAMETER.exec(piece)?.[1]
      if (name === undefined)
        throw new PatternError(`\`${piece}\`: a parameter is a whole segment, : and letters, digits or _`)
      if (names.has(name)) throw new PatternError(`the parameter :${name} stands twice`)
      names.add(name)
      return null
    }
    const braced = BRACED.exec(piece)?.[1]
    if (braced !== undefined)
      throw new PatternError(`\`${piece}\`: a parameter is written :${braced}, and the rest of a path *`)
    if (piece.includes('*')) throw new PatternError('`*` stands only as the last whole segment, as in /a/*')
    return literal(piece)
  })
  const shape = `/${[...segments.map(segment => segment ?? ':'), ...(star ? ['*'] : [])].join('/')}`
  return { text, segments, names: [...names], star, exact: star || names.size > 0 ? null : shape, shape }
}

/** A literal segment as normalised requests spell it. Text past ASCII may stand as it is read. */
function literal(piece: string): string {
  const spelled = piece.replace(/\P{ASCII}/gu, char => (/\p{Surrogate}/u.test(char) ? ' ' : encodeURIComponent(char)))
  const path = normalizePath(`/${spelled}`, true)
  if (path === null || (path.length === 1) !== (spelled === '')) {
    throw new PatternError(`no request can match \`${piece}\`: after normalising, a path never holds it`)
  }
  return path.slice(1)
}

/** Place of a parameter among the pattern's segments; -1 when it has none of that name. */
export function parameterIndex(pattern: PathPattern, name: string): number {
  let nth = pattern.names.indexOf(name)
  if (nth === -1) return -1
  return pattern.segments.findIndex(segment => segment === null && nth-- === 0)
}

/** Segment number `index` of a path that has so many. */
export function segmentAt(path: string, index: number): string {
  let from = 1
  for (; index > 0; index--) from = path.indexOf('/', from) + 1
  const to = path.indexOf('/', from)
  return to === -1 ? path.slice(from) : path.slice(from, to)
}

/** What follows the first `segments` segments, with its slash: `''` when nothing does, not even a slash. */
export function starAt(path: string, segments: number): string {
  let slash = 0
  for (; segments > 0; segments--) {
    slash = path.indexOf('/', slash + 1)
    if (slash === -1) return ''
  }
  return path.slice(slash)
}

/** Where a condition looks. */
export type Field = 'header' | 'query' | 'cookie'

/** Equal, there at all, not there, or a regular expression that finds something. */
type Test = 'equal' | 'present' | 'absent' | 'regexp'

/** One condition on a header, query parameter or cookie. When the name occurs several times, one that fits is enough. */
export class Condition {
  readonly field: Field
  /** Lower-case for headers. */
  readonly name: string
  readonly test: Test
  /** The value that is due when `test` is `equal`. */
  readonly value: string
  readonly #regexp: RegExp | null

  /** `expectation` as in the YAML. Throws PatternError. */
  constructor(field: Field, name: string, expectation: string) {
    this.field = field
    this.name = field === 'header' ? name.toLowerCase() : name
    if (field !== 'query' && !TOKEN.test(name)) throw new PatternError(`\`${name}\` is no ${field} name`)
    if (field === 'header' && this.name === 'host')
      throw new PatternError(`\`${name}\` cannot be matched: use match.host`)
    if (field === 'header' && UNSEEN_NAMES.has(this.name))
      throw new PatternError(`\`${name}\` cannot be matched: hop-by-hop and framing fields never reach a route`)
    this.value = expectation
    this.#regexp = expectation.startsWith('~') ? compileRegExp(expectation.slice(1)) : null
    if (this.#regexp !== null) this.test = 'regexp'
    else if (expectation === 'present' || expectation === 'absent') this.test = expectation
    else this.test = 'equal'
    const fault = field === 'header' && this.test === 'equal' ? fieldValueFault(expectation) : null
    if (fault !== null) throw new PatternError(fault)
  }

  holds(head: RequestHead): boolean {
    if (this.field === 'header') {
      // In place rather than through a list of values: most conditions are on headers.
      const headers = head.headers
      let found = false
      for (let i = 0; i < headers.length; i += 2) {
        if (headers[i] !== this.name) continue
        found = true
        if (this.#fits(headers[i + 1]!)) return true
      }
      return !found && this.test === 'absent'
    }
    const values = fieldValues(head, this.field, this.name)
    for (let i = 0; i < values.length; i++) if (this.#fits(values[i]!)) return true
    return values.length === 0 && this.test === 'absent'
  }

  #fits(value: string): boolean {
    if (this.test === 'equal') return value === this.value
    return this.#regexp === null ? this.test === 'present' : this.#regexp.test(value)
  }
}

/** Every value of a header, query parameter or cookie. */
export function fieldValues(head: RequestHead, field: Field, name: string): string[] {
  if (field === 'query') return queryValues(head.query, name)
  if (field === 'cookie') return cookieValues(head.headers, name)
  const values: string[] = []
  for (let i = 0; i < head.headers.length; i += 2) if (head.headers[i] === name) values.push(head.headers[i + 1]!)
  return values
}

function compileRegExp(source: string): RegExp {
  try {
    return new RegExp(source)
  } catch (cause) {
    throw new PatternError(`is no regular expression: ${(cause as Error).message}`)
  }
}

/** The conditions of a route on headers, then query, then cookies. Throws PatternError. */
export function parseConditions(match: MatchOptions): Condition[] {
  const all = (field: Field, record: Readonly<Record<string, string>> | undefined) =>
    Object.entries(record ?? {}).map(([name, expectation]) => new Condition(field, name, expectation))
  return [...all('header', match.headers), ...all('query', match.query), ...all('cookie', match.cookies)]
}
