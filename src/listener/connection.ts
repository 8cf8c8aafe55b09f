// One client connection of the native engine: heads in order, bodies, pipelining, half-close and its timeouts.
//
// Over 300 lines because reading is one state machine: which bytes are a head, a body, or the next request must be
// decided in one place, or two places decide differently.
//
// A client that does not wait for answers (pipelining) has its safe requests served side by side (RFC 9112 9.3.2), so that
// their answers, sent in the order asked, can share writes; a request that is not safe has its turn after all before it.
import type { Socket } from 'node:net'
import { Timer, wheel } from '../clock.ts'
import { GatewayError } from '../errors.ts'
import type { Receiver } from '../http/downstream.ts'
import type { RequestHead } from '../http/head.ts'
import { BROKEN, ChunkedDecoder, DATA, END } from '../http1/chunked.ts'
import { HeadParser, INCOMPLETE, INVALID } from '../http1/head-parser.ts'
import { SocketWriter } from '../http1/socket-writer.ts'
import { Http1Downstream } from './answer-writer.ts'
import { bodyLimit, type ListenerOptions } from './listener.ts'

const parser = new HeadParser()
const EMPTY = Buffer.alloc(0)

/** Connections whose answers go out together at the end of this turn of the loop. */
let joining: Connection[] = []

function writeJoined(): void {
  const due = joining
  joining = []
  for (const connection of due) connection.writeJoined()
}

const HEAD = /^(?:\r\n)?HEAD /

/** An IPv4 address as such, though it came to a socket of both kinds. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** Methods that may be served in any order (RFC 9110 9.2.1). */
function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/** Answers that are complete are written, though others are to follow at once, when they measure this much. */
const MAX_JOINED = 64 * 1024
/** Bytes of later requests held while one is being answered; past it the socket is not read. */
const MAX_AHEAD = 64 * 1024
/** How long a socket with requests ahead goes unread while one of them is answered. */
const LOOK = 500
/** Smallest buffer for them. */
const MIN_HELD = 1024
/**
 * After the last answer, what the client still sends is read and thrown away until it is silent for this long, or has
 * sent for that long: common clients write a body to its end before they look for an answer (RFC 9112 9.6).
 */
const LINGER_TIME = 1000
const MAX_LINGER = 30_000
/** How long after a client's FIN its silence is taken for a half-close; then it is probed (see `#probe`). */
const HALF_CLOSE_GRACE = 500
/** In which a client that is gone has answered a probe, and how long after that the next one is sent. */
const PROBE_ANSWER = 100
const PROBE_AGAIN = 5000

/**
 * A drain waits so long for the first request of a client that has just come: it may be on its way, and clients send
 * again on another connection only what failed on a used one (RFC 9112 9.3.1).
 */
const JUST_COME = 500

const Phase = {
  /** Between requests. */
  Idle: 0,
  /** Some bytes of a head are here. */
  Head: 1,
  /** A request is being answered; its body may still arrive. */
  Exchange: 2,
  /** Nothing more is read as a request: the last answer goes out, or went out. */
  Closing: 3,
} as const

/** What a connection needs of the listener that it belongs to. */
export interface ConnectionOwner {
  readonly draining: boolean
  forget(connection: Connection): void
}

/** See the head of this file. */
export class Connection {
  readonly options: ListenerOptions
  socket!: Socket
  writer!: SocketWriter
  readonly #receiver: Receiver
  readonly #owner: ConnectionOwner
  readonly #timer: Timer
  readonly #limits: { bytes: number; count: number }
  readonly #maxBody: number
  #remoteAddress = ''
  #phase: number = Phase.Idle
  /** The exchange whose answer is next. */
  #current: Http1Downstream | null = null
  /** Exchanges behind it, in the order asked: only where it and they are safe and without a body. */
  readonly #behind: Http1Downstream[] = []
  #safe = false
  /** Complete answers that are not written yet: at the end of this turn of the loop they are. */
  #joined = ''
  /** The bytes in view, `[at, end)`: borrowed during a read; between reads a copy of what could not be used yet. */
  #bytes: Buffer = EMPTY
  #own: Buffer = EMPTY
  #at = 0
  #end = 0
  #pumping = false
  #delivering = false
  #bodyLeft = 0
  #bodyRead = 0
  #decoder: ChunkedDecoder | null = null
  #flowing = false
  #continueDue = false
  #finReceived = false
  /** When no more is read after the last answer, by the wheel's clock. */
  #lingerUntil = 0
  /** What comes of the body is dropped, good or bad: the answer is known. */
  #skipping = false
  #stalled = false
  /** The socket is not read, because requests are held that came before their turn. */
  #ahead = false
  #probed = false
  #lastWritten = 0
  readonly #cameAt = wheel.time()

  constructor(options: ListenerOptions, receiver: Receiver, owner: ConnectionOwner) {
    this.options = options
    this.#receiver = receiver
    this.#owner = owner
    this.#limits = { bytes: options.limits.headers, count: options.limits.headerCount }
    this.#maxBody = bodyLimit(options)
    this.#timer = new Timer(wheel, () => this.#timeout())
  }

  /** Take over a socket that begins to be read after this. */
  attach(socket: Socket): void {
    this.socket = socket
    this.writer = new SocketWriter(socket, true, () => this.#drained())
    this.#timer.set(this.options.timeouts.idle)
    socket.on('end', () => this.#fin())
    // The reason does not matter: whatever ended the socket, the client is gone.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#close())
    this.#remoteAddress = unmapped(socket.remoteAddress ?? '')
    // Reset before it was accepted: the system still has what was sent, but not by whom, and no rule on addresses would
    // hold. Nobody waits for an answer.
    if (this.#remoteAddress === '') socket.destroy()
  }

  /** `length` bytes of a borrowed buffer: what is left over at the end is copied. */
  read(bytes: Buffer, length: number): void {
    if (this.#phase === Phase.Closing) {
      this.#linger()
      return
    }
    if (this.#at === this.#end) {
      this.#bytes = bytes
      this.#at = 0
      this.#end = length
    } else {
      this.#hold(bytes, 0, length)
      // Only a new line can complete or spoil a head that was good so far, but for its size.
      const waiting = this.#phase === Phase.Head && this.#end - this.#at <= this.#limits.bytes
      if (waiting && !bytes.subarray(0, length).includes(10)) return
    }
    this.#pump()
    if (this.#at === this.#end) this.#bytes = EMPTY
    else if (this.#bytes === bytes) {
      const from = this.#at
      this.#at = this.#end = 0
      this.#hold(bytes, from, length)
    }
    if (this.#at < this.#end && (this.#phase === Phase.Exchange || this.#stalled)) this.#getAhead()
  }

  /**
   * Copy bytes behind those that are held. The copy's buffer is kept and grows: a client that pipelines sends a little
   * with each read, and a new buffer for each would cost more than the request.
   */
  #hold(bytes: Buffer, from: number, to: number): void {
    const held = this.#end - this.#at
    const length = held + to - from
    let own = this.#own
    if (own.length < length) own = Buffer.allocUnsafeSlow(Math.max(MIN_HELD, 2 ** Math.ceil(Math.log2(length))))
    if (own !== this.#own || this.#end + to - from > own.length) {
      if (held > 0) this.#bytes.copy(own, 0, this.#at, this.#end)
      this.#at = 0
      this.#end = held
      this.#own = own
    }
    bytes.copy(own, this.#end, from, to)
    this.#bytes = own
    this.#end += to - from
  }

  /**
   * More is here than the exchange can use: stop reading. What follows is then read at once when it is its turn, and
   * not in as many pieces as the client sent; and a client cannot fill our memory with requests.
   */
  #getAhead(): void {
    if (this.#bodyPending()) {
      if (this.#end - this.#at > MAX_AHEAD && !this.socket.isPaused()) {
        this.socket.pause()
        this.#expect(HALF_CLOSE_GRACE)
      }
    } else if (!this.#ahead) {
      this.#ahead = true
      this.socket.pause()
      this.#expect(LOOK)
    }
  }

  /** Use the bytes in view: a body that flows, then further requests, in order and never nested. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    while (this.#at < this.#end) {
      const before = this.#at
      if (this.#phase === Phase.Exchange) {
        if (!this.#bodyPending()) this.#lookAhead()
        else if (this.#flowing) this.#readBody()
      } else if (this.#phase === Phase.Closing) this.#at = this.#end
      else if (!this.#stalled) this.#parse()
      if (this.#at === before) break
    }
    this.#pumping = false
    if (this.#finReceived) this.#afterFin()
    else if (this.#ahead) {
      if (this.#at === this.#end || (this.#phase !== Phase.Exchange && !this.#stalled)) this.#readOn()
    } else if (this.#end - this.#at <= MAX_AHEAD && (this.#flowing || !this.#bodyPending()) && this.socket.isPaused()) {
      this.socket.resume()
    }
  }

  #readOn(): void {
    this.#ahead = false
    this.socket.resume()
  }

  /** Try to read one head and hand it on. */
  #parse(): void {
    const next = parser.request(this.#bytes, this.#at, this.#end, this.#limits)
    if (next === INCOMPLETE) {
      // An empty line behind a request begins no other one (RFC 9112 2.2): who waits behind it is idle.
      const begun = this.#end - this.#at > 2 || this.#bytes[this.#at] !== 13
      if (begun && this.#phase === Phase.Idle) {
        this.#phase = Phase.Head
        this.#timer.set(this.options.timeouts.requestHeader)
      }
      return
    }
    if (next === INVALID) {
      this.#refuse(new GatewayError(parser.error, parser.reason))
      return
    }
    this.#at = next
    this.#begin(null)
  }

  /**
   * Begin the next request while others are under way, where all of them are safe. What is not safe, not good or not
   * complete is left, and read again when it is its turn.
   */
  #lookAhead(): void {
    const last = this.#behind.at(-1) ?? this.#current!
    if (!this.#safe || !last.keepAlive || this.#stalled || this.#owner.draining) return
    if (this.#behind.length + 1 >= this.options.limits.pipelining) return
    const next = parser.request(this.#bytes, this.#at, this.#end, this.#limits)
    if (next === INCOMPLETE || next === INVALID) return
    if (!isSafe(parser.method) || parser.chunked || parser.contentLength > 0 || parser.minor === 0) return
    this.#at = next
    this.#begin(last)
  }

  /** Begin the request that was parsed, as the current one or behind others. */
  #begin(before: Http1Downstream | null): void {
    const chunked = parser.chunked
    const length = chunked ? -1 : Math.max(parser.contentLength, 0)
    const head: RequestHead = {
      method: parser.method,
      rawPath: parser.path,
      path: parser.path,
      query: parser.query,
      hasQuery: parser.hasQuery,
      minor: parser.minor,
      secure: false,
      host: parser.host,
      remoteAddress: this.#remoteAddress,
      headers: parser.headers,
      bodyLength: length,
      hasUnderscore: parser.hasUnderscore,
      acceptsTrailers: parser.acceptsTrailers,
    }
    const keepAlive = !parser.close && !parser.upgrade && !this.#owner.draining && (head.minor > 0 || parser.keepAlive)
    const down = new Http1Downstream(this, head.method, head.minor, keepAlive, length === 0, before === null)
    if (before !== null) {
      this.#behind.push(down)
      this.#receiver.receive(head, down)
      return
    }
    this.#current = down
    this.#safe = length === 0 && head.minor > 0 && isSafe(head.method)
    this.#phase = Phase.Exchange
    this.#bodyRead = 0
    this.#bodyLeft = chunked ? 0 : length
    this.#decoder = chunked ? new ChunkedDecoder() : null
    this.#flowing = false
    this.#continueDue = parser.expectContinue && length !== 0 && head.minor > 0
    if (length === 0) this.#timer.set(this.#ahead ? LOOK : Number.POSITIVE_INFINITY)
    else this.#timer.set(this.options.timeouts.idle)
    if (length > this.#maxBody) {
      down.close()
      this.#receiver.refuse(new GatewayError('SLUICE_BODY_TOO_LARGE', `Content-Length ${length}`), down)
    } else this.#receiver.receive(head, down)
  }

  /** Answer bytes that are no request, and read nothing more. */
  #refuse(error: GatewayError): void {
    // An answer to HEAD has no content, not even this one (RFC 9110 9.3.2).
    const method = HEAD.test(this.#bytes.toString('latin1', this.#at, Math.min(this.#at + 8, this.#end)))
      ? 'HEAD'
      : 'GET'
    const down = new Http1Downstream(this, method, 1, false, true)
    this.#current = down
    this.#phase = Phase.Exchange
    this.#decoder = null
    this.#bodyLeft = 0
    this.#at = this.#end
    this.#timer.clear()
    this.#receiver.refuse(error, down)
  }

  #bodyPending(): boolean {
    const current = this.#current
    return current !== null && !current.bodyEnded
  }

  /** Deliver body bytes in view for as long as they flow. */
  #readBody(): void {
    if (this.#delivering) return
    this.#delivering = true
    const down = this.#current!
    this.#continueDue = false
    this.#expect(this.options.timeouts.idle)
    while (this.#flowing && this.#at < this.#end && !down.bodyEnded && !down.finished) {
      const from = this.#at
      const decoder = this.#decoder
      if (decoder === null) {
        const taken = Math.min(this.#bodyLeft, this.#end - from)
        this.#bodyLeft -= taken
        this.#at = from + taken
        const last = this.#bodyLeft === 0
        if (last) this.#bodyDone(down)
        down.onChunk?.(this.#bytes.subarray(from, from + taken), last)
        continue
      }
      const event = decoder.step(this.#bytes, from, this.#end)
      if (event === BROKEN) {
        this.#bodyFault(down, new GatewayError(decoder.error, decoder.reason))
        break
      }
      this.#at = decoder.position
      if (event === DATA) {
        this.#bodyRead += decoder.position - decoder.from
        if (this.#bodyRead > this.#maxBody) {
          this.#bodyFault(down, new GatewayError('SLUICE_BODY_TOO_LARGE', 'the chunked body passed the limit'))
          break
        }
        down.onChunk?.(this.#bytes.subarray(decoder.from, decoder.position), false)
      } else if (event === END) {
        down.trailers = decoder.trailers
        this.#bodyDone(down)
        down.onChunk?.(EMPTY, true)
      }
    }
    this.#delivering = false
  }

  #bodyDone(down: Http1Downstream): void {
    down.bodyEnded = true
    this.#decoder = null
    this.#expect(this.#ahead ? LOOK : Number.POSITIVE_INFINITY)
  }

  /** The body cannot go on: the exchange may still answer, but this connection reads no further request. */
  #bodyFault(down: Http1Downstream, error: GatewayError): void {
    this.#decoder = null
    this.#flowing = false
    this.#at = this.#end
    this.#timer.clear()
    if (this.#skipping) return
    down.close()
    down.fail(error)
  }

  /** The exchange wants the body (or goes on with it). Called by the downstream. */
  startBody(): void {
    if (this.#continueDue) {
      this.#continueDue = false
      this.text('HTTP/1.1 100 Continue\r\n\r\n')
    }
    if (this.#flowing) return
    this.#flowing = true
    // From here on it is the client who is waited for, for as long as anybody who sends a body.
    this.#expect(this.options.timeouts.idle)
    if (this.#at < this.#end) this.#readBody()
    // Inside a read the pump goes on by itself; outside it has to be told.
    if (!this.#pumping) this.#pump()
  }

  /** Wait so long for more of the client's bytes; not where it is waited for already, to take ours. */
  #expect(ms: number): void {
    if (!this.#stalled) this.#timer.set(ms)
  }

  /** Nobody will read the body: drop what of it has arrived, so that a small one does not cost the connection. */
  skipBody(): void {
    if (this.#flowing || this.#continueDue || this.#at === this.#end) return
    this.#flowing = true
    this.#skipping = true
    this.#readBody()
    this.#skipping = false
  }

  /** The exchange can take no more for now. Called by the downstream. */
  stopBody(): void {
    if (!this.#flowing || !this.#bodyPending()) return
    this.#flowing = false
    this.#expect(HALF_CLOSE_GRACE)
    this.socket.pause()
  }

  /** An answer is complete, or was cut. Called by the downstream, once. */
  answered(done: Http1Downstream): void {
    if (this.#current !== done) return
    let down = done
    for (;;) {
      const next = this.#behind.shift() ?? null
      this.#current = next
      this.#join(down.take(), next !== null)
      if (down.aborted) {
        this.#cut(down.untilClose)
        return
      }
      if (!down.keepAlive || !down.bodyEnded || (next === null && this.#owner.draining)) {
        this.#finishWriting()
        // Unread bytes at close would make the kernel reset the connection and take the answer with it.
        if (!this.#finReceived && this.socket.isPaused()) this.socket.resume()
        return
      }
      if (next === null) break
      next.begin()
      if (!next.finished) break
      down = next
    }
    if (this.#current === null) {
      this.#phase = Phase.Idle
      this.#flowing = false
      this.#timer.set(this.options.timeouts.idle)
    }
    if (!this.#pumping && (this.#at < this.#end || this.#finReceived || this.socket.isPaused())) this.#pump()
  }

  /** Write the end of an answer: at once, or where others follow, together with those that are complete in this turn of the loop. */
  #join(text: string, more: boolean): void {
    if (more && this.#joined === '') {
      if (joining.length === 0) setImmediate(writeJoined)
      joining.push(this)
    }
    this.#joined += text
    if (!more || this.#joined.length > MAX_JOINED) this.writeJoined()
  }

  /** Called at the end of a turn of the loop, and before anything else is written. */
  writeJoined(): void {
    if (this.#joined !== '') this.text('')
  }

  /** Write latin1 text, behind what waits to be written. False: wait for the drain. Called by the downstream. */
  text(text: string): boolean {
    const joined = this.#joined
    this.#joined = ''
    const room = this.writer.text(joined + text)
    if (!room) this.#stall()
    return room
  }

  /** Like `text`, for borrowed bytes between two texts. Called by the downstream. */
  chunk(before: string, bytes: Uint8Array, after: string): boolean {
    const joined = this.#joined
    this.#joined = ''
    const room = this.writer.chunk(joined + before, bytes, after)
    if (!room) this.#stall()
    return room
  }

  /**
   * The answer was cut: the client must see a connection that ends early. Where the end of the connection is the
   * end of the body, only a reset tells (RFC 9112 8).
   */
  #cut(untilClose: boolean): void {
    if (untilClose) {
      this.#loseBehind()
      this.writer.reset()
    } else this.#finishWriting()
  }

  /** No answer follows: exchanges that were begun in advance are not answered any more, and may be asked again. */
  #loseBehind(): void {
    this.#current?.lose()
    this.#current = null
    for (const down of this.#behind.splice(0)) down.lose()
  }

  /** Send what is written and the FIN; read on a little so that the client can take it. */
  #finishWriting(): void {
    this.#loseBehind()
    this.writeJoined()
    this.#phase = Phase.Closing
    this.#at = this.#end
    this.writer.end()
    this.#lastWritten = this.writer.taken
    this.#lingerUntil = wheel.time() + MAX_LINGER
    this.#timer.set(this.writer.pending > 0 ? this.options.timeouts.idle : LINGER_TIME)
  }

  /** The client takes what it is sent too slowly: until it does, no further request is begun. */
  #stall(): void {
    if (this.#stalled) return
    this.#stalled = true
    this.#lastWritten = this.writer.taken
    this.#timer.set(this.options.timeouts.idle)
  }

  /** The client has taken all that was written. */
  #drained(): void {
    if (!this.#stalled) return
    this.#stalled = false
    if (this.#phase !== Phase.Closing) {
      const { idle, requestHeader } = this.options.timeouts
      if (this.#finReceived) this.#timer.set(HALF_CLOSE_GRACE)
      else if (this.#current === null) this.#timer.set(this.#phase === Phase.Head ? requestHeader : idle)
      else if (this.#ahead) this.#timer.set(LOOK)
      else if (!this.#bodyPending()) this.#timer.clear()
      else this.#timer.set(this.socket.isPaused() ? HALF_CLOSE_GRACE : idle)
    }
    this.#current?.drained()
    if (!this.#pumping && this.#at < this.#end) this.#pump()
  }

  #linger(): void {
    if (this.writer.pending > 0) return
    const left = this.#lingerUntil - wheel.time()
    if (left <= 0) this.socket.destroy()
    else this.#timer.set(Math.min(LINGER_TIME, left))
  }

  /** The client sent its FIN. */
  #fin(): void {
    this.#finReceived = true
    if (this.#phase !== Phase.Closing) this.#afterFin()
  }

  /** Nothing more will be read: settle what that means for what is under way. */
  #afterFin(): void {
    const current = this.#current
    if (current === null) {
      const due = this.#stalled && this.#at < this.#end
      if (this.#phase !== Phase.Closing && !due) this.#finishWriting()
    } else if (!current.bodyEnded && this.#at === this.#end) {
      // The body can no longer become whole: for the upstream this is an abort, never an end (RFC 9112 8).
      this.#current = null
      this.#phase = Phase.Closing
      current.lose()
      this.destroy()
    } else if (!this.#stalled) {
      this.#probed = false
      this.#lastWritten = this.writer.taken
      this.#timer.set(HALF_CLOSE_GRACE)
    }
  }

  /**
   * A FIN while the answer is due is a half-close (the client still reads) or the end of the client; TCP tells them
   * apart only when something is sent: a client that is gone answers with RST. So after a grace in which most answers
   * come, an interim response is sent where no answer has begun (RFC 9110 15.2: any client must skip it). Where an
   * answer without a length is under way, what was written since the FIN has asked already; nothing written, the client
   * is taken to be gone, as a closed event stream looks just like this. An answer with a length has an end, and is waited
   * for.
   */
  #probe(current: Http1Downstream): void {
    const taken = this.writer.taken
    if (!current.started) {
      if (current.minor === 0) return
      if (this.#probed) {
        // Nothing is read behind a FIN, so the RST shows only in a write: of no bytes, for a client that is still there.
        this.#probed = false
        this.text('')
        this.#timer.set(PROBE_AGAIN)
      } else {
        this.#probed = true
        this.text('HTTP/1.1 102 Processing\r\n\r\n')
        this.#timer.set(PROBE_ANSWER)
      }
    } else if (current.hasLength) this.#timer.clear()
    else if (this.#probed) {
      this.text('')
      this.#timer.clear()
    } else if (taken === this.#lastWritten) this.destroy()
    else {
      this.#probed = true
      this.#timer.set(PROBE_ANSWER)
    }
  }

  #timeout(): void {
    const current = this.#current
    if (this.#stalled || this.#phase === Phase.Closing) {
      const taken = this.writer.taken
      if (taken === this.#lastWritten) this.destroy()
      else {
        this.#lastWritten = taken
        this.#timer.set(this.writer.pending > 0 ? this.options.timeouts.idle : LINGER_TIME)
      }
    } else if (this.#phase === Phase.Head) {
      this.#refuse(new GatewayError('SLUICE_REQUEST_TIMEOUT', 'the head did not arrive in time'))
    } else if (current === null) this.#finishWriting()
    else if (this.#finReceived) this.#probe(current)
    else if (current.bodyEnded) {
      if (!this.#ahead) return
      // Behind what is ahead there may be the client's FIN.
      if (this.#end - this.#at <= MAX_AHEAD) this.#readOn()
      else {
        this.text('')
        if (!this.socket.destroyed) this.#timer.set(LOOK)
      }
    } else if (this.socket.isPaused()) {
      // A reset is not read while nothing is: a write of no bytes meets it.
      this.text('')
      if (!this.socket.destroyed) this.#timer.set(HALF_CLOSE_GRACE)
    } else if (this.#flowing) {
      this.#bodyFault(current, new GatewayError('SLUICE_REQUEST_TIMEOUT', 'the body stopped arriving'))
    }
  }

  #close(): void {
    this.#timer.remove()
    this.#phase = Phase.Closing
    this.#at = this.#end
    this.#joined = ''
    this.#owner.forget(this)
    this.#loseBehind()
  }

  /** Close when idle, after the current answer otherwise. */
  drain(): void {
    if (this.#phase !== Phase.Idle) {
      ;(this.#behind.at(-1) ?? this.#current)?.close()
      return
    }
    const left = this.socket.bytesRead > 0 ? 0 : this.#cameAt + JUST_COME - wheel.time()
    if (left > 0) this.#timer.set(left)
    else this.#finishWriting()
  }

  /** Close at once; where that cuts an answer, by a reset: a FIN would be the end of a body without a length (RFC 9112 8). */
  destroy(): void {
    if (this.#current?.started || this.writer.pending > 0) this.writer.reset()
    else this.socket.destroy()
  }
}
