// The strict decoder of chunked bodies (RFC 9112 7.1), stepwise on borrowed buffers, and their encoder's two lines.
import type { ErrorCode } from '../errors.ts'
import type { HeaderList } from '../http/head.ts'
import { HeadParser, INCOMPLETE, INVALID } from './head-parser.ts'
import { fieldLines } from './serialize.ts'

/** More bytes are needed. */
export const NEED = 0
/** Body bytes stand in `[from, position)`. */
export const DATA = 1
/** The body is over; `trailers` holds its trailer section. */
export const END = 2
/** The framing is broken or over a bound: see `reason`. */
export const BROKEN = 3

const State = { Size: 0, Extension: 1, SizeLf: 2, Data: 3, DataCr: 4, DataLf: 5, Trailers: 6, Done: 7 } as const

/** Extensions are skipped, but a whole body's may not pass this (CVE-2024-22019). */
const MAX_EXTENSIONS = 16 * 1024
const MAX_TRAILERS = 8 * 1024
/** Hex digits of a size: 2^52 at most, and leading zeros do not go on for ever. */
const MAX_DIGITS = 13

const HEX = new Int8Array(256).fill(-1)
for (let i = 0; i < 16; i++) {
  HEX['0123456789abcdef'.charCodeAt(i)] = i
  HEX['0123456789ABCDEF'.charCodeAt(i)] = i
}

const EXTENSIONS =
  /^(?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"))?)*$/

/** What an upstream's answer may hold after a size: blanks, or a `;` and anything but control characters. */
const LENIENT = /^[ \t]*(?:;[\t \x21-\x7e\x80-\xff]*)?$/

const parser = new HeadParser()

/** One body's decoder. Call `step` until it returns NEED, END or BROKEN; after BROKEN it is not used again. */
export class ChunkedDecoder {
  /** Offset up to which bytes were used, after each step. */
  position = 0
  /** Where the DATA of the last step begins. */
  from = 0
  reason = ''
  /** What BROKEN means of a request. */
  error: ErrorCode = 'SLUICE_BAD_REQUEST'
  /** Set with END; null when there are none. */
  trailers: HeaderList | null = null

  #state: number = State.Size
  #left = 0
  #digits = 0
  #extension = ''
  #extensions = 0
  #trailer: Buffer | null = null
  readonly #extensionForm: RegExp

  /**
   * `lenient` is for answers of upstreams: blanks after a size and extensions of no known form are skipped, which
   * harms nobody because what goes on is framed by us. What delimits chunks stays strict.
   */
  constructor(lenient = false) {
    this.#extensionForm = lenient ? LENIENT : EXTENSIONS
  }

  /** Go on at `bytes[at]`; returns NEED, DATA, END or BROKEN. */
  step(bytes: Buffer, at: number, end: number): number {
    while (at < end) {
      switch (this.#state) {
        case State.Size: {
          const byte = bytes[at]!
          const digit = HEX[byte]!
          if (digit >= 0) {
            if (++this.#digits > MAX_DIGITS) return this.#break('the chunk size is too long')
            this.#left = this.#left * 16 + digit
            at++
            break
          }
          if (this.#digits === 0) return this.#break('a chunk size is due')
          this.#state = State.Extension
          this.#extension = ''
          break
        }
        case State.Extension: {
          const from = at
          while (at < end && bytes[at] !== 0x0d && bytes[at] !== 0x0a) at++
          if (at > from) {
            this.#extensions += at - from
            if (this.#extensions > MAX_EXTENSIONS) return this.#break('the chunk extensions are too long')
            this.#extension += bytes.toString('latin1', from, at)
          }
          if (at === end) break
          if (bytes[at] === 0x0a) return this.#break('bare LF after a chunk size')
          if (this.#extension !== '' && !this.#extensionForm.test(this.#extension))
            return this.#break('bad chunk extension')
          at++
          this.#state = State.SizeLf
          break
        }
        case State.SizeLf:
          if (bytes[at] !== 0x0a) return this.#break('bare CR after a chunk size')
          at++
          this.#digits = 0
          this.#state = this.#left === 0 ? State.Trailers : State.Data
          break
        case State.Data: {
          const taken = Math.min(this.#left, end - at)
          this.#left -= taken
          if (this.#left === 0) this.#state = State.DataCr
          this.from = at
          this.position = at + taken
          return DATA
        }
        case State.DataCr:
          if (bytes[at] !== 0x0d) return this.#break('chunk data does not end with CRLF')
          at++
          this.#state = State.DataLf
          break
        case State.DataLf:
          if (bytes[at] !== 0x0a) return this.#break('chunk data does not end with CRLF')
          at++
          this.#state = State.Size
          break
        case State.Trailers:
          return this.#trailers(bytes, at, end)
        default:
          this.position = at
          return END
      }
    }
    this.position = at
    return NEED
  }

  #trailers(bytes: Buffer, at: number, end: number): number {
    const held = this.#trailer
    const source = held === null ? bytes.subarray(at, end) : Buffer.concat([held, bytes.subarray(at, end)])
    const used = parser.trailers(source, 0, source.length, { bytes: MAX_TRAILERS, count: 100 })
    if (used === INVALID) {
      this.error = parser.error
      return this.#break(parser.reason)
    }
    if (used === INCOMPLETE) {
      this.#trailer = held === null ? Buffer.from(source) : source
      this.position = end
      return NEED
    }
    this.#trailer = null
    this.trailers = parser.headers.length > 0 ? parser.headers : null
    this.#state = State.Done
    this.position = at + used - (held === null ? 0 : held.length)
    return END
  }

  #break(reason: string): number {
    this.reason = reason
    return BROKEN
  }
}

/** The text after the last chunk: `0`, the trailer section and its empty line. */
export function lastChunk(trailers: Readonly<HeaderList> | null): string {
  return trailers === null ? '0\r\n\r\n' : `0${fieldLines(trailers)}\r\n\r\n`
}
