// A connection and a probe that cannot even be begun: they fail like any other, and nothing is thrown.
import type { LookupFunction } from 'node:net'
import t from 'tap'
import { wheel } from '../../../../src/clock.ts'
import { lookupAllowed } from '../../../../src/discovery/target.ts'
import type { GatewayError } from '../../../../src/errors.ts'
import { type ClientTls, secureContext } from '../../../../src/http/certificates.ts'
import { Endpoint } from '../../../../src/upstream/endpoint.ts'
import { ActiveHealth } from '../../../../src/upstream/health/active.ts'
import { Http1Pool } from '../../../../src/upstream/transport/pool.ts'
import type { TransportOptions } from '../../../../src/upstream/transport/transport.ts'
import { requestHead } from '../../../support/request-head.ts'
import { eventually } from '../../../support/within.ts'

/** Node throws for it where others end in an event. */
const PORT = 70_000

const TLS: ClientTls = {
  context: secureContext({ ca: null, cert: null, key: null }),
  verify: true,
  servername: null,
}
const NOWHERE = { host: '127.0.0.1', port: PORT, lookup: null }
const SCHEMES = [
  ['http', null],
  ['https', TLS],
] as const

function poolOf(
  scheme: 'http' | 'https',
  tls: ClientTls | null,
  { host, port, lookup }: { host: string; port: number; lookup: LookupFunction | null } = NOWHERE,
): Http1Pool {
  const options: TransportOptions = {
    scheme,
    tls,
    connections: { max: 1, pending: 1, idle: 1000 },
    timeouts: { connect: 1000, response: 1000, idle: 1000 },
    lookup,
  }
  return new Http1Pool(host, port, options)
}

/** How a request fails. */
function failureOf(pool: Http1Pool): Promise<GatewayError> {
  const body = { onChunk: null, trailers: null, pause() {}, resume() {} }
  return new Promise(resolve => {
    const sink = { onHead() {}, onChunk: () => true, onEnd() {}, onError: resolve, onReadEnd() {} }
    pool.send(requestHead('GET', 'h.test', '/'), 'h.test', body, sink, Number.POSITIVE_INFINITY)
  })
}

for (const [scheme, tls] of SCHEMES) {
  t.test(`${scheme}: a connection`, async t => {
    const pool = poolOf(scheme, tls)
    const error = await failureOf(pool)
    t.equal(error.code, 'SLUICE_UPSTREAM_CONNECT')
    t.ok(error.unsent)
    t.same([pool.open, pool.waiting], [0, 0])
  })

  t.test(`${scheme}: a name that resolves to where a registry may not point`, async t => {
    // To the system's resolver this is 169.254.169.254.
    const pool = poolOf(scheme, tls, { host: '0xa9fea9fe', port: 80, lookup: lookupAllowed(false) })
    t.match(await failureOf(pool), { code: 'SLUICE_UPSTREAM_CONNECT', message: /link-local/, unsent: true })
  })

  t.test(`${scheme}: a probe`, async t => {
    const endpoint = new Endpoint(
      { address: `127.0.0.1:${PORT}`, host: '127.0.0.1', port: PORT, weight: 1, labels: {} },
      poolOf(scheme, tls),
    )
    const options = { path: '/', interval: 20, timeout: 100, healthyAfter: 1, unhealthyAfter: 2, expect: '200' }
    const health = new ActiveHealth(options, { tls, host: null, lookup: null }, { probed() {}, proven() {} }, wheel)
    health.watch(endpoint)
    t.teardown(() => health.close())
    await eventually(
      () => endpoint.health.active === 'unhealthy',
      () => 'it is not found to be ill',
    )
    t.equal(endpoint.health.probeFault, 'ERR_SOCKET_BAD_PORT')
  })
}
