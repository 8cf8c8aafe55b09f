// Upstreams without connections: which endpoints are dealt to, and what goes over to the next one of the name.
import t, { type Test } from 'tap'
import { BALANCERS } from '../../../src/upstream/balance/algorithms.ts'
import type { ActiveState } from '../../../src/upstream/health/health.ts'
import { upstreamOptions } from '../../../src/upstream/options.ts'
import { Upstream } from '../../../src/upstream/upstream.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** One of `count` endpoints at 127.0.0.1:1, :2, …; nobody is asked. */
function make(t: Test, count: number, options: Record<string, unknown>): Upstream {
  const endpoints = Array.from({ length: count }, (_, i) => `127.0.0.1:${i + 1}`)
  const parts = { resolve: (path: string) => path, makeBalancer: BALANCERS['round-robin'], poller: null, log }
  const upstream = new Upstream('up', upstreamOptions.parse({ endpoints, ...options }), parts)
  t.teardown(() => upstream.close())
  return upstream
}

function probed(upstream: Upstream, i: number, state: ActiveState): void {
  const { health } = upstream.endpoints[i]!
  const before = health.active
  health.active = state
  upstream.probed(upstream.endpoints[i]!, before)
}

t.test('panic begins below its share and not at it', async t => {
  const upstream = make(t, 25, { health: { panicBelow: '28%' } })
  for (let i = 0; i < 18; i++) probed(upstream, i, 'unhealthy')
  t.notOk(upstream.panic, '7 of 25 are 28%')
  t.equal(upstream.balancer.endpoints.length, 7)
  probed(upstream, 18, 'unhealthy')
  t.ok(upstream.panic)
  t.equal(upstream.balancer.endpoints.length, 25)
})
