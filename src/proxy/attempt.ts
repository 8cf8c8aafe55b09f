// One try at one endpoint: takes the upstream's answer and passes it on, with backpressure both ways.
import type { GatewayError } from '../errors.ts'
import { addVia } from '../http/forwarded.ts'
import { type BodySource, type HeaderList, passingTrailers, type ResponseHead } from '../http/head.ts'
import { type PhaseEnd, type ReportFault, runChunk, runOutcome } from '../pipeline/run.ts'
import type { Endpoint } from '../upstream/endpoint.ts'
import type { Call, ResponseSink } from '../upstream/transport/transport.ts'
import type { Upstream } from '../upstream/upstream.ts'
import type { Passage, Try } from './passage.ts'
import { mayRetryError, mayRetryStatus } from './retry.ts'

/** What an attempt reports to. The proxy is one. */
export interface AttemptOwner extends PhaseEnd {
  /** Takes what a plugin threw where nothing depends on it any more. */
  readonly report: ReportFault
  /** An upstream's answer is known and plugins want to see it. */
  respond(x: Passage): void
  /** The attempt failed and another may follow. */
  tryAgain(x: Passage): void
  /** The exchange ends with an error that the client is told of. */
  fail(x: Passage, error: GatewayError): void
  /** The exchange is over. */
  finish(x: Passage, error: GatewayError | null): void
}

/** Of so many requests to an endpoint one is timed for the admin page. */
const SAMPLE = 16

/** What came while the response phase awaited a promise, kept until it is over. Bounded: the socket is paused meanwhile. */
interface Waiting {
  readonly chunks: Uint8Array[]
  ended: boolean
  trailers: HeaderList | null
  error: GatewayError | null
}

/** See the head of this file. Made by the proxy, driven by the transport. */
export class Attempt implements ResponseSink, Try {
  readonly #proxy: AttemptOwner
  readonly #x: Passage
  readonly endpoint: Endpoint
  #call: Call | null = null
  /** No callback means anything any more. */
  #over = false
  /** The answer's head went to the client. */
  passing = false
  #waiting: Waiting | null = null
  /** When it began, by performance.now(); 0 where its time is not taken. */
  #startedAt = 0
  /** The response phase runs for the first time, within the transport's telling of the head. */
  #inHead = false
  /** It counts among the endpoint's failures. */
  #failed = false

  constructor(proxy: AttemptOwner, x: Passage, endpoint: Endpoint) {
    this.#proxy = proxy
    this.#x = x
    this.endpoint = endpoint
  }

  /** Send the request. Callbacks may come before this returns. */
  begin(upstream: Upstream): void {
    const x = this.#x
    const endpoint = this.endpoint
    x.attempts++
    endpoint.inFlight++
    endpoint.requests++
    // A clock costs as much as a pick: balancers that go by time see every request, the admin page a sample.
    if (upstream.balancer.timed || endpoint.requests % SAMPLE === 1) this.#startedAt = performance.now()
    const host = x.route.rewriteHost ?? upstream.hostFor(endpoint, x.head.host)
    const body = x.route.plan.requestChunk === null ? x.down : this.#filtered(x.down)
    const call = endpoint.pool.send(x.head, host, body, this, x.deadline)
    if (!this.#over) this.#call = call
    else call.abort()
  }

  /** The request's body as the plugins let it through. */
  #filtered(source: BodySource): BodySource {
    const x = this.#x
    const steps = x.route.plan.requestChunk!
    const proxy = this.#proxy
    const filtered: BodySource = {
      onChunk: null,
      get trailers() {
        return source.trailers
      },
      pause: () => source.pause(),
      resume: () => {
        source.onChunk = (chunk, last) => {
          const passed = runChunk(steps, 'onRequestChunk', x, chunk, last, proxy)
          if (passed !== null) filtered.onChunk?.(passed, last)
        }
        source.resume()
      },
    }
    return filtered
  }

  onHead(head: ResponseHead): void {
    const x = this.#x
    this.#settled(head.status >= 500)
    if (mayRetryStatus(x, head.status)) {
      x.response = head
      this.cancel(null)
      this.#proxy.tryAgain(x)
      return
    }
    addVia(head.headers)
    x.response = head
    if (x.route.plan.checksHeads) x.proven = head.headers.slice()
    this.#outcome(null)
    if (x.route.plan.responseChunk !== null && x.route.plan.rewritesResponse) head.bodyLength = -1
    if (x.route.plan.response === null) {
      this.passing = true
      x.down.writeHead(head)
      return
    }
    this.#inHead = true
    this.#proxy.respond(x)
    this.#inHead = false
    if (!this.passing && !this.#over) this.#waiting = { chunks: [], ended: false, trailers: null, error: null }
  }

  /** The response phase is over: send the head and what has come since. Called by the proxy. */
  release(): void {
    const waiting = this.#waiting
    if (this.#over || (waiting === null && !this.#inHead)) return
    this.#waiting = null
    this.passing = true
    const x = this.#x
    x.down.writeHead(x.response!)
    // Where the phase was over at once, the body may be in the same read: head and body go out in one write.
    if (waiting === null) return
    let room = true
    for (const chunk of waiting.chunks) {
      room = this.#pass(chunk)
      if (this.#over) return
    }
    if (waiting.error !== null) this.#cut(waiting.error)
    else if (waiting.ended) this.#end(waiting.trailers)
    else {
      x.down.flush()
      if (room) this.#call?.resume()
    }
  }

  onChunk(chunk: Uint8Array): boolean {
    if (this.#over) return true
    if (this.#waiting !== null) {
      this.#waiting.chunks.push(Buffer.from(chunk))
      return false
    }
    return this.#pass(chunk)
  }

  #pass(chunk: Uint8Array): boolean {
    const x = this.#x
    const steps = x.route.plan.responseChunk
    if (steps !== null) {
      const passed = runChunk(steps, 'onResponseChunk', x, chunk, false, this.#proxy)
      if (passed === null) return true
      chunk = passed
    }
    return x.down.write(chunk)
  }

  onReadEnd(): void {
    if (this.passing && !this.#over) this.#x.down.flush()
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.#over) return
    if (this.#waiting !== null) {
      this.#waiting.ended = true
      this.#waiting.trailers = trailers
      return
    }
    this.#end(trailers)
  }

  #end(trailers: HeaderList | null): void {
    const x = this.#x
    const steps = x.route.plan.responseChunk
    if (steps !== null) {
      const passed = runChunk(steps, 'onResponseChunk', x, EMPTY, true, this.#proxy)
      if (passed === null) return
      if (passed.length > 0) x.down.write(passed)
    }
    this.#close()
    x.down.end(passingTrailers(x.response!, trailers))
    this.#proxy.finish(x, null)
  }

  onError(error: GatewayError): void {
    if (this.#over) return
    if (this.#waiting !== null) {
      this.#waiting.error = error
      return
    }
    if (this.passing) {
      this.#cut(error)
      return
    }
    const x = this.#x
    // A full queue is no failure of the endpoint, which was never asked, nor is a client that stopped sending.
    if (error.source === 'upstream') this.#settled(true)
    const retry = mayRetryError(x, error)
    this.#outcome(error)
    this.#close()
    if (retry) this.#proxy.tryAgain(x)
    else this.#proxy.fail(x, error)
  }

  /** The answer broke off after its head: the client must see it broken off. */
  #cut(error: GatewayError): void {
    if (!this.#failed && error.source === 'upstream') this.endpoint.failures++
    this.#close()
    this.#x.down.abort()
    this.#proxy.finish(this.#x, error)
  }

  /** The client takes more. Called by the proxy. */
  drained(): void {
    if (!this.#over && this.#waiting === null) this.#call?.resume()
  }

  /** Give up; the plugins hear of it as the outcome where they heard none yet. Called by the proxy. */
  cancel(error: GatewayError | null): void {
    if (this.#over) return
    if (!this.passing && this.#waiting === null && !this.#inHead) this.#outcome(error)
    const call = this.#call
    this.#close()
    call?.abort()
  }

  /** The endpoint answered, or did not: once an attempt, and not at all when the client went away before. */
  #settled(failed: boolean): void {
    const { endpoint } = this
    this.#failed = failed
    if (failed) endpoint.failures++
    if (this.#startedAt !== 0) {
      const now = performance.now()
      // One that refuses at once must not look like the fastest.
      if (failed) endpoint.failedIn(now - this.#startedAt, now)
      else endpoint.answeredIn(now - this.#startedAt, now)
    }
    endpoint.watcher?.ended(endpoint, failed)
  }

  #outcome(error: GatewayError | null): void {
    const steps = this.#x.route.plan.outcome
    if (steps !== null) runOutcome(steps, this.#x, error, this.#proxy.report)
  }

  #close(): void {
    this.#over = true
    this.#call = null
    this.#waiting = null
    this.endpoint.inFlight--
  }
}

const EMPTY = new Uint8Array(0)
