// An exchange as the proxy carries it: with the snapshot it began under and the attempt that is under way.
import type { Timer } from '../clock.ts'
import type { GatewayError } from '../errors.ts'
import { Exchange } from '../exchange/exchange.ts'
import type { Downstream } from '../http/downstream.ts'
import type { Reply, RequestHead, RequestLine } from '../http/head.ts'
import type { Route } from '../route/route.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'

/** The try that is under way, as whoever holds the exchange sees it. An Attempt is one. */
export interface Try {
  /** The answer's head went to the client. */
  readonly passing: boolean
  /** The response phase is over: send the head and what has come since. */
  release(): void
  /** The client takes more. */
  drained(): void
  /** Give up. */
  cancel(error: GatewayError | null): void
}

/** See the head of this file. Plugins see the Exchange alone. */
export class Passage extends Exchange<Route> {
  readonly snapshot: Snapshot
  attempt: Try | null = null
  /** The request's line as it was received, where plugins may write to it. */
  received: RequestLine | null = null
  /** The gateway's own answer, once there is one. */
  reply: Reply | null = null
  /** Runs while nothing else would notice that the time is up: a plugin's promise, the pause before a retry. */
  timer: Timer | null = null

  constructor(head: RequestHead, down: Downstream, route: Route, patternIndex: number, snapshot: Snapshot) {
    super(head, down, route, patternIndex, route.upstream, snapshot)
    this.snapshot = snapshot
  }
}
