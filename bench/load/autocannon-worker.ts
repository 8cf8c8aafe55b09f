// One worker thread of the driver: runs autocannon over its share of the connections and posts its tally.
import { parentPort, workerData } from 'node:worker_threads'
import autocannon from 'autocannon'
import { BUCKETS, bucketOf } from './histogram.ts'

export interface AutocannonOrder {
  readonly url: string
  readonly method: 'GET' | 'POST'
  readonly paths: readonly string[]
  readonly body: string | null
  readonly pipelining: number
  readonly connections: number
  readonly seconds: number
}

export interface AutocannonTally {
  /** Answers with a 2xx status. */
  readonly ok: number
  /** Other statuses, connection errors, timeouts, resets. */
  readonly failed: number
  readonly seconds: number
  readonly histogram: Float64Array
}

const order = workerData as AutocannonOrder
const histogram = new Float64Array(BUCKETS)

const instance = autocannon(
  {
    url: order.url,
    connections: order.connections,
    pipelining: order.pipelining,
    duration: order.seconds,
    timeout: 5,
    sampleInt: 100,
    headers: { host: 'bench.test' },
    requests: order.paths.map(path => ({
      method: order.method,
      path,
      ...(order.body === null
        ? {}
        : { body: order.body, headers: { host: 'bench.test', 'content-type': 'text/plain' } }),
    })),
  },
  (error: Error | null, result: autocannon.Result) => {
    if (error !== null) throw error
    // A connection that the proxy resets is reconnected in silence and shows only in `resets`.
    const resets = (result as unknown as { resets?: number }).resets ?? 0
    const tally: AutocannonTally = {
      ok: result['2xx'],
      failed: result.non2xx + result.errors + result.timeouts + resets,
      seconds: result.duration,
      histogram,
    }
    parentPort!.postMessage(tally)
  },
)
instance.on('response', (_client, _status, _bytes, milliseconds) => {
  histogram[bucketOf(milliseconds)]! += 1
})
