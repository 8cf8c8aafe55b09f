// Reading cookies out of a request's Cookie fields by name (RFC 6265 4.2), only when something asks for one.
import type { HeaderList } from './head.ts'

const EQUALS = 0x3d
const QUOTE = 0x22

/** The first cookie of that name as sent, without surrounding quotes; undefined when there is none. Names are compared with case. */
export function cookieValue(headers: Readonly<HeaderList>, name: string): string | undefined {
  return scan(headers, name, null)
}

/** Every cookie of that name: a client sends several when their paths or domains differ. */
export function cookieValues(headers: Readonly<HeaderList>, name: string): string[] {
  const values: string[] = []
  scan(headers, name, values)
  return values
}

/** Collects into `all`, or without it stops at the first value and returns it. */
function scan(headers: Readonly<HeaderList>, name: string, all: string[] | null): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'cookie') continue
    const text = headers[i + 1]!
    let from = 0
    while (from < text.length) {
      let to = text.indexOf(';', from)
      if (to === -1) to = text.length
      while (from < to && isBlank(text.charCodeAt(from))) from++
      if (text.startsWith(name, from) && text.charCodeAt(from + name.length) === EQUALS && from + name.length < to) {
        const value = unquote(text.slice(from + name.length + 1, to).trimEnd())
        if (all === null) return value
        all.push(value)
      }
      from = to + 1
    }
  }
  return undefined
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function unquote(value: string): string {
  const last = value.length - 1
  return last > 0 && value.charCodeAt(0) === QUOTE && value.charCodeAt(last) === QUOTE ? value.slice(1, last) : value
}
