// One stream of bytes read by our codec (in any pieces) and by Node's llhttp, both told as the same kind of outcome.
import { createRequire } from 'node:module'
import { isBodiless } from '../../../src/http/head.ts'
import { BROKEN, ChunkedDecoder, DATA, END } from '../../../src/http1/chunked.ts'
import { type HeadLimits, HeadParser, INCOMPLETE, INVALID } from '../../../src/http1/head-parser.ts'

/** A message whose head was accepted. Text is latin1. */
export interface Message {
  /** Of a request; '' otherwise. */
  method: string
  /** As sent, or of an absolute-form target what follows the authority. */
  target: string
  host: string
  /** Of an answer; 0 otherwise. */
  status: number
  headers: string[]
  body: string
  trailers: string[]
}

/** What a reader made of a stream. */
export interface Outcome {
  /** Messages read to their end. */
  complete: Message[]
  /** A message whose head was accepted and whose end has not come. */
  partial: Message | null
  /** `open`: more bytes may follow; `closed`: nothing more is read; `refused`: what followed is not acceptable. */
  end: 'open' | 'closed' | 'refused'
  code: string
  reason: string
}

export const LIMITS: HeadLimits = { bytes: 64 * 1024, count: 256 }

const parser = new HeadParser()

/** What is read lands here, as it does in the gateway: what the parser keeps of one buffer is used and put to the test. */
const LANDING = Buffer.alloc(64 * 1024)

/** Our codec driven the way a connection drives it: what could not be used yet is copied, and the buffer dies. */
class Reader {
  readonly outcome: Outcome = { complete: [], partial: null, end: 'open', code: '', reason: '' }
  readonly #limits: HeadLimits
  readonly #method: string | null
  #held: Buffer = Buffer.alloc(0)
  #decoder: ChunkedDecoder | null = null
  #left = 0
  #untilClose = false
  #last = false

  /** `method` is that of the request being answered; null reads requests. */
  constructor(method: string | null, limits: HeadLimits) {
    this.#method = method
    this.#limits = limits
  }

  read(fragment: Buffer): void {
    if (this.outcome.end !== 'open') return
    const lands = this.#held.length === 0 && fragment.length <= LANDING.length
    if (lands) fragment.copy(LANDING)
    const bytes = lands ? LANDING : Buffer.concat([this.#held, fragment])
    const end = lands ? fragment.length : bytes.length
    let at = 0
    for (;;) {
      const next = this.outcome.partial === null ? this.#head(bytes, at, end) : this.#body(bytes, at, end)
      if (next < 0) break
      at = next
    }
    this.#held = Buffer.from(bytes.subarray(this.#used, end))
    // Whatever still points into the buffer reads garbage from here on.
    bytes.fill(0x58, 0, end)
  }

  #used = 0

  #refuse(code: string, reason: string): number {
    this.outcome.end = 'refused'
    this.outcome.code = code
    this.outcome.reason = reason
    return -1
  }

  #head(bytes: Buffer, at: number, end: number): number {
    this.#used = at
    if (at === end || this.outcome.end !== 'open') return -1
    const requests = this.#method === null
    const next = requests ? parser.request(bytes, at, end, this.#limits) : parser.response(bytes, at, end, this.#limits)
    if (next === INVALID) return this.#refuse(parser.error, parser.reason)
    if (next === INCOMPLETE) return -1
    this.#used = next
    const { status, chunked, foreignCoding, contentLength, minor, close, keepAlive, upgrade } = parser
    const message: Message = {
      method: requests ? parser.method : '',
      target: requests ? parser.path + (parser.hasQuery ? `?${parser.query}` : '') : '',
      host: requests ? parser.host : '',
      status: requests ? 0 : status,
      headers: parser.headers,
      body: '',
      trailers: [],
    }
    this.#decoder = null
    this.#left = 0
    this.#untilClose = false
    if (requests) {
      this.#last = close || upgrade || (minor === 0 && !keepAlive)
      if (chunked) this.#decoder = new ChunkedDecoder()
      else this.#left = Math.max(contentLength, 0)
    } else {
      if (status === 101 || (status < 200 && (chunked || contentLength >= 0))) {
        return this.#refuse('SLUICE_UPSTREAM_PROTOCOL', 'unexpected interim answer')
      }
      this.#last = status >= 200
      if (status >= 200 && !isBodiless(this.#method!, status)) {
        if (foreignCoding)
          return this.#refuse('SLUICE_UPSTREAM_PROTOCOL', 'Transfer-Encoding is not exactly one chunked')
        if (chunked) this.#decoder = new ChunkedDecoder(true)
        else if (contentLength >= 0) this.#left = contentLength
        else this.#untilClose = true
      }
    }
    this.outcome.partial = message
    if (this.#decoder === null && this.#left === 0 && !this.#untilClose) this.#done()
    return next
  }

  #done(): void {
    this.outcome.complete.push(this.outcome.partial!)
    this.outcome.partial = null
    if (this.#last) this.outcome.end = 'closed'
  }

  #body(bytes: Buffer, at: number, end: number): number {
    this.#used = at
    if (at === end) return -1
    const message = this.outcome.partial!
    const decoder = this.#decoder
    if (decoder === null) {
      const to = this.#untilClose ? end : Math.min(end, at + this.#left)
      message.body += bytes.toString('latin1', at, to)
      this.#left -= to - at
      if (!this.#untilClose && this.#left === 0) this.#done()
      return to
    }
    const event = decoder.step(bytes, at, end)
    if (event === BROKEN) return this.#refuse('SLUICE_BAD_REQUEST', decoder.reason)
    if (event === DATA) message.body += bytes.toString('latin1', decoder.from, decoder.position)
    else if (event === END) {
      message.trailers = decoder.trailers ?? []
      this.#done()
    } else if (decoder.position !== end) throw new Error('the decoder left bytes over and asks for more')
    return decoder.position
  }

  /** The peer sent its FIN. */
  fin(): void {
    if (this.outcome.partial !== null && this.#untilClose && this.outcome.end === 'open') this.#done()
  }
}

/** Read `text` with our codec, cut before each of `cuts` (ascending). `method` as for Reader. */
export function readOurs(text: string, cuts: readonly number[], method: string | null, limits = LIMITS): Outcome {
  const reader = new Reader(method, limits)
  const all = Buffer.from(text, 'latin1')
  for (let i = 0; i <= cuts.length; i++) {
    const fragment = Buffer.from(all.subarray(i === 0 ? 0 : cuts[i - 1], i === cuts.length ? all.length : cuts[i]))
    if (fragment.length > 0) reader.read(fragment)
  }
  reader.fin()
  return reader.outcome
}

/** The part of Node's parser that is used here; it has no types. */
interface NativeParser {
  [callback: number]: (...values: never[]) => unknown
  initialize(type: number, resource: object, maxHeaderSize: number, lenientFlags: number): void
  execute(bytes: Buffer): number | (Error & { code: string; reason: string })
  finish(): Error | undefined
  close(): void
}
interface NativeParserClass {
  new (): NativeParser
  readonly REQUEST: number
  readonly RESPONSE: number
  readonly kOnMessageBegin: number
  readonly kOnHeaders: number
  readonly kOnHeadersComplete: number
  readonly kOnBody: number
  readonly kOnMessageComplete: number
  readonly kLenientNone: number
}

const require = createRequire(import.meta.url)
const native = require('node:_http_common') as { HTTPParser: NativeParserClass; methods: readonly string[] }
const { HTTPParser } = native

/** Methods that llhttp knows; any other token is an error to it. */
export const LLHTTP_METHODS: ReadonlySet<string> = new Set(native.methods)

// What a gateway takes out of every head, besides what Connection names (RFC 9110 7.6.1), and what has a place of its own.
const OWN = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'upgrade', 'te'],
  ...['proxy-authentication-info', 'http2-settings', 'transfer-encoding', 'content-length'],
])

let theirs: Outcome
let flushed: string[] = []
let url = ''
let answers: string | null = null

const shared = new HTTPParser()
shared[HTTPParser.kOnMessageBegin] = () => {
  flushed = []
  url = ''
}
shared[HTTPParser.kOnHeaders] = (fields: string[], target: string) => {
  if (theirs.partial !== null) theirs.partial.trailers.push(...lower(fields))
  else {
    flushed.push(...fields)
    url += target
  }
}
shared[HTTPParser.kOnHeadersComplete] = (
  _major: number,
  _minor: number,
  fields: string[] | null,
  method: number | string,
  target: string | null,
  status: number | null,
) => {
  const all = lower(fields ?? flushed)
  const requests = answers === null
  let host = ''
  const headers: string[] = []
  for (let i = 0; i < all.length; i += 2) {
    if (requests && all[i] === 'host') host = all[i + 1]!
    else if (!OWN.has(all[i]!) && !(requests && all[i] === 'expect')) headers.push(all[i]!, all[i + 1]!)
  }
  let path = target ?? url
  const absolute = requests ? /^https?:\/\/([^/?]*)(.*)$/i.exec(path) : null
  if (absolute !== null) {
    host = absolute[1]!
    path = absolute[2]!
  }
  const name = typeof method === 'number' ? native.methods[method]! : method
  theirs.partial = {
    method: requests ? name : '',
    target: requests ? path : '',
    host,
    status: status ?? 0,
    headers,
    body: '',
    trailers: [],
  }
  // 1: no body follows, whatever the head says.
  return !requests && answers === 'HEAD' ? 1 : 0
}
shared[HTTPParser.kOnBody] = (bytes: Buffer) => {
  theirs.partial!.body += bytes.toString('latin1')
}
shared[HTTPParser.kOnMessageComplete] = () => {
  theirs.complete.push(theirs.partial!)
  theirs.partial = null
}

function lower(fields: readonly string[]): string[] {
  return fields.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text))
}

/** Read `text` with llhttp at its strictest. `method` as for Reader. */
export function readTheirs(text: string, method: string | null): Outcome {
  theirs = { complete: [], partial: null, end: 'open', code: '', reason: '' }
  answers = method
  shared.initialize(method === null ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, 1 << 20, HTTPParser.kLenientNone)
  const bytes = Buffer.from(text, 'latin1')
  const used = shared.execute(bytes)
  if (typeof used !== 'number') {
    theirs.end = 'refused'
    theirs.code = used.code
    theirs.reason = used.reason
  } else if (used < bytes.length && theirs.partial !== null) {
    // Node does not tell the errors of a parser that has seen an upgrade.
    theirs.end = 'refused'
    theirs.code = 'HIDDEN'
  } else if (used < bytes.length) theirs.end = 'closed'
  else if (method !== null) shared.finish()
  return theirs
}
