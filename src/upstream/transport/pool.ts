// The keep-alive connections to one endpoint: newest idle first, a bound, and a bounded queue for when it is reached.
import { connect as connectTcp, Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { GatewayError } from '../../errors.ts'
import { secureTo } from '../../http/certificates.ts'
import type { BodySource, RequestHead } from '../../http/head.ts'
import { Http1Call } from './call.ts'
import { UpstreamConnection } from './connection.ts'
import type { Call, EndpointPool, ResponseSink, TransportOptions } from './transport.ts'

/** Reads of all plain upstream connections land here: a callback copies what it keeps. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024)
/** TLS may decrypt a second record while the first is being handled, so each connection has its own. */
const TLS_BUFFER = 16 * 1024

/** See EndpointPool. */
export class Http1Pool implements EndpointPool {
  readonly options: TransportOptions
  readonly #host: string
  readonly #port: number
  readonly #idle: UpstreamConnection[] = []
  readonly #connections = new Set<UpstreamConnection>()
  #queue: Http1Call[] = []
  #queueAt = 0
  #closed = false

  constructor(host: string, port: number, options: TransportOptions) {
    this.#host = host
    this.#port = port
    this.options = options
  }

  get open(): number {
    return this.#connections.size
  }

  get idle(): number {
    return this.#idle.length
  }

  get waiting(): number {
    return this.#queue.length - this.#queueAt
  }

  get full(): boolean {
    if (this.#idle.length > 0) return false
    const { max, pending } = this.options.connections
    return this.#connections.size >= max && this.waiting >= pending
  }

  send(head: RequestHead, host: string, body: BodySource, sink: ResponseSink, deadline: number): Call {
    const call = new Http1Call(this, head, host, body, sink, deadline)
    const connection = this.#idle.pop()
    if (connection !== undefined) connection.begin(call)
    else this.fresh(call)
    return call
  }

  /** Send on a connection that was never used. Called by the call, too, when an idle one turned out stale. */
  fresh(call: Http1Call): void {
    if (this.#connections.size < this.options.connections.max) {
      this.#connect().begin(call)
      return
    }
    if (this.waiting >= this.options.connections.pending) {
      call.fail(new GatewayError('SLUICE_OVERLOADED', 'the pending queue is full', { unsent: true }))
      return
    }
    call.wait(this.options.timeouts.connect)
    this.#queue.push(call)
  }

  #connect(): UpstreamConnection {
    const connection = new UpstreamConnection(this)
    this.#connections.add(connection)
    connection.attach(this.#begun(connection))
    return connection
  }

  /** What fails before it begins fails as any connection does: by an event, later. */
  #begun(connection: UpstreamConnection): Socket {
    try {
      return this.#socket(connection)
    } catch (error) {
      return new Socket().destroy(error as Error)
    }
  }

  #socket(connection: UpstreamConnection): Socket {
    const { tls, lookup } = this.options
    const onread = {
      buffer: tls === null ? readBuffer : Buffer.allocUnsafeSlow(TLS_BUFFER),
      callback: (length: number, bytes: Uint8Array) => {
        connection.read(bytes as Buffer, length)
        return true
      },
    }
    const to = {
      ...{ host: this.#host, port: this.#port, noDelay: true, onread, highWaterMark: 64 * 1024 },
      ...(lookup !== null && { lookup }),
    }
    if (tls === null) return connectTcp(to)
    return connectTls({
      ...to,
      ...secureTo(tls, this.#host),
      ALPNProtocols: ['http/1.1'],
    })
  }

  /** A connection is clean and free. Called by the connection. */
  release(connection: UpstreamConnection): void {
    const call = this.#dequeue()
    if (call === null) {
      if (this.#closed) connection.destroy()
      else this.#idle.push(connection)
    } else if (call.retried) {
      // What an upstream closes once it may close again: this one makes room.
      this.#connections.delete(connection)
      this.#connect().begin(call)
      connection.destroy()
    } else connection.begin(call)
  }

  /** A connection is gone. Called by the connection; a second time does nothing. */
  forget(connection: UpstreamConnection): void {
    if (!this.#connections.delete(connection)) return
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    const call = this.#dequeue()
    if (call !== null) this.#connect().begin(call)
  }

  #dequeue(): Http1Call | null {
    while (this.#queueAt < this.#queue.length) {
      const call = this.#queue[this.#queueAt]!
      this.#queueAt++
      if (this.#queueAt === this.#queue.length) {
        this.#queue = []
        this.#queueAt = 0
      } else if (this.#queueAt > 256) {
        this.#queue.splice(0, this.#queueAt)
        this.#queueAt = 0
      }
      if (!call.done) return call
    }
    return null
  }

  /** Leave the queue: the request was given up while it waited. Called by the call. */
  unqueue(call: Http1Call): void {
    const at = this.#queue.indexOf(call, this.#queueAt)
    if (at >= 0) this.#queue.splice(at, 1)
  }

  close(): void {
    this.#closed = true
    for (const connection of this.#idle.splice(0)) connection.destroy()
  }
}
