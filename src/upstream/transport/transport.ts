// How a request reaches an endpoint: what a transport takes and what it calls back.
import type { LookupFunction } from 'node:net'
import type { GatewayError } from '../../errors.ts'
import type { ClientTls } from '../../http/certificates.ts'
import type { BodySource, HeaderList, RequestHead, ResponseHead } from '../../http/head.ts'

/**
 * Takes one answer. Calls come in the order onHead, onChunk…, then exactly one of onEnd and onError; onError may come
 * alone. onReadEnd follows the calls of each read of the socket, so that gathered output can be flushed.
 */
export interface ResponseSink {
  /** The final head; interim ones (1xx) are not passed on. */
  onHead(head: ResponseHead): void
  /** Body bytes, borrowed for the call. False: stop until `resume`. */
  onChunk(chunk: Uint8Array): boolean
  onEnd(trailers: HeaderList | null): void
  /** No (further) answer comes. `error.unsent` tells whether any byte of the request went out. */
  onError(error: GatewayError): void
  onReadEnd(): void
}

/** A request under way. */
export interface Call {
  /** Go on after onChunk returned false. */
  resume(): void
  /** Give up: no callback comes after this, and the connection is not used again unless it is clean. */
  abort(): void
}

/** What a transport needs to know of an upstream. Times in milliseconds. */
export interface TransportOptions {
  readonly scheme: 'http' | 'https'
  /** Null for http. */
  readonly tls: ClientTls | null
  readonly connections: { readonly max: number; readonly pending: number; readonly idle: number }
  readonly timeouts: { readonly connect: number; readonly response: number; readonly idle: number }
  /** Resolves host names; null as the system does. */
  readonly lookup: LookupFunction | null
}

/** A pool of connections to one endpoint, as everyone above the transport sees it. */
export interface EndpointPool {
  /**
   * Send a request; `host` is the Host field, `deadline` the time of the wheel by which all must be over (Infinity
   * for none). Callbacks may come before this returns.
   */
  send(head: RequestHead, host: string, body: BodySource, sink: ResponseSink, deadline: number): Call
  /** Connections open now, idle ones included. */
  readonly open: number
  readonly idle: number
  /** Requests that wait for a connection. */
  readonly waiting: number
  /** Neither a connection nor a place in the queue is left: `send` would fail. */
  readonly full: boolean
  /** Close idle connections now and the others after their current answer. */
  close(): void
}
