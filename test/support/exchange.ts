// An exchange without a listener, for tests of what stands on one.
import { Exchange, type ExchangeWorld } from '../../src/exchange/exchange.ts'
import type { Downstream } from '../../src/http/downstream.ts'
import type { RequestHead } from '../../src/http/head.ts'

const WORLD: ExchangeWorld = { upstreams: new Map(), trusted: null }

/** Its client is nobody: what is written to it is lost. */
export function exchange(head: RequestHead, world: ExchangeWorld = WORLD): Exchange {
  const nobody: Downstream = {
    ...{ aborted: false, bodyEnded: true, trailers: null, onChunk: null, onAbort: null, onDrain: null },
    pause() {},
    resume() {},
    writeHead() {},
    write: () => true,
    flush() {},
    end() {},
    abort() {},
    close() {},
  }
  return new Exchange(head, nobody, { name: 'orders' }, 0, null, world)
}
