// The engines under test, and what each is declared to do differently (docs/engines.md): asserted, never skipped.
import type { Test } from 'tap'
import type { PluginDefinition } from '../../src/pipeline/plugin.ts'
import { type GatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts'
import type { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'

/** What an engine is declared to do where the two part. */
export interface Traits {
  readonly name: 'native' | 'uws'
  /** HTTP/1.0 is served; otherwise it is answered with 505 and the connection closed. */
  readonly http10: boolean
  /** Targets that are no path (scheme and host, `*`) are served; otherwise answered with 505 and the connection closed. */
  readonly absoluteForm: boolean
  /** Requests sent before the answer to the first are answered in order; otherwise the connection is closed. */
  readonly pipelining: boolean
  /** A client that sent its FIN still gets its answer; otherwise it is taken to be gone. */
  readonly halfClose: boolean
  /** Trailers pass both ways; otherwise they are dropped. */
  readonly trailers: boolean
  /** 100 Continue is sent when the body is wanted; otherwise with the head, whatever becomes of the request. */
  readonly continueWhenWanted: boolean
  /** A slow head is answered with 408, a slow body too; otherwise the connection is closed without an answer. */
  readonly slowIsTold: boolean
  /** A Date of the upstream is kept; otherwise it is replaced by the gateway's. */
  readonly dateOfUpstream: boolean
  /** Bytes above ASCII at the very ends of a request's field value arrive; otherwise they are lost. */
  readonly highBytesAtEnds: boolean
  /** A reset is noticed while the request's body is held back; otherwise when the upstream's idle timeout is up. */
  readonly resetWhilePaused: boolean
  /** A chunked body that lacks its very last line end is not complete. */
  readonly lastLineEndDue: boolean
  /** A client that is still sending its body can do so until it has read an answer that ends the connection. */
  readonly lingers: boolean
  /** A request whose chunked body ends with trailers is served; otherwise it is refused with 505. */
  readonly requestTrailers: boolean
}

/** The engines. */
export const ENGINES: readonly Traits[] = [
  {
    name: 'native',
    http10: true,
    absoluteForm: true,
    pipelining: true,
    halfClose: true,
    trailers: true,
    continueWhenWanted: true,
    slowIsTold: true,
    dateOfUpstream: true,
    highBytesAtEnds: true,
    resetWhilePaused: true,
    lastLineEndDue: true,
    lingers: true,
    requestTrailers: true,
  },
  {
    name: 'uws',
    http10: false,
    absoluteForm: false,
    pipelining: false,
    halfClose: false,
    trailers: false,
    continueWhenWanted: false,
    slowIsTold: false,
    dateOfUpstream: false,
    highBytesAtEnds: false,
    resetWhilePaused: false,
    lastLineEndDue: false,
    lingers: false,
    requestTrailers: false,
  },
]

/** An upstream, a gateway of that engine in front of it, and a client. */
export interface Chain {
  readonly up: RawUpstream
  readonly gateway: TestGateway
  readonly client: RawClient
}

/** Set up a chain; `config` as startGateway takes it, its upstream `up` leading to the raw one. */
export async function chain(
  t: Test,
  engine: Traits,
  config: GatewayConfig = {},
  plugins: readonly PluginDefinition[] = [],
): Promise<Chain> {
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    {
      ...config,
      listener: { engine: engine.name, ...config.listener },
      up: { endpoints: [up.address], ...config.up },
    },
    { plugins },
  )
  return { up, gateway, client: await gateway.connect() }
}
