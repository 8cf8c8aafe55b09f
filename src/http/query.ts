// Reading values out of a raw query string by name, only when something asks for one.

const PERCENT = 0x25
const PLUS = 0x2b
const EQUALS = 0x3d
const SPACE = 0x20

/** The first value of `name` in a raw query (without `?`), decoded; undefined when there is none. A name alone has the value `''`. */
export function queryValue(query: string, name: string): string | undefined {
  return scan(query, name, null)
}

/** Every value of `name` in a raw query, decoded, in the order sent. */
export function queryValues(query: string, name: string): string[] {
  const values: string[] = []
  scan(query, name, values)
  return values
}

/** A raw query without the parameters of that name; what stays, stays byte for byte. Null when nothing stays, not even an empty one. */
export function withoutParameter(query: string, name: string): string | null {
  const pairs = query.split('&')
  const kept = pairs.filter(pair => {
    const equals = pair.indexOf('=')
    return !isName(pair, 0, equals === -1 ? pair.length : equals, name)
  })
  if (kept.length === pairs.length) return query
  return kept.length === 0 ? null : kept.join('&')
}

/** Collects into `all`, or without it stops at the first value and returns it. */
function scan(query: string, name: string, all: string[] | null): string | undefined {
  let from = 0
  while (from < query.length) {
    let to = query.indexOf('&', from)
    if (to === -1) to = query.length
    let equals = query.indexOf('=', from)
    if (equals === -1 || equals > to) equals = to
    if (equals > from && isName(query, from, equals, name)) {
      const value = query.charCodeAt(equals) === EQUALS ? decode(query.slice(equals + 1, to)) : ''
      if (all === null) return value
      all.push(value)
    }
    from = to + 1
  }
  return undefined
}

/** In place: a client may send thousands of names, and decoding one that is no UTF-8 costs an exception. */
function isName(query: string, from: number, to: number, name: string): boolean {
  let at = from
  for (let i = 0; i < name.length; i++, at++) {
    const due = name.charCodeAt(i)
    // Such names are rare; what stands there may be one letter, several, or no escape at all.
    if (due < SPACE || due > 0x7f || due === PERCENT) return decode(query.slice(from, to)) === name
    if (at >= to) return false
    let code = query.charCodeAt(at)
    if (code === PLUS) code = SPACE
    else if (code === PERCENT) {
      code = at + 2 < to ? Number.parseInt(query.slice(at + 1, at + 3), 16) : Number.NaN
      at += 2
    }
    if (code !== due) return false
  }
  return at === to
}

/** Percent-decoding with `+` as space (the form encoding of the WHATWG URL standard); what is no UTF-8 stays as sent. */
function decode(text: string): string {
  if (text.includes('+')) text = text.replaceAll('+', ' ')
  if (!text.includes('%')) return text
  // Most of what such an exception costs is its stack.
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  } finally {
    Error.stackTraceLimit = limit
  }
}
