// Where a token is looked for in a request, and how it is taken out again.
import { cookieValues, type Exchange, queryValues, withoutParameter } from '../../src/plugin-api.ts'

/** What `read` gives where a source holds more than one token: no text that a request can hold. */
export const SEVERAL = '\u0000'

const SPACE = 0x20

/** One place of a request that may hold a token. */
export interface TokenSource {
  /** The text there, which `tokenIn` reads; undefined or '' without one, SEVERAL where it is ambiguous. */
  read(x: Exchange): string | undefined
  /** The token of such a text; `''` where one was meant and none is there, null where something else is meant. */
  tokenIn(text: string): string | null
  /** Take every token there out of the request before it goes upstream; credentials of another kind stay. */
  strip(x: Exchange): void
}

/** What `from` may name. */
export const SOURCE = /^(?:header\.[!#$%&'*+\-.^_`|~0-9A-Za-z]+|cookie\.[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query\..+)$/

/** Make a source of a text that SOURCE allows. */
export function tokenSource(text: string): TokenSource {
  const dot = text.indexOf('.')
  const name = text.slice(dot + 1)
  switch (text.slice(0, dot)) {
    case 'cookie':
      return cookieSource(name)
    case 'query':
      return querySource(name)
    default:
      return headerSource(name.toLowerCase())
  }
}

/** `authorization` carries a scheme, and only Bearer's credentials are tokens; other headers may carry one. */
function headerSource(name: string): TokenSource {
  const scheme = name === 'authorization'
  return {
    read(x) {
      const { headers } = x.head
      let found: string | undefined
      for (let i = 0; i < headers.length; i += 2) {
        if (headers[i] !== name) continue
        if (found !== undefined) return SEVERAL
        found = headers[i + 1]
      }
      return found
    },
    tokenIn(text) {
      // The usual spelling first: this is asked of every request, also of those whose token is remembered.
      if (text.startsWith('Bearer ') && text.charCodeAt(7) !== SPACE) return text.slice(7)
      const found = /^bearer( *)/i.exec(text)
      if (found === null) return scheme ? null : text
      // RFC 9110 11.4: one or more spaces. "Bearer" alone, or grown together with something, was meant as a token.
      return found[1] === '' ? '' : text.slice(found[0].length)
    },
    strip: scheme ? stripTokens : x => x.removeRequestHeader(name),
  }
}

/**
 * What some upstream may read as a token: Bearer as a scheme, also behind a comma, where two lines were joined; or the
 * compact form under another scheme or none: segments with a dot after them, the first of which is the base64url of `{`.
 */
const HOLDS_TOKEN = /(?:^|,)\s*bearer|(?:^|[\s,="])e[w-z][\w-]*\.[\w-]+\./i

/** Of the Authorization fields those that hold a token: another scheme's may be meant for the upstream. */
function stripTokens(x: Exchange): void {
  const { headers } = x.head
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i] === 'authorization' && HOLDS_TOKEN.test(headers[i + 1]!)) headers.splice(i, 2)
  }
}

function cookieSource(name: string): TokenSource {
  return {
    read: x => only(cookieValues(x.head.headers, name)),
    tokenIn: text => text,
    strip(x) {
      const all = cookies(x)
      const kept = all.filter(pair => !isNamed(pair, name))
      if (kept.length === all.length) return
      const rest = kept.map(pair => pair.trim()).filter(pair => pair !== '')
      if (rest.length === 0) x.removeRequestHeader('cookie')
      else x.setRequestHeader('cookie', rest.join('; '))
    },
  }
}

/** Pieces between semicolons of all Cookie fields (RFC 6265 4.2), as sent. */
function cookies(x: Exchange): string[] {
  const { headers } = x.head
  const pairs: string[] = []
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'cookie') pairs.push(...headers[i + 1]!.split(';'))
  return pairs
}

function isNamed(pair: string, name: string): boolean {
  const equals = pair.indexOf('=')
  return equals > 0 && pair.slice(0, equals).trim() === name
}

function querySource(name: string): TokenSource {
  return {
    read: x => (x.head.query === '' ? undefined : only(queryValues(x.head.query, name))),
    tokenIn: text => text,
    strip(x) {
      const rest = withoutParameter(x.head.query, name)
      // A query that held only the token goes with its question mark.
      x.head.query = rest ?? ''
      if (rest === null) x.head.hasQuery = false
    },
  }
}

/** The one value, undefined without any. */
function only(values: readonly string[]): string | undefined {
  return values.length > 1 ? SEVERAL : values[0]
}
