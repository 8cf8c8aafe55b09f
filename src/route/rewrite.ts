// Templates of `rewrite.path` and `redirect.to`, compiled against the pattern whose `:id` and `*` they name.
import { isHost } from '../http/address.ts'
import { foreignVariable } from '../http/foreign.ts'
import { normalizePath } from '../http/path.ts'
import { type PathPattern, PatternError, parameterIndex, segmentAt, starAt } from './match.ts'

/** `:id` or `*`. A colon before anything but a letter or `_` is text: `https://host:8443/`. */
const CAPTURE = /:([A-Za-z_][A-Za-z0-9_]*)|\*/g
/** As others write a capture: raw braces are no part of a URI (RFC 3986 2). */
const BRACED = /\{([A-Za-z_][A-Za-z0-9_]*)\}/
/** Scheme and authority of an absolute (or scheme-relative) URL. */
const AUTHORITY = /^(?:[A-Za-z][A-Za-z0-9+.-]*:)?\/\/[^/?#]*/

/** What would end a parameter, or mean a space, in a query. A path holds neither `#` nor a `%` that is no escape. */
const QUERY_SYNTAX = /[&=+;]/g

const STAR = -1
const STAR_AND_SLASH = -2

/** A template cut at its captures. */
class Template {
  readonly #first: string
  /** Per capture: a segment's number, or one of the two ways of a star, which needs `#prefix`. */
  readonly #sources: number[]
  /** Per capture: the text behind it. */
  readonly #texts: string[]
  /** Captures before the query; what stands behind is a part of a value there. */
  readonly #inPath: number
  /** Segments before the pattern's star. */
  readonly #prefix: number

  /** `root` is where the path of the template begins. */
  constructor(text: string, root: number, pattern: PathPattern) {
    const query = text.indexOf('?')
    const sources: number[] = []
    const texts: string[] = []
    let inPath = 0
    let end = 0
    for (const found of text.matchAll(CAPTURE)) {
      let before = text.slice(end, found.index)
      const name = found[1]
      const source = name === undefined ? STAR : parameterIndex(pattern, name)
      if (name === undefined ? !pattern.star : source === -1) {
        const hint = name === undefined ? '' : ' (a colon that is text is written %3A)'
        throw new PatternError(`\`${found[0]}\` is not bound by the path pattern ${pattern.text}${hint}`)
      }
      // `/v2/*` takes the slash from what matched: /orders gives /v2, and /orders/ gives /v2/. Not the root's slash,
      // which a path never lacks.
      const at = found.index - 1
      const slash = name === undefined && before.endsWith('/') && at > root && (query === -1 || at < query)
      end = found.index + found[0].length
      if (slash) before = before.slice(0, -1)
      if (query === -1 || at < query) inPath++
      texts.push(before)
      sources.push(slash ? STAR_AND_SLASH : source)
    }
    this.#first = texts.length === 0 ? text : texts.shift()!
    this.#sources = sources
    this.#texts = sources.length === 0 ? [] : [...texts, text.slice(end)]
    this.#inPath = inPath
    this.#prefix = pattern.segments.length
  }

  expand(path: string): string {
    let out = this.#first
    for (let i = 0; i < this.#sources.length; i++) {
      const captured = this.#captured(path, this.#sources[i]!)
      out += i < this.#inPath ? captured : captured.replace(QUERY_SYNTAX, encodeURIComponent)
      out += this.#texts[i]!
    }
    return out
  }

  #captured(path: string, source: number): string {
    if (source >= 0) return segmentAt(path, source)
    const rest = starAt(path, this.#prefix)
    return source === STAR ? rest.slice(1) : rest
  }
}

/** Gives the path that goes upstream instead of the one that matched. */
export class PathRewrite {
  readonly #template: Template

  /** Throws PatternError when the template is no path or names what the pattern does not bind. */
  constructor(text: string, pattern: PathPattern) {
    PathRewrite.check(text)
    this.#template = new Template(text, 0, pattern)
  }

  /** Throws PatternError when the template is wrong in itself, whatever the pattern. */
  static check(text: string): void {
    if (!text.startsWith('/')) throw new PatternError('a path is due, it begins with /')
    if (/[?#]/.test(text)) throw new PatternError('a path has no query: it goes on as the client sent it')
    if (/[^\x21-\x7e]/.test(text))
      throw new PatternError('a path has neither spaces nor characters past ASCII: escape them')
    checkForeign(text)
    if (normalizePath(text.replace(CAPTURE, 'x'), true) === null) throw new PatternError('is no valid path')
  }

  /**
   * The new path of a normalised one that the pattern matched; captures are copied byte for byte. Normalised once
   * more, because text and capture can join into a dot segment: null (answer 400) when it would climb above the root.
   */
  apply(path: string): string | null {
    // OPTIONS * names no path that could be moved.
    if (path === '*') return path
    return normalizePath(this.#template.expand(path), true)
  }
}

/** Gives the Location of a redirect. */
export class RedirectTarget {
  readonly #template: Template
  readonly #fragment: string
  readonly #keepsQuery: boolean
  readonly #local: boolean

  /** Throws PatternError when the template is no URL or names what the pattern does not bind. */
  constructor(text: string, pattern: PathPattern) {
    RedirectTarget.check(text)
    const authority = AUTHORITY.exec(text)?.[0]
    const { target, fragment } = cut(text)
    this.#fragment = fragment
    this.#keepsQuery = !target.includes('?')
    this.#local = authority === undefined
    this.#template = new Template(target, authority?.length ?? 0, pattern)
  }

  /** Throws PatternError when the template is wrong in itself, whatever the pattern. */
  static check(text: string): void {
    const authority = AUTHORITY.exec(text)?.[0]
    if (authority === undefined && !text.startsWith('/')) {
      throw new PatternError('a URL (https://…) or a path that begins with / is due')
    }
    if (/[^\x21-\x7e]|\\/.test(text))
      throw new PatternError('a URL has no spaces, backslashes or characters past ASCII: escape them')
    // What a client sends must never choose the host, nor grow its name: https://example.com* with /.evil.org.
    if (authority !== undefined && /:[A-Za-z_]|\*/.test(authority.replace(/^[^/]*/, ''))) {
      throw new PatternError('`*` and parameters stand only behind the host')
    }
    if (authority !== undefined && !isAuthority(authority.replace(/^[^/]*\/\//, ''))) {
      throw new PatternError('behind // a host is due, written out, and a port up to 65535 where there is one')
    }
    checkForeign(text)
    if (/[*]|:[A-Za-z_]/.test(cut(text).fragment))
      throw new PatternError('`*` and parameters do not stand in a fragment')
  }

  /**
   * The Location for a normalised path that the pattern matched, and the request's query, which goes along when the
   * template has none of its own. Never holds a byte that could end the field: null (answer 400) when the query does.
   */
  apply(path: string, query: string): string | null {
    let target = this.#template.expand(path === '*' ? '/' : path)
    if (this.#local) {
      // A browser reads //evil.example/ as another host (open redirect): one slash is meant.
      let slashes = 1
      while (target.charCodeAt(slashes) === 0x2f) slashes++
      if (slashes > 1) target = target.slice(slashes - 1)
    }
    if (this.#keepsQuery && query !== '') {
      if (/[^\x21-\xff]|\x7f/.test(query)) return null
      target += `?${query}`
    }
    return target + this.#fragment
  }
}

function checkForeign(text: string): void {
  const braced = BRACED.exec(text)
  if (braced !== null) throw new PatternError(`\`${braced[0]}\`: a parameter is written :${braced[1]}`)
  const foreign = /\$\d/.exec(text)?.[0] ?? foreignVariable(text)
  if (foreign !== null)
    throw new PatternError(`\`${foreign}\`: what matched is named by :id and *; a literal $ there is written %24`)
}

function cut(text: string): { target: string; fragment: string } {
  const hash = text.indexOf('#')
  return hash === -1 ? { target: text, fragment: '' } : { target: text.slice(0, hash), fragment: text.slice(hash) }
}

function isAuthority(text: string): boolean {
  const url = `http://${text}/`
  if (text === '' || !URL.canParse(url)) return false
  // URL itself takes $host for a host.
  const { hostname } = new URL(url)
  return hostname.startsWith('[') || isHost(hostname)
}
