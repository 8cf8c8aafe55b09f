// One request on its way to an endpoint: the request's half of the exchange with an upstream connection.
import { Timer, wheel } from '../../clock.ts'
import { GatewayError } from '../../errors.ts'
import { type BodySource, isIdempotent, passingTrailers, type RequestHead } from '../../http/head.ts'
import { lastChunk } from '../../http1/chunked.ts'
import { latin1, requestHead } from '../../http1/serialize.ts'
import type { Call, ResponseSink } from './transport.ts'

/** A chunk up to this joins what is gathered in one string. */
const SMALL = 4096
/** A body up to this is kept until the answer begins, to be sent again where a connection turns out stale. */
const MAX_KEPT = 16 * 1024

/** What a call needs of the connection that carries it. */
export interface Carrier {
  /** Body bytes, borrowed, with what is written around them. False: wait for `drained`. */
  writeChunk(before: string, bytes: Uint8Array, after: string): boolean
  /** Request bytes as latin1 text. */
  writeText(text: string): boolean
  /** After a write that returned false: it failed, and nothing of it went out. */
  readonly failed: boolean
  /** Go on reading. */
  resume(): void
  /** Close now, and say nothing more. */
  destroy(): void
}

/** What a call needs of the pool that finds it a connection. */
export interface CarrierSource {
  /** Send on a connection that was never used. */
  fresh(call: Http1Call): void
  /** Leave the queue: the request was given up. */
  unqueue(call: Http1Call): void
}

/** See Call. Made by the pool, driven by the connection. */
export class Http1Call implements Call {
  readonly head: RequestHead
  readonly sink: ResponseSink
  readonly deadline: number
  /** No callback may come any more. */
  done = false
  /** The whole request was handed to the socket. */
  requestEnded = false
  /** A connection turned out stale: it is owed one that was never used. */
  retried = false
  readonly #pool: CarrierSource
  readonly #host: string
  readonly #body: BodySource
  #connection: Carrier | null = null
  #gathered = ''
  #bodyStarted = false
  #bodyTouched = false
  /** The body as it went out, of a request that may be sent again; null for one that may not, or is too large. */
  #kept: string | null
  /** All that was written, where the kernel took nothing of it: the connection was reset before. */
  #unsent: string | null = null
  /** Nothing was written to the connection so far. */
  #fresh = true
  /** An upstream may have seen it on the connection before. */
  #seen = false
  #waiting: Timer | null = null

  constructor(
    pool: CarrierSource,
    head: RequestHead,
    host: string,
    body: BodySource,
    sink: ResponseSink,
    deadline: number,
  ) {
    this.#pool = pool
    this.head = head
    this.#host = host
    this.#body = body
    this.sink = sink
    this.deadline = deadline
    this.#kept = head.bodyLength <= MAX_KEPT && isIdempotent(head.method) ? '' : null
  }

  /** Wait in the pool's queue for at most `ms`. Called by the pool. */
  wait(ms: number): void {
    this.#waiting ??= new Timer(wheel, () => {
      this.#pool.unqueue(this)
      // The endpoint was never asked; but a stale connection may have taken the body along, which nobody has any more.
      const options = { retryable: !this.#bodyTouched, unsent: true, source: 'gateway' } as const
      this.fail(new GatewayError('SLUICE_UPSTREAM_TIMEOUT', 'no connection became free in time', options))
    })
    this.#waiting.set(Math.min(ms, this.deadline - wheel.time()))
  }

  /** Write the request on a connected socket. Called by the connection. */
  start(connection: Carrier): void {
    this.#waiting?.remove()
    this.#connection = connection
    const length = this.head.bodyLength
    this.#fresh = true
    this.#gathered = this.#unsent ?? requestHead(this.head, this.#host)
    if (this.#unsent !== null) {
      this.#unsent = null
      if (!this.requestEnded) this.#body.resume()
    } else if (length === 0) this.requestEnded = true
    else if (this.#bodyTouched) {
      this.#gathered += this.#kept
      this.requestEnded = true
    } else {
      this.#bodyStarted = true
      this.#body.onChunk = (chunk, last) => this.#onBody(chunk, last)
      // What has arrived with the head comes at once and leaves with it in one write.
      this.#body.resume()
    }
    this.#flush()
  }

  #onBody(chunk: Uint8Array, last: boolean): void {
    const connection = this.#connection
    if (this.done || connection === null) return
    this.#bodyTouched = true
    const length = chunk.length
    const chunked = this.head.bodyLength < 0
    if (last) this.requestEnded = true
    const before = chunked && length > 0 ? `${length.toString(16)}\r\n` : ''
    let after = before === '' ? '' : '\r\n'
    if (chunked && last) after += lastChunk(passingTrailers(this.head, this.#body.trailers))
    if (this.#kept !== null && this.#kept.length + length > MAX_KEPT) this.#kept = null
    if (length <= SMALL) {
      const fresh = this.#gathered === ''
      const text = before + latin1(chunk) + after
      if (this.#kept !== null) this.#kept += text
      this.#gathered += text
      // While `start` gathers, the flush is its own.
      if (fresh || this.#gathered.length > 2 * SMALL) this.#flush()
      return
    }
    if (this.#kept !== null) this.#kept += before + latin1(chunk) + after
    const text = this.#gathered + before
    this.#gathered = ''
    if (!connection.writeChunk(text, chunk, after)) {
      if (!last) this.#body.pause()
      if (this.#fresh && connection.failed) this.#unsent = text + latin1(chunk) + after
    }
    this.#fresh = false
  }

  #flush(): void {
    const connection = this.#connection
    if (this.#gathered === '' || connection === null) return
    const text = this.#gathered
    this.#gathered = ''
    if (!connection.writeText(text)) {
      if (!this.requestEnded) this.#body.pause()
      if (this.#fresh && connection.failed) this.#unsent = text
    }
    this.#fresh = false
  }

  /** The socket takes more. Called by the connection. */
  drained(): void {
    if (this.#bodyStarted && !this.requestEnded && !this.done) this.#body.resume()
  }

  /** May this request be sent on another connection after this one closed without a byte of answer (RFC 9112 9.3.1)? */
  mayRestart(): boolean {
    if (this.retried) return false
    if (this.#unsent !== null) return true
    if (!isIdempotent(this.head.method)) return false
    return !this.#bodyTouched || (this.requestEnded && this.#kept !== null)
  }

  /** Send again on a fresh connection. Called by the connection. */
  restart(): void {
    this.retried = true
    this.#connection = null
    if (this.#unsent === null) {
      this.#seen = true
      this.requestEnded = false
    }
    if (this.#bodyStarted && !this.#bodyTouched) this.#body.pause()
    this.#pool.fresh(this)
  }

  /** End with an error. */
  fail(error: GatewayError): void {
    if (this.done) return
    const unread = this.#bodyStarted && !this.requestEnded
    this.finish()
    // What comes from here on is another attempt's: before that begins nobody would take it.
    if (unread) this.#body.pause()
    this.sink.onError(error)
  }

  resume(): void {
    if (!this.done) this.#connection?.resume()
  }

  abort(): void {
    if (this.done) return
    const connection = this.#connection
    this.finish()
    if (connection === null) this.#pool.unqueue(this)
    else connection.destroy()
  }

  /** The connection that will carry it, before it is connected. Called by the connection. */
  assign(connection: Carrier): void {
    this.#waiting?.remove()
    this.#connection = connection
  }

  /** It is over; nobody is told. Called by the connection when the answer is complete. */
  finish(): void {
    this.done = true
    this.#connection = null
    this.#waiting?.remove()
    if (this.#bodyStarted) this.#body.onChunk = null
  }

  /** The error for a connection that broke before the answer was complete; one that had begun is not asked for again. */
  broken(
    code: 'SLUICE_UPSTREAM_RESET' | 'SLUICE_UPSTREAM_CONNECT' | 'SLUICE_UPSTREAM_TIMEOUT',
    message: string,
    unsent: boolean,
    answerBegun = false,
  ): GatewayError {
    return new GatewayError(code, message, {
      retryable: !(this.#bodyTouched || answerBegun),
      unsent: unsent && !this.#seen,
    })
  }
}
