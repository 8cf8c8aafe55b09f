// One way into a route: a host pattern, a path pattern and the conditions, and how two such ways are ordered.
import type { RequestHead } from '../http/head.ts'
import {
  type Condition,
  type HostPattern,
  type MatchOptions,
  type PathPattern,
  parseConditions,
  parseHost,
  parsePath,
} from './match.ts'

/** One host pattern and one path pattern of a route. What the table finds. */
export class Entry<R> {
  readonly route: R
  readonly host: HostPattern
  readonly pattern: PathPattern
  /** Place of the pattern in the route's `match.path`: what was compiled for each pattern is found by it. */
  readonly patternIndex: number
  /** Null: every method. Compared exactly: GET does not stand for HEAD. */
  readonly methods: readonly string[] | null
  readonly conditions: readonly Condition[]
  /** Place of the route in the file. */
  readonly order: number
  /** The route may answer CORS preflights for the requests that it takes. */
  readonly preflight: boolean

  constructor(
    route: R,
    host: HostPattern,
    pattern: PathPattern,
    patternIndex: number,
    methods: readonly string[] | null,
    conditions: readonly Condition[],
    order: number,
    preflight: boolean,
  ) {
    this.route = route
    this.host = host
    this.pattern = pattern
    this.patternIndex = patternIndex
    this.methods = methods
    this.conditions = conditions
    this.order = order
    this.preflight = preflight
  }

  accepts(head: RequestHead): boolean {
    return this.takesMethod(head.method) && this.conditionsHold(head)
  }

  takesMethod(method: string): boolean {
    const methods = this.methods
    if (methods === null) return true
    for (let i = 0; i < methods.length; i++) if (methods[i] === method) return true
    return false
  }

  conditionsHold(head: RequestHead): boolean {
    const conditions = this.conditions
    for (let i = 0; i < conditions.length; i++) if (!conditions[i]!.holds(head)) return false
    return true
  }
}

/** A route's entries: one per host and path pattern. Throws PatternError. */
export function entriesOf<R>(match: MatchOptions, route: R, order: number, preflight: boolean): Entry<R>[] {
  const patterns = match.path.map(parsePath)
  const methods = match.methods ?? null
  const conditions = parseConditions(match)
  return match.host
    .map(parseHost)
    .flatMap(host =>
      patterns.map((pattern, index) => new Entry(route, host, pattern, index, methods, conditions, order, preflight)),
    )
}

/**
 * The order in which entries are tried ("Which route wins" in docs/configuration.md): below zero when `a` is before `b`.
 * Entries that no request can match both (other hosts, other literals) are in alphabetical order.
 */
export function comparePrecedence(a: Entry<unknown>, b: Entry<unknown>): number {
  return (
    a.host.kind - b.host.kind ||
    compareText(a.host.name, b.host.name) ||
    comparePatterns(a.pattern, b.pattern) ||
    compareConditions(a, b)
  )
}

function comparePatterns(a: PathPattern, b: PathPattern): number {
  if ((a.exact === null) !== (b.exact === null)) return a.exact === null ? 1 : -1
  for (let i = 0; ; i++) {
    const kind = segmentKind(a, i)
    const difference = kind - segmentKind(b, i)
    if (difference !== 0) return difference
    if (kind === END || kind === STAR) return 0
    const order = compareText(a.segments[i] ?? '', b.segments[i] ?? '')
    if (order !== 0) return order
  }
}

const END = 0
const LITERAL = 1
const PARAMETER = 2
const STAR = 3

function segmentKind(pattern: PathPattern, index: number): number {
  if (index >= pattern.segments.length) return pattern.star ? STAR : END
  return pattern.segments[index] === null ? PARAMETER : LITERAL
}

/**
 * The order of entries with the same host and path shape: more conditions first (a list of methods counts as one);
 * as many: one on methods before none, then more on headers, then more on query, then more on cookies; then as written.
 */
export function compareConditions(a: Entry<unknown>, b: Entry<unknown>): number {
  return (
    weight(b) - weight(a) ||
    Number(b.methods !== null) - Number(a.methods !== null) ||
    countOf(b, 'header') - countOf(a, 'header') ||
    countOf(b, 'query') - countOf(a, 'query') ||
    a.order - b.order ||
    a.patternIndex - b.patternIndex
  )
}

function weight(entry: Entry<unknown>): number {
  return entry.conditions.length + (entry.methods === null ? 0 : 1)
}

function countOf(entry: Entry<unknown>, field: Condition['field']): number {
  let count = 0
  for (const condition of entry.conditions) if (condition.field === field) count++
  return count
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Two routes, by what `conflicts` was given as their indexes, that a request can never tell apart. */
export type Conflict = readonly [first: number, second: number]

/**
 * Pairs of routes that share a host and a path shape under the same conditions, so that the later one can never be
 * reached there: a fault of the file. The same conditions are the same set of methods and equal texts. Time is linear
 * in what is written. Patterns must be valid (route/options.ts has checked them).
 */
export function conflicts(routes: readonly { readonly match: MatchOptions; readonly index: number }[]): Conflict[] {
  const owners = new Map<string, number>()
  const found: Conflict[] = []
  for (const { match, index } of routes) {
    const shapes = new Set(match.path.map(path => parsePath(path).shape))
    const hosts = new Set(match.host.map(text => `${parseHost(text).kind} ${parseHost(text).name}`))
    const conditions = canonicalConditions(match)
    const rivals = new Set<number>()
    for (const host of hosts) {
      for (const shape of shapes) {
        const key = `${host} ${shape} ${conditions}`
        const owner = owners.get(key)
        if (owner === undefined) owners.set(key, index)
        else rivals.add(owner)
      }
    }
    for (const rival of rivals) found.push([rival, index])
  }
  return found
}

function canonicalConditions(match: MatchOptions): string {
  const methods = match.methods === undefined ? null : [...new Set(match.methods)].sort()
  const conditions = parseConditions(match).map(({ field, name, value }) => JSON.stringify([field, name, value]))
  return JSON.stringify([methods, ...conditions.sort()])
}
