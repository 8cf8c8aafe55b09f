// Reading values out of a raw query string by name, only when something asks for one.

const EQUALS = 0x3d

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
  const kept = pairs.filter(pair => decode(pair.split('=', 1)[0]!) !== name)
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

function isName(query: string, from: number, to: number, name: string): boolean {
  // Decoding never lengthens a text, so a shorter one cannot be the name.
  if (to - from < name.length) return false
  const text = query.slice(from, to)
  return decode(text) === name
}

/** Percent-decoding with `+` as space (the form encoding of the WHATWG URL standard); what is no UTF-8 stays as sent. */
function decode(text: string): string {
  if (text.includes('+')) text = text.replaceAll('+', ' ')
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
