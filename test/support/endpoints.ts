// Endpoints that nobody connects to, for tests of what chooses among them.
import { Endpoint } from '../../src/upstream/endpoint.ts'
import type { EndpointPool } from '../../src/upstream/transport/transport.ts'

const POOL: EndpointPool = {
  ...{ open: 0, idle: 0, waiting: 0, full: false },
  send() {
    throw new Error('nothing is sent here')
  },
  close() {},
}

/** One endpoint for each weight; addresses are a:1, b:1, … */
export function endpoints(weights: readonly number[]): Endpoint[] {
  return weights.map((weight, i) => {
    const host = i < 26 ? String.fromCharCode(97 + i) : `e${i}`
    return new Endpoint({ address: `${host}:1`, host, port: 1, weight, labels: {} }, POOL)
  })
}
