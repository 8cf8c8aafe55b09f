// The route table: hosts, then exact paths, then a trie of segments, then conditions; immutable once built.
import { preflightMethod, type RequestHead } from '../http/head.ts'
import { hostKey } from '../http/host.ts'
import { Candidates } from './candidates.ts'
import { comparePrecedence, type Entry, entriesOf } from './entry.ts'
import { HOST_ANY, HOST_EXACT, type MatchOptions, type PathPattern } from './match.ts'

const SLASH = 0x2f

/** One segment's place in the trie of patterns that hold a parameter or a star. */
class Node<R> {
  literals: Map<string, Node<R>> | null = null
  param: Node<R> | null = null
  /** Patterns that end here. */
  here: Candidates<R> | null = null
  /** Patterns whose star begins here. */
  star: Candidates<R> | null = null

  /** The node one segment further; null is a parameter. For building. */
  under(segment: string | null): Node<R> {
    if (segment === null) {
      this.param ??= new Node()
      return this.param
    }
    this.literals ??= new Map()
    return ensure(this.literals, segment, () => new Node())
  }

  place(star: boolean): Candidates<R> {
    if (star) {
      this.star ??= new Candidates()
      return this.star
    }
    this.here ??= new Candidates()
    return this.here
  }
}

/** All patterns of one host pattern. */
class HostRoutes<R> {
  readonly exact = new Map<string, Candidates<R>>()
  readonly root = new Node<R>()

  place(pattern: PathPattern): Candidates<R> {
    if (pattern.exact !== null) {
      return ensure(this.exact, pattern.exact, () => new Candidates())
    }
    let node = this.root
    for (const segment of pattern.segments) node = node.under(segment)
    return node.place(pattern.star)
  }

  /** `*` (OPTIONS *) is no path with segments: only `/*`, which is any path, takes it. */
  find(head: RequestHead): Entry<R> | null {
    const path = head.path
    if (this.exact.size > 0) {
      const place = this.exact.get(path)
      if (place !== undefined) {
        const found = place.pick(head)
        if (found !== null) return found
      }
    }
    if (path.charCodeAt(0) !== SLASH) return this.root.star === null ? null : this.root.star.pick(head)
    return walk(this.root, path, 1, head)
  }

  /** Every place whose pattern matches the path. Off the hot path. */
  places(path: string): Candidates<R>[] {
    const found: Candidates<R>[] = []
    const exact = this.exact.get(path)
    if (exact !== undefined) found.push(exact)
    if (path.charCodeAt(0) === SLASH) gather(this.root, path, 1, found)
    else if (this.root.star !== null) found.push(this.root.star)
    return found
  }
}

function ensure<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}

/**
 * Segment by segment from `from`: a literal before a parameter before the star, and back to the next where what was
 * better has no entry that accepts the request. Each node is visited at most once a request, for there is one way to
 * it; going back costs more than one step only where the file has several patterns that the same path matches, so no
 * path that a client makes up can cost more than the patterns written for it.
 */
function walk<R>(node: Node<R>, path: string, from: number, head: RequestHead): Entry<R> | null {
  if (from > path.length) {
    if (node.here !== null) {
      const found = node.here.pick(head)
      if (found !== null) return found
    }
  } else if (node.literals !== null || node.param !== null) {
    const slash = path.indexOf('/', from)
    const to = slash === -1 ? path.length : slash
    if (node.literals !== null) {
      const next = node.literals.get(path.slice(from, to))
      if (next !== undefined) {
        const found = walk(next, path, to + 1, head)
        if (found !== null) return found
      }
    }
    if (node.param !== null && to > from) {
      const found = walk(node.param, path, to + 1, head)
      if (found !== null) return found
    }
  }
  return node.star === null ? null : node.star.pick(head)
}

/** Walks as `walk` does, and collects instead of asking. */
function gather<R>(node: Node<R>, path: string, from: number, into: Candidates<R>[]): void {
  if (from > path.length) {
    if (node.here !== null) into.push(node.here)
  } else {
    const slash = path.indexOf('/', from)
    const to = slash === -1 ? path.length : slash
    const next = node.literals?.get(path.slice(from, to))
    if (next !== undefined) gather(next, path, to + 1, into)
    if (node.param !== null && to > from) gather(node.param, path, to + 1, into)
  }
  if (node.star !== null) into.push(node.star)
}

/**
 * Finds the entry that wins for a request ("Which route wins" in docs/configuration.md) at a cost that does not grow with
 * the number of routes: a lookup per host pattern kind, one for the exact path, one per segment. Part of a snapshot.
 */
export class RouteTable<R> {
  readonly #hosts: Map<string, HostRoutes<R>>
  readonly #wildcards: Map<string, HostRoutes<R>>
  readonly #any: HostRoutes<R> | null
  /** False when only "any host" is asked for: then the host need not be read. */
  readonly #named: boolean
  /** Some route answers preflights. */
  readonly #preflights: boolean
  readonly #entries: readonly Entry<R>[]

  /** Use RouteTableBuilder. */
  constructor(
    hosts: Map<string, HostRoutes<R>>,
    wildcards: Map<string, HostRoutes<R>>,
    any: HostRoutes<R> | null,
    entries: readonly Entry<R>[],
  ) {
    this.#hosts = hosts
    this.#wildcards = wildcards
    this.#any = any
    this.#named = hosts.size > 0 || wildcards.size > 0
    this.#preflights = entries.some(entry => entry.preflight)
    this.#entries = entries
  }

  /**
   * The entry that wins, or null: then `allow` tells 404 from 405. `head.path` must be normalised (http/path.ts). `answers`
   * is asked of an OPTIONS whether the route will answer it as the preflight that it is.
   */
  findEntry(head: RequestHead, answers?: (entry: Entry<R>) => boolean): Entry<R> | null {
    const found = this.#find(head)
    return this.#preflights && head.method === 'OPTIONS' ? this.#preflightEntry(head, found, answers) : found
  }

  /**
   * A CORS preflight belongs to the route that will get the request which it asks for, where that answers
   * preflights: its `methods` need not name OPTIONS. A route that does, and that is tried before, still gets it.
   */
  #preflightEntry(head: RequestHead, found: Entry<R> | null, answers = (_: Entry<R>) => true): Entry<R> | null {
    const method = preflightMethod(head)
    if (method === undefined) return found
    const target = this.#find({ ...head, method })
    if (target === null || !target.preflight || !answers(target)) return found
    return found !== null && found.methods !== null && comparePrecedence(found, target) < 0 ? found : target
  }

  #find(head: RequestHead): Entry<R> | null {
    if (this.#named) {
      // As sent first, which mostly is the key already; only a miss pays for making one.
      let host = head.host
      let exact = this.#hosts.get(host)
      if (exact === undefined) {
        host = hostKey(host)
        exact = this.#hosts.get(host)
      }
      if (exact !== undefined) {
        const found = exact.find(head)
        if (found !== null) return found
      }
      const wildcard = this.#wildcardOf(host)
      if (wildcard !== undefined) {
        const found = wildcard.find(head)
        if (found !== null) return found
      }
    }
    return this.#any === null ? null : this.#any.find(head)
  }

  /**
   * After `findEntry` gave null: the methods with which the same request would have found a route, sorted, for Allow
   * (RFC 9110 10.2.1) of a 405; null when there are none, a 404.
   */
  allow(head: RequestHead): string[] | null {
    const methods = new Set<string>()
    const host = hostKey(head.host)
    for (const routes of [this.#hosts.get(host), this.#wildcardOf(host), this.#any]) {
      for (const place of routes?.places(head.path) ?? []) place.methods(head, methods)
    }
    return methods.size === 0 ? null : [...methods].sort()
  }

  /** Every entry in the order in which they are tried: for listings. Sorted on demand, for a large table takes a while. */
  listing(): Entry<R>[] {
    return [...this.#entries].sort(comparePrecedence)
  }

  #wildcardOf(host: string): HostRoutes<R> | undefined {
    if (this.#wildcards.size === 0) return undefined
    const dot = host.indexOf('.')
    return dot > 0 ? this.#wildcards.get(host.slice(dot + 1)) : undefined
  }
}

/** Fills a table; routes may be added in slices, so that a large file does not hold up the requests in flight. */
export class RouteTableBuilder<R> {
  readonly #hosts = new Map<string, HostRoutes<R>>()
  readonly #wildcards = new Map<string, HostRoutes<R>>()
  #any: HostRoutes<R> | null = null
  readonly #places = new Set<Candidates<R>>()
  readonly #entries: Entry<R>[] = []

  /**
   * Add a route; `order` is its place in the file, `preflight` tells that it answers CORS preflights. Throws PatternError
   * where a pattern or condition is none.
   */
  add(match: MatchOptions, route: R, order: number, preflight = false): void {
    for (const entry of entriesOf(match, route, order, preflight)) {
      const place = this.#routesOf(entry).place(entry.pattern)
      place.add(entry)
      this.#places.add(place)
      this.#entries.push(entry)
    }
  }

  /** The table. Nothing may be added afterwards. */
  build(): RouteTable<R> {
    for (const place of this.#places) place.seal()
    return new RouteTable(this.#hosts, this.#wildcards, this.#any, this.#entries)
  }

  #routesOf(entry: Entry<R>): HostRoutes<R> {
    const { kind, name } = entry.host
    if (kind === HOST_ANY) {
      this.#any ??= new HostRoutes()
      return this.#any
    }
    return ensure(kind === HOST_EXACT ? this.#hosts : this.#wildcards, name, () => new HostRoutes())
  }
}
