// One answer and one request body on uWebSockets.js: gathered into corked writes, paced by its backpressure.
//
// Facts of the library that shape this file: chunks are neutered when the callback returns; whatever is written must be
// written inside cork; tryEnd takes what the kernel takes and counts it, write takes everything; a head leaves together
// with the first byte of the body, because nothing of the library ends a head by itself; every answer gets its own Date.
//
// Over 300 lines because the answer's states and the body's meet in how the connection ends.
import { STATUS_CODES } from 'node:http'
import { GatewayError } from '../errors.ts'
import type { Downstream } from '../http/downstream.ts'
import { type HeaderList, isBodiless, type ResponseHead } from '../http/head.ts'
import { opening } from '../http1/serialize.ts'
import type { UwsResponse } from './uws-load.ts'

/** Chunks of an unframed body are gathered up to this, so that a small answer is one write. */
const GATHER = 16 * 1024
/** As much of a request's body is read and thrown away so that the connection can serve another request. */
const MAX_DISCARD = 1024 * 1024
/**
 * Most that is kept of a body that comes though it was told to pause: the library reads on for as long as its buffer
 * of 512 KiB comes back full, which a fast client can keep up. What comes past it fails the request.
 */
const MAX_AHEAD = 64 * 1024 * 1024
const EMPTY = Buffer.alloc(0)
const NOT_ASCII = /[\x80-\xff]/

const State = {
  /** Nothing of the answer is known. */
  Waiting: 0,
  /** The head is known and not written. */
  Head: 1,
  /** The head is out; the body has a length. */
  Length: 2,
  /** The head is out; the library writes chunks. */
  Chunked: 3,
  /** Complete, cut, or the client is gone: the library's object must not be touched. */
  Done: 4,
} as const

const Step = { Whole: 0, Bodiless: 1, Part: 2, Chunk: 3, Last: 4, Drain: 5 } as const

/** What an answer needs of the listener that it belongs to. */
export interface UwsOwner {
  readonly draining: boolean
  readonly maxBody: number
  /** An answer is complete, cut or lost; `pending` when the library may still hold bytes of it. */
  finished(pending: boolean): void
}

const statuses: string[] = []

function statusText(status: number): string {
  statuses[status] ??= `${status} ${STATUS_CODES[status] ?? 'Unknown'}`
  return statuses[status]
}

// cork takes a function without arguments: one for all answers, told whose turn it is, spares a closure a write.
let turn: UwsDownstream
const takeTurn = (): void => turn.perform()
const noticeNothing = (): void => {}

/** See Downstream. The listener makes one per request. */
export class UwsDownstream implements Downstream {
  onChunk: ((chunk: Uint8Array, last: boolean) => void) | null = null
  onAbort: ((error: GatewayError | null) => void) | null = null
  onDrain: (() => void) | null = null
  aborted = false
  bodyEnded: boolean
  /** The library drops trailers. */
  readonly trailers: HeaderList | null = null

  readonly #owner: UwsOwner
  readonly #res: UwsResponse
  readonly #method: string
  readonly #bodyLength: number
  /** As it was when the request began: a reload that lowers it must fail nobody who is under way. */
  readonly #maxBody: number
  /** The client asked for the connection to end, in the one way that the library understands. */
  readonly #closesItself: boolean
  #close: boolean
  #state: number = State.Waiting
  /** The step that `perform` takes, and the bytes for it. */
  #step: number = Step.Whole
  #chunk: Uint8Array = EMPTY
  /** Status line and fields as the library takes them: one call instead of one a field. */
  #head = ''
  #ascii = true
  #bodiless = false
  #total = -1
  /** Bytes of a body with a length that were given to `write`. */
  #given = 0
  /** Gathered chunks, or what the kernel did not take yet of a body with a length. */
  #held: Uint8Array | null = null
  #blocked = false
  #watching = false
  #ending = false
  /** The library's handler has not returned: what else stands in the read is still to be parsed. */
  #handling = true

  /** Bytes of the request's body that came, and whether that was all. */
  #received = 0
  #receivedAll: boolean
  #flowing = false
  #paused = false
  #failed = false
  /** Copies of what came before it was wanted, and their bytes. */
  #early: Buffer[] = []
  #ahead = 0

  constructor(
    owner: UwsOwner,
    res: UwsResponse,
    method: string,
    bodyLength: number,
    close: boolean,
    closesItself: boolean,
  ) {
    this.#owner = owner
    this.#res = res
    this.#method = method
    this.#bodyLength = bodyLength
    this.#maxBody = owner.maxBody
    this.#close = close
    this.#closesItself = closesItself
    this.bodyEnded = bodyLength === 0
    this.#receivedAll = bodyLength === 0
  }

  /**
   * Listen for the client's end and the body, unless the answer is complete by now. Called by the listener at the end
   * of the library's handler: before that nothing can arrive, and after it the library aborts the process.
   */
  attach(): void {
    this.#handling = false
    if (this.#state === State.Done) return
    this.#res.onAborted(() => this.#lost())
    if (this.#bodyLength !== 0) this.#res.onData((chunk, last) => this.#data(chunk, last))
  }

  pause(): void {
    this.#flowing = false
    this.#halt()
  }

  resume(): void {
    if (this.#flowing || this.bodyEnded || this.#failed) return
    this.#flowing = true
    while (this.#flowing && this.#early.length > 0) {
      const chunk = this.#early.shift()!
      this.#ahead -= chunk.length
      this.#deliver(chunk, this.#receivedAll && this.#early.length === 0)
    }
    if (this.#flowing) this.#unhalt()
  }

  writeHead(head: ResponseHead): void {
    if (this.#state !== State.Waiting) return
    this.#state = State.Head
    let text = statusText(head.status)
    const headers = head.headers
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i]!
      // The library adds its own Date and cannot be told not to; two would be one too many (RFC 9110 6.6.1). Trailers it has
      // none, so nothing announces them.
      if (name === 'date' || name === 'trailer') continue
      const value = headers[i + 1]!
      if (NOT_ASCII.test(value)) this.#ascii = false
      text += opening(name) + value
    }
    this.#head = text
    this.#total = head.bodyLength
    this.#bodiless = isBodiless(this.#method, head.status)
    // 204 must not name a length (RFC 9110 8.6).
    if (head.status === 204) this.#total = -1
    if (this.#owner.draining) this.#close = true
  }

  write(chunk: Uint8Array): boolean {
    const length = chunk.length
    const state = this.#state
    if (state === State.Done || state === State.Waiting || this.#bodiless || this.#ending || length === 0) return true
    if (this.#total < 0) {
      if (length <= GATHER - (this.#held === null ? 0 : this.#held.length)) this.#hold(chunk)
      else this.#perform(Step.Chunk, chunk)
      return !this.#blocked
    }
    if (length > this.#total - this.#given) {
      this.abort()
      return true
    }
    this.#given += length
    if (this.#blocked) this.#hold(chunk)
    else if (state === State.Head && length === this.#total) this.#perform(Step.Whole, chunk)
    else this.#perform(Step.Part, chunk)
    return !this.#blocked
  }

  flush(): void {
    if (this.#state === State.Done || this.#total >= 0 || this.#held === null) return
    this.#perform(Step.Chunk, EMPTY)
  }

  end(_trailers: HeaderList | null): void {
    if (this.#state === State.Done || this.#state === State.Waiting || this.#ending) return
    this.#forget()
    if (this.#bodiless) this.#perform(Step.Bodiless, EMPTY)
    else if (this.#total < 0) this.#perform(Step.Last, EMPTY)
    else if (this.#given < this.#total) this.abort()
    else if (this.#total === 0) this.#perform(Step.Whole, EMPTY)
    // What is held goes out as the client takes it.
    else this.#ending = true
  }

  abort(): void {
    if (this.#state === State.Done) return
    this.aborted = true
    this.#done(false)
    this.#res.close()
  }

  close(): void {
    if (this.#state === State.Waiting) this.#close = true
  }

  /** Take the step that is due. Called by the library inside cork, through `takeTurn`. */
  perform(): void {
    const res = this.#res
    const chunk = this.#chunk
    this.#chunk = EMPTY
    switch (this.#step) {
      case Step.Whole: {
        if (this.#leavesTooMuch()) this.#close = true
        // The flag makes the library say so and close; where the client has asked for it, it closes and says nothing.
        const flag = this.#close && !this.#closesItself
        this.#writeHead(this.#close && this.#closesItself)
        this.#unhalt()
        this.#done(!flag && chunk.length > GATHER)
        res.end(chunk, flag)
        return
      }
      case Step.Bodiless: {
        if (this.#leavesTooMuch()) this.#close = true
        const flag = this.#close && !this.#closesItself && this.#total >= 0
        this.#writeHead(this.#close && !flag)
        this.#unhalt()
        this.#done(false)
        if (this.#total >= 0) res.endWithoutBody(this.#total, flag)
        else res.endWithoutBody()
        return
      }
      case Step.Part:
        if (this.#state === State.Head) {
          this.#writeHead(this.#close)
          this.#state = State.Length
        }
        this.#try(chunk)
        return
      case Step.Chunk:
      case Step.Last: {
        if (this.#state === State.Head) {
          this.#writeHead(this.#close)
          this.#state = State.Chunked
        }
        const held = this.#held
        this.#held = null
        if (held !== null && !res.write(held)) this.#block()
        if (chunk.length > 0 && !res.write(chunk)) this.#block()
        if (this.#step !== Step.Last) return
        this.#unhalt()
        this.#done(this.#blocked)
        res.end()
      }
      // Step.Drain: leaving cork is what makes the library hand over what it holds.
    }
  }

  #perform(step: number, chunk: Uint8Array): void {
    if (this.#handling && (step === Step.Whole || step === Step.Bodiless) && (this.#close || this.#leavesTooMuch())) {
      // After the read: the library would serve the next request in it, and forget that it is to close (RFC 9112 9.6).
      const kept = Buffer.from(chunk)
      setImmediate(() => {
        if (this.#state !== State.Done) this.#perform(step, kept)
      })
      return
    }
    // An answer whose write fails, as the client has reset the connection, is not complete for the library: it aborts the
    // process where its handler returns and nobody listens for the client's end.
    if (this.#handling) this.#res.onAborted(noticeNothing)
    this.#step = step
    this.#chunk = chunk
    turn = this
    this.#res.cork(takeTurn)
  }

  #writeHead(sayClose: boolean): void {
    const text = sayClose ? `${this.#head}\r\nconnection: close` : this.#head
    // The library writes a string as UTF-8.
    this.#res.writeStatus(this.#ascii ? text : Buffer.from(text, 'latin1'))
    this.#head = ''
  }

  /** Give the kernel what it takes of a body with a length; keep the rest. */
  #try(chunk: Uint8Array): void {
    const res = this.#res
    if (this.#given === this.#total) this.#unhalt()
    const before = res.getWriteOffset()
    const [ok, responded] = res.tryEnd(chunk, this.#total)
    if (responded) {
      this.#done(false)
      return
    }
    if (ok) return
    const taken = res.getWriteOffset() - before
    if (taken < chunk.length) this.#held = Buffer.from(chunk.subarray(taken))
    this.#block()
  }

  #block(): void {
    this.#blocked = true
    if (this.#watching) return
    this.#watching = true
    this.#res.onWritable(() => {
      this.#writable()
      return true
    })
  }

  #writable(): void {
    if (this.#state === State.Done) return
    this.#blocked = false
    const held = this.#held
    if (this.#state === State.Length && held !== null) {
      this.#held = null
      this.#perform(Step.Part, held)
    } else this.#perform(Step.Drain, EMPTY)
    if (!this.#blocked) this.onDrain?.()
  }

  #hold(chunk: Uint8Array): void {
    this.#held = this.#held === null ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk])
  }

  #data(bytes: ArrayBuffer, last: boolean): void {
    this.#received += bytes.byteLength
    if (last) this.#receivedAll = true
    if (this.#state === State.Done || this.#failed) return
    if (this.#received > this.#maxBody) {
      this.#fail(new GatewayError('SLUICE_BODY_TOO_LARGE', 'the chunked body passed the limit'))
      return
    }
    if (this.#flowing) {
      this.#deliver(bytes.byteLength === 0 ? EMPTY : Buffer.from(bytes), last)
      return
    }
    this.#ahead += bytes.byteLength
    if (this.#ahead > MAX_AHEAD) {
      this.#fail(new GatewayError('SLUICE_OVERLOADED', 'the client sends its body faster than it can be taken'))
      return
    }
    if (last || bytes.byteLength > 0) this.#early.push(Buffer.from(Buffer.from(bytes)))
    this.#halt()
  }

  #deliver(chunk: Buffer, last: boolean): void {
    if (last) this.bodyEnded = true
    else if (chunk.length === 0) return
    this.onChunk?.(chunk, last)
  }

  /** The body cannot go on; what still comes of it is thrown away. */
  #fail(error: GatewayError): void {
    this.#failed = true
    this.#close = true
    this.#early = []
    this.onChunk = null
    const onAbort = this.onAbort
    this.onAbort = null
    onAbort?.(error)
  }

  #halt(): void {
    if (this.#paused || this.#receivedAll || this.#state === State.Done) return
    this.#paused = true
    this.#res.pause()
  }

  /** Read on: the exchange wants more, or the answer ends and what is left of the body must not stop the next request. */
  #unhalt(): void {
    if (!this.#paused || this.#state === State.Done) return
    this.#paused = false
    this.#res.resume()
  }

  /**
   * True when more of the body is to come than is worth reading for the sake of the connection. Asked where an answer
   * goes out whole: the library closes after no other.
   */
  #leavesTooMuch(): boolean {
    if (this.#receivedAll) return false
    return this.#bodyLength < 0 || this.#bodyLength - this.#received > MAX_DISCARD
  }

  /** The client is gone. */
  #lost(): void {
    if (this.#state === State.Done) return
    this.aborted = true
    const onAbort = this.onAbort
    this.#done(false)
    onAbort?.(null)
  }

  #done(pending: boolean): void {
    this.#state = State.Done
    this.#held = null
    this.#early = []
    this.#forget()
    this.#owner.finished(pending)
  }

  #forget(): void {
    this.onChunk = null
    this.onAbort = null
    this.onDrain = null
  }
}
