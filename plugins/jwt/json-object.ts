// JSON objects with one reading: valid UTF-8 without a byte order mark, no name twice, and not nested without end.

/** Deepest nesting; claims in use have three or four levels. */
const MAX_DEPTH = 32

// `ignoreBOM` leaves a mark in the text, where JSON has no place for it (RFC 8259 8.1).
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A JSON object. */
export type JsonObject = Record<string, unknown>

/** True for what `JSON.parse` makes of `{…}`. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The object that these bytes are, or null. Names must be unique at every level (RFC 7519 4 lets a parser refuse the
 * others): what one reader takes from the first of two names, the next takes from the last.
 */
export function parseObject(bytes: Uint8Array): JsonObject | null {
  let text: string
  let value: unknown
  try {
    text = utf8.decode(bytes)
    value = JSON.parse(text)
  } catch {
    return null
  }
  return isJsonObject(value) && isUnambiguous(text) ? value : null
}

/** Looks through text that is known to be valid JSON. */
function isUnambiguous(text: string): boolean {
  /** Names seen in each open object; null for an open array. */
  const open: (Set<string> | null)[] = []
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set())
        break
      case 0x5b: // [
        open.push(null)
        break
      case 0x7d: // }
      case 0x5d: // ]
        open.pop()
        break
      case 0x22: {
        const end = stringEnd(text, i)
        if (isName(text, end)) {
          // Parsed, because an escaped name is the same name.
          const name = JSON.parse(text.slice(i, end)) as string
          const names = open.at(-1)!
          if (names!.has(name)) return false
          names!.add(name)
        }
        i = end - 1
        break
      }
    }
    if (open.length > MAX_DEPTH) return false
  }
  return true
}

/** The offset after the string that begins at `at`. */
function stringEnd(text: string, at: number): number {
  let i = at + 1
  while (text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1
  return i + 1
}

/** In valid JSON a string is a name exactly when a colon follows. */
function isName(text: string, end: number): boolean {
  let i = end
  while (' \t\n\r'.includes(text[i] ?? '_')) i++
  return text[i] === ':'
}
