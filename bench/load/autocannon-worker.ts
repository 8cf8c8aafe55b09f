// One worker thread of the driver: runs autocannon over its share of the connections and posts its tally.
import { parentPort, workerData } from 'node:worker_threads'
import autocannon from 'autocannon'
import { BUCKETS, bucketOf } from './histogram.ts'

export interface AutocannonOrder {
  readonly url: string
  readonly method: 'GET' | 'POST'
  readonly paths: readonly string[]
  readonly body: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly pipelining: number
  readonly connections: number
  readonly seconds: number
}

export interface AutocannonTally {
  /** Answers with a 2xx status. */
  readonly ok: number
  /** Other statuses, connection errors, timeouts, and requests that no answer came to. */
  readonly failed: number
  readonly seconds: number
  readonly histogram: Float64Array
}

/** What autocannon hands over in a worker thread, and its types leave out. */
interface RawCounts {
  readonly totalRequests: number
  readonly totalCompletedRequests: number
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
    headers: order.headers,
    requests: order.paths.map(path => ({
      method: order.method,
      path,
      ...(order.body === null ? {} : { body: order.body, headers: { 'content-type': 'text/plain', ...order.headers } }),
    })),
  },
  (error: Error | null, result: autocannon.Result) => {
    if (error !== null) throw error
    // When the proxy closes a connection, autocannon opens another in silence: the requests that were on it are lost, and show
    // only in what was sent and never answered. At the end every connection may have its share on the way.
    const { totalRequests, totalCompletedRequests } = result as unknown as RawCounts
    const lost = Math.max(0, totalRequests - totalCompletedRequests - order.connections * order.pipelining)
    const tally: AutocannonTally = {
      ok: result['2xx'],
      failed: result.non2xx + result.errors + result.timeouts + lost,
      seconds: result.duration,
      histogram,
    }
    parentPort!.postMessage(tally)
  },
)
instance.on('response', (_client, _status, _bytes, milliseconds) => {
  histogram[bucketOf(milliseconds)]! += 1
})
