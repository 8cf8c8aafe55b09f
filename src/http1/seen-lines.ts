// Field lines that were read before: most come again byte for byte, and comparing costs a third of reading anew.
import type { KnownName } from './known-fields.ts'

/** Lines of a head that are kept, from the first. */
const MAX_LINES = 32
/** Longest that is kept, in bytes with its CRLF. */
const MAX_LENGTH = 256
/** So many heads in a row have another line before it takes the place of the one that is kept: clients take turns. */
const PATIENCE = 16

// Whoever sends guesses must not learn from the time they take how much of another's secret is in them.
const SECRETS = new Set(['authorization', 'cookie', 'proxy-authorization', 'set-cookie', 'x-api-key'])

/** One of them; places are offsets from its first byte. */
class SeenLine {
  /** With its CRLF; 0 where there is none yet. */
  length = 0
  known: KnownName | null = null
  nameEnd = 0
  valueStart = 0
  valueEnd = 0
  value = ''
  /** Heads in a row that had another line here. */
  misses = 0
  readonly #words = new Int32Array(MAX_LENGTH / 4)
  /** The last four bytes: with what comes before they may share some. */
  #tail = 0

  /** Take over the line that begins at `start`, its length and places set. */
  take(view: DataView, start: number): void {
    for (let i = 0; i < this.length - 4; i += 4) this.#words[i >> 2] = view.getInt32(start + i, true)
    this.#tail = view.getInt32(start + this.length - 4, true)
    const value = Buffer.from(view.buffer, view.byteOffset + start + this.valueStart, this.valueEnd - this.valueStart)
    this.value = value.toString('latin1')
  }

  /** Its bytes stand there. */
  standsAt(view: DataView, at: number): boolean {
    const last = this.length - 4
    // Here lines differ that begin alike.
    if (view.getInt32(at + last, true) !== this.#tail) return false
    const words = this.#words
    for (let i = 0; i < last; i += 4) if (view.getInt32(at + i, true) !== words[i >> 2]) return false
    return true
  }
}

/**
 * What one parser has seen, by a line's place in its head. A line that is found again was good, and means what it meant:
 * both follow from its bytes alone.
 */
export class SeenLines {
  readonly #lines = Array.from({ length: MAX_LINES }, () => new SeenLine())
  /** Of the buffer that two heads in a row came in: a view costs more than it saves one of them. */
  #kept: DataView | null = null
  #viewed: Buffer | null = null
  #before: Buffer | null = null
  /** Of the head that is being read; null where it has none. */
  view: DataView | null = null

  /** A head in `bytes` is to be read. */
  begin(bytes: Buffer): void {
    if (bytes !== this.#viewed && bytes === this.#before) {
      this.#viewed = bytes
      this.#kept = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    }
    this.#before = bytes
    this.view = bytes === this.#viewed ? this.#kept : null
  }

  /** The kept line of that place in the head, where the bytes from `at` on are the same; else null. */
  find(place: number, at: number, limit: number): SeenLine | null {
    const { view } = this
    if (view === null || place >= MAX_LINES) return null
    const line = this.#lines[place]!
    if (line.length === 0 || at + line.length > limit || !line.standsAt(view, at)) return null
    line.misses = 0
    return line
  }

  /** A line was read anew, and is good: its places, and the end of its CRLF. */
  note(
    place: number,
    known: KnownName,
    start: number,
    nameEnd: number,
    valueStart: number,
    valueEnd: number,
    end: number,
  ): void {
    const { view } = this
    if (view === null || place >= MAX_LINES || end - start > MAX_LENGTH) return
    const line = this.#lines[place]!
    if (++line.misses < PATIENCE || SECRETS.has(known.name)) return
    line.misses = 0
    line.length = end - start
    line.known = known
    line.nameEnd = nameEnd - start
    line.valueStart = valueStart - start
    line.valueEnd = valueEnd - start
    line.take(view, start)
  }
}
