// The strict HTTP/1.1 head parser, in place on a borrowed buffer: requests, responses and trailer sections.
//
// Over 300 lines because the three forms share one field loop and its scratch, which only pays when it is one unit.
// One pass validates every byte and notes offsets in a scratch array; strings are made only when the head is complete. A
// field line that came before at that place is compared instead (seen-lines.ts).
import type { ErrorCode } from '../errors.ts'
import { type HeaderList, removeHeaders } from '../http/head.ts'
import {
  type ConnectionOptions,
  comparableHost,
  isChunked,
  isHostField,
  isTrailerField,
  parseContentLength,
  readConnection,
} from './framing.ts'
import { Field, type KnownName, lookupName, NAME_BYTE, VALUE_BYTE } from './known-fields.ts'
import { SeenLines } from './seen-lines.ts'

const SP = 0x20
const HTAB = 0x09
const CR = 0x0d
const LF = 0x0a
const COLON = 0x3a

/** The head is not complete yet. */
export const INCOMPLETE = 0
/** The head is not acceptable: see `error` and `reason`. */
export const INVALID = -1

/** Limits of one head. */
export interface HeadLimits {
  /** Largest head in bytes, start line included. */
  readonly bytes: number
  /** Most field lines. */
  readonly count: number
}

/** Bytes allowed in a request target: visible ASCII but `#` (RFC 9112 3.2; a fragment is never sent). */
const TARGET_BYTE = new Uint8Array(256)
for (let byte = 0x21; byte < 0x7f; byte++) TARGET_BYTE[byte] = byte === 0x23 ? 0 : 1

// For each byte of a word, see skipWords.
const SPACES = 0x20202020
const DELETES = 0x7f7f7f7f
const ONES = 0x01010101
const HIGH_BITS = 0x80808080 | 0

const TRAILER: ReadonlySet<string> = new Set(['trailer'])

/** A member of TE that is `trailers` and has no weight of 0, which says the contrary (RFC 9110 10.1.4). */
const TRAILERS = /(?:^|,)[ \t]*trailers[ \t]*(?:;[ \t]*q=(?!0(?:\.0*)?[ \t]*(?:$|,))[^,]*)?(?:$|,)/i

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS']

/**
 * Parses one head at a time. The results are fields of the parser, valid until the next call; `headers` is a fresh
 * list each time. One instance serves a whole process, because every call is synchronous.
 */
export class HeadParser {
  error: ErrorCode = 'SLUICE_BAD_REQUEST'
  reason = ''

  method = ''
  path = ''
  query = ''
  hasQuery = false
  host = ''
  minor = 1
  status = 0

  headers: HeaderList = []
  /** Content-Length, or -1 when absent. */
  contentLength = -1
  chunked = false
  /** An answer's Transfer-Encoding is none that we read: of consequence only where a body follows. */
  foreignCoding = false
  close = false
  keepAlive = false
  upgrade = false
  hasDate = false
  hasUnderscore = false
  acceptsTrailers = false
  expectContinue = false
  /** Seconds that an answer's Keep-Alive gives the connection when it is idle (RFC 2068 19.7.1.1), or -1. */
  idleSeconds = -1

  readonly #options: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, named: null }
  #scratch: Int32Array = new Int32Array(4 * 128)
  readonly #known: (KnownName | null)[] = []
  /** Values of the lines that were seen before; null for the others. */
  readonly #values: (string | null)[] = []
  readonly #seen = new SeenLines()
  #count = 0
  #hasTrailerField = false

  /**
   * Parse a request head that begins at `bytes[at]`. Returns the offset after it, INCOMPLETE or INVALID.
   * Sources: RFC 9112 2–5; refused is also what it lets a parser forgive, where another would read it differently.
   */
  request(bytes: Buffer, at: number, end: number, limits: HeadLimits): number {
    const start = this.#skipEmptyLine(bytes, at, end)
    if (start < 0) return this.#fail('SLUICE_BAD_REQUEST', 'bare LF or CR before the request line')
    const limit = Math.min(end, start + limits.bytes)
    let i = start
    while (i < limit && NAME_BYTE[bytes[i]!] !== 0) i++
    if (i === limit) return this.#more(end, limit, 'the method does not end')
    if (i === start || bytes[i] !== SP) return this.#fail('SLUICE_BAD_REQUEST', 'the method is no token')
    const methodEnd = i++
    const targetStart = i
    while (i < limit && TARGET_BYTE[bytes[i]!] === 1) i++
    if (i === limit) return this.#more(end, limit, 'the request target does not end')
    if (i === targetStart || bytes[i] !== SP) {
      const version09 = (bytes[i] === CR || bytes[i] === LF) && i > targetStart
      return this.#fail('SLUICE_BAD_REQUEST', version09 ? 'no HTTP version' : 'bad byte in the request target')
    }
    const targetEnd = i
    // " HTTP/1.x\r\n" follows.
    if (limit - i < 11) {
      if (!matches(bytes, i, limit, ' HTTP/')) return this.#fail('SLUICE_BAD_REQUEST', 'no HTTP version')
      return this.#more(end, limit, 'the request line does not end')
    }
    const version = this.#version(bytes, i + 1)
    if (version < 0) return INVALID
    if (bytes[i + 9] !== CR || bytes[i + 10] !== LF) {
      return this.#fail('SLUICE_BAD_REQUEST', 'the request line does not end with CRLF after the version')
    }
    this.minor = version
    const fieldsEnd = this.#fields(bytes, i + 11, limit, limits.count)
    if (fieldsEnd === INCOMPLETE) return this.#more(end, limit, 'the head does not end')
    if (fieldsEnd < 0) return INVALID
    const text = bytes.toString('latin1', start, fieldsEnd)
    this.method = methodName(text, methodEnd - start)
    if (!this.#collect(text, start, true)) return INVALID
    if (!this.#target(text.substring(targetStart - start, targetEnd - start))) return INVALID
    if (!this.#framing()) return INVALID
    return fieldsEnd
  }

  /** Parse a response head that begins at `bytes[at]`. Returns the offset after it, INCOMPLETE or INVALID. */
  response(bytes: Buffer, at: number, end: number, limits: HeadLimits): number {
    this.error = 'SLUICE_UPSTREAM_PROTOCOL'
    const limit = Math.min(end, at + limits.bytes)
    // "HTTP/1.x NNN" and SP reason, or CRLF at once (RFC 9112 4: the reason may be empty, the SP not; we let it).
    if (!matches(bytes, at, limit, 'HTTP/1.')) return this.#failResponse('no status line')
    if (limit - at < 13) return this.#moreResponse(end, limit, 'the status line does not end')
    const minor = bytes[at + 7]! - 48
    const a = bytes[at + 9]! - 48
    const b = bytes[at + 10]! - 48
    const c = bytes[at + 11]! - 48
    if (minor < 0 || minor > 9 || bytes[at + 8] !== SP || a < 1 || a > 5 || b < 0 || b > 9 || c < 0 || c > 9) {
      return this.#failResponse('malformed status line')
    }
    this.minor = minor === 0 ? 0 : 1
    this.status = a * 100 + b * 10 + c
    let i = at + 12
    if (bytes[i] !== SP && bytes[i] !== CR) return this.#failResponse('malformed status line')
    while (i < limit && VALUE_BYTE[bytes[i]!] === 1) i++
    if (i + 1 >= limit) return this.#moreResponse(end, limit, 'the status line does not end')
    if (bytes[i] !== CR || bytes[i + 1] !== LF) return this.#failResponse('control byte in the status line')
    const fieldsEnd = this.#fields(bytes, i + 2, limit, limits.count)
    if (fieldsEnd === INCOMPLETE) return this.#moreResponse(end, limit, 'the head does not end')
    if (fieldsEnd < 0) return this.#failResponse(this.reason)
    const text = bytes.toString('latin1', at, fieldsEnd)
    if (!this.#collect(text, at, false)) return this.#failResponse(this.reason)
    if (this.chunked && this.contentLength >= 0) return this.#failResponse('Content-Length beside Transfer-Encoding')
    if (this.chunked && this.minor === 0) return this.#failResponse('Transfer-Encoding in HTTP/1.0')
    return fieldsEnd
  }

  /** Parse a trailer section up to its empty line; `headers` holds what may be passed on. */
  trailers(bytes: Buffer, at: number, end: number, limits: HeadLimits): number {
    const limit = Math.min(end, at + limits.bytes)
    const fieldsEnd = this.#fields(bytes, at, limit, limits.count)
    if (fieldsEnd === INCOMPLETE) return this.#more(end, limit, 'the trailer section does not end')
    if (fieldsEnd < 0) return INVALID
    const text = bytes.toString('latin1', at, fieldsEnd)
    const scratch = this.#scratch
    this.headers = []
    for (let k = 0; k < this.#count; k++) {
      const name = this.#known[k]?.name ?? text.substring(scratch[4 * k]! - at, scratch[4 * k + 1]! - at).toLowerCase()
      if (isTrailerField(name))
        this.headers.push(name, text.substring(scratch[4 * k + 2]! - at, scratch[4 * k + 3]! - at))
    }
    return fieldsEnd
  }

  #fail(error: ErrorCode, reason: string): number {
    this.error = error
    this.reason = reason
    return INVALID
  }

  #failResponse(reason: string): number {
    return this.#fail('SLUICE_UPSTREAM_PROTOCOL', reason)
  }

  /** Out of bytes: more may come, unless it was the limit that ended them. */
  #more(end: number, limit: number, reason: string): number {
    if (limit === end) return INCOMPLETE
    return this.#fail('SLUICE_HEADERS_TOO_LARGE', `${reason} within the limit`)
  }

  #moreResponse(end: number, limit: number, reason: string): number {
    return limit === end ? INCOMPLETE : this.#failResponse(`${reason} within the limit`)
  }

  /** One empty line before the request line is forgiven (RFC 9112 2.2). */
  #skipEmptyLine(bytes: Buffer, at: number, end: number): number {
    if (at >= end || (bytes[at] !== CR && bytes[at] !== LF)) return at
    if (bytes[at] === LF) return -1
    if (at + 1 === end) return end
    return bytes[at + 1] === LF ? at + 2 : -1
  }

  /** Minor version from `HTTP/1.x`, or a refusal. */
  #version(bytes: Buffer, at: number): number {
    const major = bytes[at + 5]! - 48
    const minor = bytes[at + 7]! - 48
    const wellFormed = matches(bytes, at, at + 8, 'HTTP/') && bytes[at + 6] === 0x2e
    if (!wellFormed || major < 0 || major > 9 || minor < 0 || minor > 9) {
      return this.#fail('SLUICE_BAD_REQUEST', 'malformed HTTP version')
    }
    if (major !== 1) return this.#fail('SLUICE_VERSION_NOT_SUPPORTED', `HTTP/${major} is not spoken here`)
    // A higher minor version is served as 1.1 (RFC 9110 2.5).
    return minor === 0 ? 0 : 1
  }

  /** The field lines and the empty line; notes name and value offsets. Returns the offset after it. */
  #fields(bytes: Buffer, at: number, limit: number, most: number): number {
    let scratch = this.#scratch
    let count = 0
    this.hasUnderscore = false
    const seen = this.#seen
    seen.begin(bytes)
    const { view } = seen
    for (;;) {
      if (at >= limit) return INCOMPLETE
      const line = count < most ? seen.find(count, at, limit) : null
      if (line !== null) {
        // Written out here and below: a method for both costs half as much again as the head.
        if (4 * count + 4 > scratch.length) scratch = this.#grow()
        scratch[4 * count] = at
        scratch[4 * count + 1] = at + line.nameEnd
        scratch[4 * count + 2] = at + line.valueStart
        scratch[4 * count + 3] = at + line.valueEnd
        this.#known[count] = line.known
        this.#values[count] = line.value
        at += line.length
        count++
        continue
      }
      let byte = bytes[at]!
      if (byte === CR) {
        if (at + 1 >= limit) return INCOMPLETE
        if (bytes[at + 1] !== LF) return this.#fail('SLUICE_BAD_REQUEST', 'bare CR')
        this.#count = count
        return at + 2
      }
      if (count === most) return this.#fail('SLUICE_HEADERS_TOO_LARGE', `more than ${most} fields`)
      const nameStart = at
      let hash = 0
      let low = NAME_BYTE[byte]!
      while (low !== 0) {
        hash = (hash * 31 + low) | 0
        if (low === 0x5f) this.hasUnderscore = true
        if (++at === limit) return INCOMPLETE
        byte = bytes[at]!
        low = NAME_BYTE[byte]!
      }
      if (byte !== COLON || at === nameStart)
        return this.#fail('SLUICE_BAD_REQUEST', this.#nameFault(byte, at === nameStart))
      const nameEnd = at++
      while (at < limit && (bytes[at] === SP || bytes[at] === HTAB)) at++
      let valueStart = at
      // Four at a time: values are most of a head.
      if (view !== null) at = skipWords(view, at, limit)
      while (
        at + 4 <= limit &&
        (VALUE_BYTE[bytes[at]!]! &
          VALUE_BYTE[bytes[at + 1]!]! &
          VALUE_BYTE[bytes[at + 2]!]! &
          VALUE_BYTE[bytes[at + 3]!]!) ===
          1
      )
        at += 4
      while (at < limit && VALUE_BYTE[bytes[at]!] === 1) at++
      if (at + 1 >= limit) {
        if (at < limit && bytes[at] !== CR)
          return this.#fail('SLUICE_BAD_REQUEST', 'control byte or bare LF in a field value')
        return INCOMPLETE
      }
      if (bytes[at] !== CR || bytes[at + 1] !== LF) {
        return this.#fail('SLUICE_BAD_REQUEST', 'control byte, bare CR or bare LF in a field value')
      }
      let valueEnd = at
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--
      if (valueEnd < valueStart) valueStart = valueEnd
      at += 2
      if (4 * count + 4 > scratch.length) scratch = this.#grow()
      scratch[4 * count] = nameStart
      scratch[4 * count + 1] = nameEnd
      scratch[4 * count + 2] = valueStart
      scratch[4 * count + 3] = valueEnd
      const known = lookupName(bytes, nameStart, nameEnd, hash)
      this.#known[count] = known
      this.#values[count] = null
      // No known name holds an underscore, so that this says all that a line can say.
      if (known !== null) seen.note(count, known, nameStart, nameEnd, valueStart, valueEnd, at)
      count++
    }
  }

  #nameFault(byte: number, atStart: boolean): string {
    if (atStart && (byte === SP || byte === HTAB)) return 'folded or indented field line'
    if (atStart && byte === COLON) return 'empty field name'
    if (byte === SP || byte === HTAB) return 'space before the colon'
    return 'bad byte in a field name, or no colon'
  }

  #grow(): Int32Array {
    const larger = new Int32Array(this.#scratch.length * 2)
    larger.set(this.#scratch)
    this.#scratch = larger
    return larger
  }

  /** Make the header list from the noted offsets; takes out what concerns this hop alone. */
  #collect(text: string, base: number, request: boolean): boolean {
    const scratch = this.#scratch
    const headers: HeaderList = []
    this.headers = headers
    this.contentLength = -1
    this.chunked = false
    this.foreignCoding = false
    this.close = false
    this.keepAlive = false
    this.upgrade = false
    this.hasDate = false
    this.acceptsTrailers = false
    this.expectContinue = false
    this.idleSeconds = -1
    this.host = ''
    this.#hasTrailerField = false
    const options = this.#options
    options.close = options.keepAlive = options.upgrade = false
    options.named = null
    let hosts = 0
    let codings = 0
    let upgradeField = false
    for (let k = 0; k < this.#count; k++) {
      const value = this.#values[k] ?? text.substring(scratch[4 * k + 2]! - base, scratch[4 * k + 3]! - base)
      const known = this.#known[k]!
      if (known === null) {
        headers.push(text.substring(scratch[4 * k]! - base, scratch[4 * k + 1]! - base).toLowerCase(), value)
        continue
      }
      switch (known.kind) {
        case Field.Other:
          headers.push(known.name, value)
          break
        case Field.Date:
          this.hasDate = true
          headers.push(known.name, value)
          break
        case Field.Host:
          // In an answer it says nothing: passed on like any unknown field (RFC 9110 5.1).
          if (!request) {
            headers.push(known.name, value)
            break
          }
          if (++hosts > 1) return this.#refuse('more than one Host')
          this.host = value
          break
        case Field.Connection:
          if (!readConnection(value, options)) {
            if (request) return this.#refuse('a Connection option is no token')
            options.close = true
          }
          break
        case Field.ContentLength:
          if (this.contentLength >= 0) return this.#refuse('more than one Content-Length')
          this.contentLength = parseContentLength(value)
          if (this.contentLength < 0) return this.#refuse('Content-Length is no number')
          break
        case Field.TransferEncoding:
          if (++codings > 1 || value === '') return this.#refuse('Transfer-Encoding is not exactly one chunked')
          if (!request) this.foreignCoding = !isChunked(value) || this.#isTabbed(text, k, base)
          else if (!isChunked(value)) return this.#refuse('Transfer-Encoding is not exactly one chunked')
          else if (this.#isTabbed(text, k, base)) return this.#refuse('a tab beside a Transfer-Encoding')
          this.chunked = true
          break
        case Field.Upgrade:
          upgradeField = true
          break
        case Field.KeepAlive:
          // Of several fields each may say a part, as of any list (RFC 9110 5.3).
          if (!request && this.idleSeconds < 0) this.idleSeconds = idleSeconds(value)
          break
        case Field.Te:
          if (TRAILERS.test(value)) this.acceptsTrailers = true
          break
        case Field.Trailer:
          this.#hasTrailerField = true
          headers.push(known.name, value)
          break
        case Field.Expect:
          if (!request) {
            headers.push(known.name, value)
            break
          }
          if (value === '') break
          if (value.toLowerCase() !== '100-continue') {
            this.#fail('SLUICE_EXPECTATION_FAILED', 'unknown expectation')
            return false
          }
          this.expectContinue = true
          break
      }
    }
    this.close = options.close
    this.keepAlive = options.keepAlive
    this.upgrade = upgradeField && options.upgrade
    if (options.named !== null) removeHeaders(headers, new Set(options.named))
    // A Trailer field announces what only a chunked body can carry (RFC 9110 6.6.2).
    if (this.#hasTrailerField && !this.chunked) removeHeaders(headers, TRAILER)
    return true
  }

  /** A tab around `chunked` is legal (RFC 9110 5.6.3), but others, llhttp among them, then take it for another coding. */
  #isTabbed(text: string, k: number, base: number): boolean {
    const scratch = this.#scratch
    for (let i = scratch[4 * k + 1]! + 1; i < scratch[4 * k + 2]!; i++)
      if (text.charCodeAt(i - base) === HTAB) return true
    for (let i = scratch[4 * k + 3]! - base; text.charCodeAt(i) !== CR; i++)
      if (text.charCodeAt(i) === HTAB) return true
    return false
  }

  #refuse(reason: string): boolean {
    this.#fail('SLUICE_BAD_REQUEST', reason)
    return false
  }

  /** Split the request target and settle the host (RFC 9112 3.2 and 3.3). */
  #target(target: string): boolean {
    if (this.method === 'CONNECT') {
      this.#fail('SLUICE_NOT_IMPLEMENTED', 'CONNECT is not served')
      return false
    }
    let path = target
    const first = target.charCodeAt(0)
    if (first === 0x2a && target.length === 1) {
      if (this.method !== 'OPTIONS') return this.#refuse('asterisk-form with another method than OPTIONS')
    } else if (first !== 0x2f) {
      const found = /^https?:\/\/([^/?]*)(.*)$/i.exec(target)
      if (found === null) return this.#refuse('the request target is neither a path nor an http URL')
      const authority = found[1]!
      if (!isHostField(authority)) return this.#refuse('bad authority in the request target')
      const usual = target.charCodeAt(4) === COLON ? 80 : 443
      if (this.host !== '' && comparableHost(this.host, usual) !== comparableHost(authority, usual)) {
        return this.#refuse('Host differs from the request target')
      }
      if (this.host === '' && this.minor > 0) return this.#refuse('no Host')
      this.host = authority
      // Without path and query OPTIONS means the server as a whole (RFC 9112 3.2.4).
      if (found[2] === '' && this.method === 'OPTIONS') path = '*'
      else path = found[2]!.startsWith('/') ? found[2]! : `/${found[2]!}`
    }
    if (this.host === '') {
      if (this.minor > 0) return this.#refuse('no Host')
    } else if (!isHostField(this.host)) return this.#refuse('bad Host')
    const mark = path.indexOf('?')
    this.hasQuery = mark >= 0
    this.path = mark < 0 ? path : path.substring(0, mark)
    this.query = mark < 0 ? '' : path.substring(mark + 1)
    return true
  }

  /** Content-Length and Transfer-Encoding together mean smuggling or a mistake (RFC 9112 6.1 and 6.3). */
  #framing(): boolean {
    if (!this.chunked) return true
    if (this.contentLength >= 0) return this.#refuse('Content-Length beside Transfer-Encoding')
    if (this.minor === 0) return this.#refuse('Transfer-Encoding in HTTP/1.0')
    return true
  }
}

function idleSeconds(value: string): number {
  const found = /(?:^|[ ,\t])timeout=(\d{1,9})(?![^ ,;\t])/i.exec(value)
  return found === null ? -1 : Number(found[1])
}

function matches(bytes: Buffer, at: number, limit: number, text: string): boolean {
  for (let i = 0; i < text.length && at + i < limit; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false
  return true
}

/**
 * The offset behind the words from `at` on that hold no control byte: one below 0x20, or 0x7f, sets the high bit of its
 * place (Hacker's Delight, 6-1; a borrow marks none before the first). What follows was not looked at, or holds one.
 */
function skipWords(view: DataView, at: number, limit: number): number {
  while (at + 4 <= limit) {
    const word = view.getInt32(at, true)
    const other = word ^ DELETES
    if ((((word - SPACES) & ~word) | ((other - ONES) & ~other)) & HIGH_BITS) break
    at += 4
  }
  return at
}

/** The method as one of a few constants where it is one: comparing those is a pointer comparison. */
function methodName(text: string, length: number): string {
  for (const method of METHODS) if (method.length === length && text.startsWith(method)) return method
  return text.substring(0, length)
}
