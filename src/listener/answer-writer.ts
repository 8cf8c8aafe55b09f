// One answer on a native connection: head, framing and body bytes gathered into as few writes as the pace allows.
import type { GatewayError } from '../errors.ts'
import type { Downstream } from '../http/downstream.ts'
import { type HeaderList, isBodiless, type ResponseHead } from '../http/head.ts'
import { lastChunk } from '../http1/chunked.ts'
import { fieldLines, httpDate, statusLine } from '../http1/serialize.ts'
import type { SocketWriter } from '../http1/socket-writer.ts'

/** A chunk up to this joins the head in one string; above it one copy into a buffer is cheaper. */
const SMALL = 4096
/** Gathered text past this is written without waiting for the end of the read. */
const GATHER = 16 * 1024

const Framing = { None: 0, Length: 1, Chunked: 2, UntilClose: 3 } as const

/** What an answer needs of the connection that carries it. */
export interface AnswerCarrier {
  readonly writer: SocketWriter
  /** The exchange wants the body (or goes on with it). */
  startBody(): void
  /** The exchange can take no more for now. */
  stopBody(): void
  /** Nobody will read the body: drop what of it has arrived. */
  skipBody(): void
  /** The client takes what it is sent too slowly, or takes it again. */
  stalled(is: boolean): void
  /** The answer is complete: said once. */
  answered(down: Http1Downstream): void
  /** The answer was cut; `untilClose` tells that its body would have ended with the connection. */
  cut(untilClose: boolean): void
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
  /** The answer is complete or cut. */
  finished = false
  /** Another request may follow. */
  keepAlive: boolean
  readonly minor: number
  readonly #connection: AnswerCarrier
  readonly #method: string
  #framing: number = Framing.None
  #left = 0
  #gathered = ''
  #stalled = false

  constructor(connection: AnswerCarrier, method: string, minor: number, keepAlive: boolean, bodyEnded: boolean) {
    this.#connection = connection
    this.#method = method
    this.minor = minor
    this.keepAlive = keepAlive
    this.bodyEnded = bodyEnded
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
    let text = statusLine(head.status)
    text += fieldLines(head.headers)
    if (!head.hasDate) text += `date: ${httpDate()}\r\n`
    const length = head.bodyLength
    if (isBodiless(this.#method, head.status)) {
      // HEAD and 304 may say how long the content would be (RFC 9110 8.6); 204 must not.
      if (length >= 0 && head.status !== 204) text += `content-length: ${length}\r\n`
    } else if (length >= 0) {
      this.#framing = Framing.Length
      this.#left = length
      text += `content-length: ${length}\r\n`
    } else if (this.minor > 0) {
      this.#framing = Framing.Chunked
      text += 'transfer-encoding: chunked\r\n'
    } else {
      this.#framing = Framing.UntilClose
      this.keepAlive = false
    }
    // An unread body would be taken for the next request, or hold the connection until it is read.
    if (!this.bodyEnded && this.keepAlive && this.onChunk === null) this.#connection.skipBody()
    if (!this.bodyEnded) this.keepAlive = false
    if (!this.keepAlive) text += 'connection: close\r\n'
    else if (this.minor === 0) text += 'connection: keep-alive\r\n'
    this.#gathered = `${text}\r\n`
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
    if (length <= SMALL) {
      this.#gathered += before + (chunk as Buffer).toString('latin1') + after
      if (this.#gathered.length > GATHER) this.flush()
      return !this.#stalled
    }
    const text = this.#gathered + before
    this.#gathered = ''
    this.#sent(this.#connection.writer.chunk(text, chunk, after))
    return !this.#stalled
  }

  flush(): void {
    if (this.#gathered === '' || this.finished) return
    const text = this.#gathered
    this.#gathered = ''
    this.#sent(this.#connection.writer.text(text))
  }

  #sent(room: boolean): void {
    if (room || this.#stalled) return
    this.#stalled = true
    this.#connection.stalled(true)
  }

  /** The client took what was written. Called by the connection. */
  drained(): void {
    this.#stalled = false
    this.#connection.stalled(false)
    this.onDrain?.()
  }

  end(trailers: HeaderList | null): void {
    if (this.finished) return
    if (this.#framing === Framing.Length && this.#left > 0) {
      this.abort()
      return
    }
    if (this.#framing === Framing.Chunked) this.#gathered += lastChunk(trailers)
    this.flush()
    this.#finish()
    this.#connection.answered(this)
  }

  abort(): void {
    if (this.finished) return
    this.flush()
    this.aborted = true
    this.#finish()
    this.#connection.cut(this.#framing === Framing.UntilClose)
  }

  close(): void {
    if (!this.started) this.keepAlive = false
  }

  /** The client is gone. Called by the connection. */
  lose(): void {
    if (this.finished) return
    this.aborted = true
    const onAbort = this.onAbort
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
    this.#gathered = ''
    this.onChunk = null
    this.onAbort = null
    this.onDrain = null
  }
}
