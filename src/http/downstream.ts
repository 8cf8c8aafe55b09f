// The client's side of one exchange as every engine offers it, and the receiver that an engine feeds.
import type { GatewayError } from '../errors.ts'
import type { BodySource, HeaderList, RequestHead, ResponseHead } from './head.ts'

/**
 * One answer on its way to the client, and the request's body on its way in. An engine makes one per request
 * and never reuses it, so that a late call can reach no other exchange: after the end every method is a no-op.
 */
export interface Downstream extends BodySource {
  /** True once the client is gone or `abort` was called; nothing that is written arrives any more. */
  readonly aborted: boolean
  /** True when the last byte of the request's body was delivered (or there is none). */
  readonly bodyEnded: boolean
  /**
   * Called at most once, before the answer has ended: with null when the client is gone, with an error when the
   * request's body turned out malformed, too large or too slow; then an answer may still be written.
   */
  onAbort: ((error: GatewayError | null) => void) | null
  /** Called when the client has taken what was written after `write` returned false. */
  onDrain: (() => void) | null
  /** Start the answer. The engine adds framing, Connection and Date. Names lower-case tokens, values clean. */
  writeHead(head: ResponseHead): void
  /** Pass on body bytes (copied before return). False: stop until `onDrain`. */
  write(chunk: Uint8Array): boolean
  /** Hand what was gathered to the kernel: called after each read of the upstream, so that events flow at once. */
  flush(): void
  /** End the answer; with trailers where the framing can carry them. */
  end(trailers: HeaderList | null): void
  /** Cut the answer short so that the client sees it cut (RFC 9112 8): never the last chunk. */
  abort(): void
  /** Let no further request follow on this connection: the answer will say so. Before `writeHead`. */
  close(): void
}

/** What a listener's owner does with what comes in. Both are called synchronously from the engine's read. */
export interface Receiver {
  /** A head known to be good. The body flows after `down.resume()`. */
  receive(head: RequestHead, down: Downstream): void
  /** Bytes that are no acceptable request: to be answered, then the connection closes. */
  refuse(error: GatewayError, down: Downstream): void
}
