// One connection to an endpoint: the strict reader of answers, and the rules for when it may be used again.
//
// Over 300 lines because reading is one state machine: where an answer ends must be decided in one place.
import type { Socket } from 'node:net'
import { Timer, wheel } from '../../clock.ts'
import { GatewayError } from '../../errors.ts'
import { type HeaderList, isBodiless } from '../../http/head.ts'
import { BROKEN, ChunkedDecoder, DATA, END } from '../../http1/chunked.ts'
import { HeadParser, INCOMPLETE, INVALID } from '../../http1/head-parser.ts'
import { SocketWriter } from '../../http1/socket-writer.ts'
import type { Http1Call } from './call.ts'
import { readRemains, wasReset } from './remains.ts'
import type { TransportOptions } from './transport.ts'

const parser = new HeadParser()
const LIMITS = { bytes: 64 * 1024, count: 256 }
const EMPTY = Buffer.alloc(0)

const Phase = { Connecting: 0, Idle: 1, Head: 2, Body: 3, Dead: 4 } as const
const Body = { Length: 0, Chunked: 1, UntilClose: 2 } as const

/** A timer may fire so many milliseconds before its deadline (clock.ts). */
const DEADLINE_MISSED = 20

/** What a connection needs of the pool that it belongs to. */
export interface ConnectionPool {
  readonly options: TransportOptions
  /** It is clean and free. */
  release(connection: UpstreamConnection): void
  /** It is gone, or was free and is closing: nobody may get it from here on. */
  forget(connection: UpstreamConnection): void
}

/** See the head of this file. */
export class UpstreamConnection {
  readonly #pool: ConnectionPool
  readonly #timer: Timer
  #socket!: Socket
  #writer!: SocketWriter
  #phase: number = Phase.Connecting
  #call: Http1Call | null = null
  /** Answered a request before: a close without a byte of answer then means stale and not refused. */
  #used = false
  #answerBegun = false
  #body: number = Body.Length
  #left = 0
  #decoder: ChunkedDecoder | null = null
  #partial: Buffer = EMPTY
  #keepAlive = false
  /** Milliseconds that it may be idle. */
  #idle = 0
  #paused = false
  /** The socket takes more of the request. */
  #room = true
  /** Something of the request went out. */
  #sent = false
  #failure: NodeJS.ErrnoException | null = null

  constructor(pool: ConnectionPool) {
    this.#pool = pool
    this.#timer = new Timer(wheel, () => this.#timeout())
  }

  /** Take over a socket that is being connected. */
  attach(socket: Socket): void {
    this.#socket = socket
    socket.on(this.#pool.options.scheme === 'https' ? 'secureConnect' : 'connect', () => this.#connected())
    socket.on('end', () => this.#ended())
    socket.on('error', error => {
      this.#failure = error
      if (this.#phase === Phase.Idle) this.destroy()
    })
    socket.on('close', () => this.#closed())
  }

  /** Carry this request: at once, or as soon as the connection stands. Called by the pool. */
  begin(call: Http1Call): void {
    this.#call = call
    this.#answerBegun = false
    this.#sent = false
    this.#keepAlive = false
    if (this.#phase === Phase.Connecting) {
      call.assign(this)
      this.#arm(this.#pool.options.timeouts.connect)
      return
    }
    this.#phase = Phase.Head
    call.start(this)
  }

  /** Wait for `ms` at most, and never past the request's deadline. */
  #arm(ms: number): void {
    const call = this.#call
    this.#timer.set(call === null ? ms : Math.min(ms, call.deadline - wheel.time()))
  }

  #connected(): void {
    const plain = this.#pool.options.scheme === 'http'
    this.#writer = new SocketWriter(
      this.#socket,
      plain,
      () => this.#drained(),
      () => this.#broken(plain),
    )
    const call = this.#call
    if (call === null) {
      this.destroy()
      return
    }
    this.#phase = Phase.Head
    call.start(this)
  }

  /** Body bytes, borrowed, with what is written around them. False: wait for `drained`. Called by the call. */
  writeChunk(before: string, bytes: Uint8Array, after: string): boolean {
    return this.#wrote(this.#writer.chunk(before, bytes, after))
  }

  /** Request bytes as latin1 text. Called by the call. */
  writeText(text: string): boolean {
    return this.#wrote(this.#writer.text(text))
  }

  get failed(): boolean {
    return this.#writer.failed
  }

  /**
   * Until the request is whole, the upstream owes us room, and the client the next bytes; from then on the upstream owes
   * us an answer.
   */
  #wrote(room: boolean): boolean {
    const call = this.#call
    if (call === null) return room
    this.#room = room
    if (room) this.#sent = true
    const { response, idle } = this.#pool.options.timeouts
    if (this.#phase === Phase.Head) this.#arm(call.requestEnded ? response : idle)
    else if (this.#phase === Phase.Body && !this.#paused) this.#arm(idle)
    return room
  }

  #drained(): void {
    this.#wrote(true)
    this.#call?.drained()
  }

  /**
   * A write failed. The upstream may have answered before it closed, a 413 say; but what it sent before it could know of
   * this request is no answer to it.
   */
  #broken(plain: boolean): void {
    if (this.#used && !this.#sent) return
    readRemains(this.#socket, plain ? (bytes, length) => this.read(bytes, length) : null)
  }

  /** `length` bytes of a borrowed buffer. */
  read(bytes: Buffer, length: number): void {
    const call = this.#call
    // Bytes that nobody asked for: whatever they are, they answer no request of ours.
    if (call === null || this.#phase === Phase.Idle) {
      this.destroy()
      return
    }
    if (this.#phase === Phase.Dead) return
    this.#answerBegun = true
    let at = 0
    if (this.#phase === Phase.Head) {
      at = this.#readHead(call, bytes, length)
      if (at < 0) return
      if (this.#partial.length > 0) {
        // The head ended in what was held together; the rest of that is body.
        bytes = this.#partial
        length = bytes.length
        this.#partial = EMPTY
      }
    } else if (this.#phase === Phase.Body) this.#arm(this.#pool.options.timeouts.idle)
    if (this.#phase === Phase.Body) this.#readBody(call, bytes, at, length)
    call.sink.onReadEnd()
  }

  /** Read heads up to the final one. Returns the offset after it, or -1 when there is nothing more to do. */
  #readHead(call: Http1Call, bytes: Buffer, length: number): number {
    let at = 0
    if (this.#partial.length > 0) {
      const newline = bytes.indexOf(10)
      this.#partial = Buffer.concat([this.#partial, bytes.subarray(0, length)])
      if ((newline < 0 || newline >= length) && this.#partial.length <= LIMITS.bytes) return -1
      bytes = this.#partial
      length = bytes.length
    }
    for (;;) {
      const next = parser.response(bytes, at, length, LIMITS)
      if (next === INCOMPLETE) {
        this.#partial = Buffer.from(bytes.subarray(at, length))
        return -1
      }
      if (next === INVALID) {
        this.#malformed(call, parser.reason)
        return -1
      }
      at = next
      const status = parser.status
      if (status >= 200) break
      // We never asked to switch (RFC 9110 15.2.2), and an interim answer has no body to frame.
      if (status === 101 || parser.chunked || parser.contentLength >= 0) {
        this.#malformed(call, `unexpected ${status} answer`)
        return -1
      }
    }
    if (parser.status === 407) {
      this.#malformed(call, 'a 407 is the business of a forward proxy')
      return -1
    }
    this.#answer(call)
    return at
  }

  /** The final head is in the parser: settle framing and reuse (RFC 9112 6.3, 9.3), then pass it on. */
  #answer(call: Http1Call): void {
    const { status, chunked, contentLength } = parser
    this.#keepAlive = parser.minor > 0 ? !parser.close : parser.keepAlive && !parser.close
    this.#idle = this.#pool.options.connections.idle
    if (parser.idleSeconds >= 0) this.#idle = Math.min(this.#idle, safelyIdle(parser.idleSeconds * 1000))
    const bodiless = isBodiless(call.head.method, status)
    this.#phase = Phase.Body
    this.#decoder = null
    if (bodiless) {
      this.#body = Body.Length
      this.#left = 0
      // It must not announce a body (RFC 9110 8.6): one may follow, and would answer whoever comes next.
      if (status === 204 && (chunked || contentLength > 0)) this.#keepAlive = false
    } else if (parser.foreignCoding) {
      this.#malformed(call, 'Transfer-Encoding is not exactly one chunked')
      return
    } else if (chunked) {
      this.#body = Body.Chunked
      this.#decoder = new ChunkedDecoder(true)
    } else if (contentLength >= 0) {
      this.#body = Body.Length
      this.#left = contentLength
    } else {
      this.#body = Body.UntilClose
      this.#keepAlive = false
    }
    this.#arm(this.#pool.options.timeouts.idle)
    call.sink.onHead({
      status,
      hasDate: parser.hasDate,
      headers: parser.headers,
      bodyLength: contentLength,
    })
  }

  #readBody(call: Http1Call, bytes: Buffer, at: number, end: number): void {
    if (this.#body === Body.Length) {
      const taken = Math.min(this.#left, end - at)
      this.#left -= taken
      if (taken > 0) this.#pass(call, bytes.subarray(at, at + taken))
      if (this.#left === 0) this.#complete(call, null, at + taken === end)
      return
    }
    const decoder = this.#decoder
    if (decoder === null) {
      if (at < end) this.#pass(call, bytes.subarray(at, end))
      return
    }
    for (;;) {
      const event = decoder.step(bytes, at, end)
      at = decoder.position
      if (event === DATA) this.#pass(call, bytes.subarray(decoder.from, at))
      else if (event === END) {
        this.#complete(call, decoder.trailers, at === end)
        return
      } else {
        if (event === BROKEN) this.#malformed(call, decoder.reason)
        return
      }
      if (call.done) return
    }
  }

  #pass(call: Http1Call, chunk: Uint8Array): void {
    if (call.done) return
    if (!call.sink.onChunk(chunk) && !this.#paused && this.#call === call) {
      this.#paused = true
      this.#arm(Number.POSITIVE_INFINITY)
      this.#socket.pause()
    }
  }

  /** Go on reading. Called by the call. */
  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#arm(this.#pool.options.timeouts.idle)
    this.#socket.resume()
  }

  /** The answer is whole. Bytes behind it, or a request that is not yet sent, rule out using the connection again. */
  #complete(call: Http1Call, trailers: HeaderList | null, clean: boolean): void {
    if (call.done) return
    const reusable = clean && this.#keepAlive && call.requestEnded
    this.#call = null
    this.#used = true
    call.finish()
    if (reusable) {
      this.#phase = Phase.Idle
      if (this.#paused) this.resume()
      this.#timer.set(this.#idle)
      this.#pool.release(this)
    } else this.destroy()
    call.sink.onEnd(trailers)
  }

  #malformed(call: Http1Call, reason: string): void {
    this.#call = null
    this.destroy()
    call.fail(new GatewayError('SLUICE_UPSTREAM_PROTOCOL', reason))
  }

  /** The upstream sent its FIN, or what looks like one. */
  #ended(): void {
    const call = this.#call
    const whole = this.#phase === Phase.Body && this.#body === Body.UntilClose
    if (call !== null && whole && !wasReset(this.#socket)) {
      this.#complete(call, null, false)
      call.sink.onReadEnd()
    } else if (this.#phase === Phase.Idle) this.destroy()
    else this.#socket.destroy()
  }

  #closed(): void {
    this.#timer.remove()
    const phase = this.#phase
    const call = this.#call
    this.#phase = Phase.Dead
    this.#call = null
    this.#pool.forget(this)
    if (call === null || call.done) return
    const reason = this.#failure?.code ?? this.#failure?.message ?? 'closed'
    if (phase === Phase.Connecting) {
      call.fail(call.broken('SLUICE_UPSTREAM_CONNECT', `cannot connect: ${reason}`, true))
    } else if (this.#used && !this.#answerBegun && call.mayRestart()) call.restart()
    else call.fail(call.broken('SLUICE_UPSTREAM_RESET', `connection lost: ${reason}`, false, this.#answerBegun))
  }

  #timeout(): void {
    const call = this.#call
    if (call === null) {
      this.destroy()
      return
    }
    this.#call = null
    const phase = this.#phase
    const sending = phase === Phase.Head && !call.requestEnded && this.#room
    const clients = sending || (phase === Phase.Body && this.#paused)
    this.destroy()
    if (clients) {
      call.fail(clientsDelay(sending, call.deadline - wheel.time() < DEADLINE_MISSED))
      return
    }
    const connecting = phase === Phase.Connecting
    const what = connecting ? 'no connection' : phase === Phase.Head ? 'no answer' : 'no further bytes'
    call.fail(call.broken('SLUICE_UPSTREAM_TIMEOUT', `${what} in time`, connecting))
  }

  /** Close now; whoever was carried hears nothing from here. */
  destroy(): void {
    const idle = this.#phase === Phase.Idle
    this.#phase = Phase.Dead
    this.#call = null
    this.#timer.remove()
    this.#socket.destroy()
    // Its close is told at the end of this turn of the loop: a request that comes before must not go out on it.
    if (idle) this.#pool.forget(this)
  }
}

/** Less than the upstream closes it after: a request must not meet its FIN on the way. */
function safelyIdle(ms: number): number {
  return Math.max(ms - 1000, ms / 2)
}

/** It was the client who was waited for: to send on (`sending`), or to take what came, until `late`, the route's time. */
function clientsDelay(sending: boolean, late: boolean): GatewayError {
  if (sending && !late) return new GatewayError('SLUICE_REQUEST_TIMEOUT', 'the body stopped arriving')
  const what = sending ? 'the body did not arrive' : 'the client did not take the answer'
  return new GatewayError('SLUICE_UPSTREAM_TIMEOUT', `${what} in time`, { source: 'client' })
}
