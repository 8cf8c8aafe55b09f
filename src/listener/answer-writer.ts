// One answer on a native connection: head, framing and body bytes gathered into as few writes as the pace allows.
import type { GatewayError } from '../errors.ts'
import type { Downstream } from '../http/downstream.ts'
import { type HeaderList, isBodiless, type ResponseHead, removeHeader } from '../http/head.ts'
import { lastChunk } from '../http1/chunked.ts'
import { dateLine, fieldLines, latin1, statusLine } from '../http1/serialize.ts'

/** A chunk up to this joins the head in one string; above it one copy into a buffer is cheaper. */
const SMALL = 4096
/** Gathered text past this is written without waiting for the end of the read, or stops an answer that is not next. */
const GATHER = 16 * 1024

const Framing = { None: 0, Length: 1, Chunked: 2, UntilClose: 3 } as const

/** What an answer needs of the connection that carries it. */
export interface AnswerCarrier {
  /** Write latin1 text. False: wait for `drained`. */
  text(text: string): boolean
  /** Write text, borrowed bytes and text. False: wait for `drained`. */
  chunk(before: string, bytes: Uint8Array, after: string): boolean
  /** The exchange wants the body (or goes on with it). */
  startBody(): void
  /** The exchange can take no more for now. */
  stopBody(): void
  /** Nobody will read the body: drop what of it has arrived. */
  skipBody(): void
  /** The answer is complete, or was cut: said once. What of it is not written yet is to be had by `take`. */
  answered(down: Http1Downstream): void
}

/** See Downstream. The connection makes one per request. */
export class Http1Downstream implements Downstream {
  onChunk: ((chunk: Uint8Array, last: boolean) => void) | null = null
  onAbort: ((error: GatewayError | null) => void) | null = null
  onDrain: (() => void) | null = null
  aborted = false
  bodyEnded: boolean
  trailers: HeaderList | null = null
  /** The head was written (or gathered). */
  started = false
  /** The answer is complete or cut, though it may wait for its turn. */
  finished = false
  /** Another request may follow. */
  keepAlive: boolean
  readonly minor: number
  readonly #connection: AnswerCarrier
  readonly #method: string
  /** Earlier requests of the connection have their answers; until then this one is gathered. */
  #turn: boolean
  #framing: number = Framing.None
  #left = 0
  #gathered = ''
  #stalled = false

  constructor(
    connection: AnswerCarrier,
    method: string,
    minor: number,
    keepAlive: boolean,
    bodyEnded: boolean,
    turn = true,
  ) {
    this.#connection = connection
    this.#method = method
    this.minor = minor
    this.keepAlive = keepAlive
    this.bodyEnded = bodyEnded
    this.#turn = turn
  }

  /** The body has an end that is known. */
  get hasLength(): boolean {
    return this.#framing === Framing.Length
  }

  /** The body would have ended with the connection. */
  get untilClose(): boolean {
    return this.#framing === Framing.UntilClose
  }

  pause(): void {
    if (!this.finished) this.#connection.stopBody()
  }

  resume(): void {
    if (!this.finished && !this.bodyEnded) this.#connection.startBody()
  }

  writeHead(head: ResponseHead): void {
    if (this.started || this.finished) return
    this.started = true
    let headers = head.headers
    if (this.minor === 0) {
      // Chunks alone carry what it announces (RFC 9110 6.6.2). Of a copy: others may get the same list.
      headers = [...headers]
      removeHeader(headers, 'trailer')
    }
    let text = statusLine(head.status) + fieldLines(headers)
    if (!head.hasDate) text += dateLine()
    const length = head.bodyLength
    if (isBodiless(this.#method, head.status)) {
      // HEAD and 304 may say how long the content would be (RFC 9110 8.6); 204 must not.
      if (length >= 0 && head.status !== 204) text += `\r\ncontent-length: ${length}`
    } else if (length >= 0) {
      this.#framing = Framing.Length
      this.#left = length
      text += `\r\ncontent-length: ${length}`
    } else if (this.minor > 0) {
      this.#framing = Framing.Chunked
      text += '\r\ntransfer-encoding: chunked'
    } else {
      this.#framing = Framing.UntilClose
      this.keepAlive = false
    }
    // An unread body would be taken for the next request, or hold the connection until it is read.
    if (!this.bodyEnded && this.keepAlive && this.onChunk === null) this.#connection.skipBody()
    if (!this.bodyEnded) this.keepAlive = false
    if (!this.keepAlive) text += '\r\nconnection: close'
    else if (this.minor === 0) text += '\r\nconnection: keep-alive'
    this.#gathered = `${text}\r\n\r\n`
  }

  write(chunk: Uint8Array): boolean {
    const length = chunk.length
    if (this.finished || length === 0 || this.#framing === Framing.None) return true
    let before = ''
    let after = ''
    if (this.#framing === Framing.Length) {
      if (length > this.#left) {
        this.abort()
        return true
      }
      this.#left -= length
    } else if (this.#framing === Framing.Chunked) {
      before = `${length.toString(16)}\r\n`
      after = '\r\n'
    }
    if (length <= SMALL || !this.#turn) {
      this.#gathered += before + latin1(chunk) + after
      if (this.#gathered.length > GATHER) {
        if (this.#turn) this.flush()
        else this.#stalled = true
      }
    } else if (!this.#connection.chunk(this.take() + before, chunk, after)) this.#stalled = true
    return !this.#stalled
  }

  flush(): void {
    if (this.#gathered === '' || this.finished || !this.#turn) return
    if (!this.#connection.text(this.take())) this.#stalled = true
  }

  /** What is gathered, no longer kept here. */
  take(): string {
    const text = this.#gathered
    this.#gathered = ''
    return text
  }

  /** Its turn has come. Called by the connection. */
  begin(): void {
    this.#turn = true
    if (this.finished) return
    const waited = this.#stalled
    this.#stalled = false
    this.flush()
    if (waited && !this.#stalled) this.onDrain?.()
  }

  /** The client took what was written. Called by the connection. */
  drained(): void {
    this.#stalled = false
    this.onDrain?.()
  }

  end(trailers: HeaderList | null): void {
    if (this.finished) return
    if (this.#framing === Framing.Length && this.#left > 0) {
      this.abort()
      return
    }
    if (this.#framing === Framing.Chunked) this.#gathered += lastChunk(trailers)
    this.#finish()
    this.#connection.answered(this)
  }

  abort(): void {
    if (this.finished) return
    this.aborted = true
    this.#finish()
    this.#connection.answered(this)
  }

  close(): void {
    if (!this.started) this.keepAlive = false
  }

  /** The client is gone. Called by the connection. */
  lose(): void {
    if (this.finished) return
    this.aborted = true
    const onAbort = this.onAbort
    this.#gathered = ''
    this.#finish()
    onAbort?.(null)
  }

  /** The request's body broke; an answer may still be written. Called by the connection. */
  fail(error: GatewayError): void {
    const onAbort = this.onAbort
    this.onAbort = null
    this.onChunk = null
    onAbort?.(error)
  }

  #finish(): void {
    this.finished = true
    this.onChunk = null
    this.onAbort = null
    this.onDrain = null
  }
}
