// Upstreams without connections: which endpoints are dealt to, and what goes over to the next one of the name.
import t, { type Test } from 'tap'
import { BALANCERS } from '../../../src/upstream/balance/algorithms.ts'
import type { ActiveState } from '../../../src/upstream/health/health.ts'
import { upstreamOptions } from '../../../src/upstream/options.ts'
import { Upstream } from '../../../src/upstream/upstream.ts'
import { bench, instance } from '../../support/scripted-poller.ts'
import { eventually } from '../../support/within.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** One of `count` endpoints at 127.0.0.1:1, :2, …; nobody is asked. */
function make(t: Test, count: number, options: Record<string, unknown>, previous: Upstream | null = null): Upstream {
  const endpoints = Array.from({ length: count }, (_, i) => `127.0.0.1:${i + 1}`)
  const makeBalancer = BALANCERS['round-robin']
  const parts = { resolve: (path: string) => path, makeBalancer, poller: null, previous, log }
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

t.test('under other options endpoints stay as ill as they were found to be under the same', async t => {
  const active = { interval: '1h' }
  const passive = { consecutiveFailures: 1, ejectFor: '1s', maxEjected: '100%' }
  const health = { active, passive, panicBelow: '0%' }
  const first = make(t, 3, { health })
  probed(first, 0, 'unhealthy')
  first.endpoints[0]!.health.probeFault = 'status 503'
  first.endpoints[1]!.watcher!.ended(first.endpoints[1]!, true)
  const used = (upstream: Upstream) => upstream.balancer.endpoints.map(({ port }) => port)
  t.same(used(first), [3])
  const timeouts = { response: '1s' }
  const second = make(t, 4, { health, timeouts }, first)
  t.same(used(second), [3, 4])
  t.equal(second.endpoints[0]!.health.reason, 'probe: status 503')
  t.equal(second.endpoints[1]!.health.ejectedUntil, first.endpoints[1]!.health.ejectedUntil)
  t.equal(second.endpoints[2]!.health.active, 'unknown')
  const third = make(t, 3, { health }, second)
  first.close()
  second.close()
  for (const [more, wanted] of [
    [{ active: { ...active, path: '/other' }, passive }, [1, 3]],
    [{ active, passive: { ...passive, consecutiveFailures: 2 } }, [2, 3]],
    [{ active }, [2, 3]],
    [{ active: { ...active, interval: '2h', healthyAfter: 9, unhealthyAfter: 9 }, passive }, [3]],
    [{ active, passive: { ...passive, ejectFor: '2h', maxEjectFor: '3h' } }, [3]],
    [{ passive }, [1, 3]],
  ] as const) {
    t.same(used(make(t, 3, { health: { ...more, panicBelow: '0%' } }, third)), wanted, JSON.stringify(more))
  }
  t.same(used(make(t, 3, { health, host: 'a.example' }, third)), [1, 3], 'asked by another name')
  await eventually(
    () => used(third).length === 2,
    () => 'the ejection never ends',
  )
  t.same(used(third), [2, 3])
})

t.test('an ejection that goes over lasts no longer than one that begins', async t => {
  const upstream = (ejectFor: string, previous: Upstream | null) =>
    make(t, 2, { health: { passive: { consecutiveFailures: 1, ejectFor }, panicBelow: '0%' } }, previous)
  const long = upstream('1h', null)
  const [ill] = long.endpoints
  ill!.watcher!.ended(ill!, true)
  const short = upstream('50ms', long)
  t.equal(short.balancer.endpoints.length, 1)
  await eventually(
    () => short.balancer.endpoints.length === 2,
    () => 'the ejection never ends',
  )
  t.equal(long.balancer.endpoints.length, 1)
})

t.test('the end of an ejection is told where the endpoint is used again, not while probes find it ill', async t => {
  const lines: string[] = []
  const told = { ...log, info: (message: string) => void lines.push(message) }
  const health = { active: { interval: '1h' }, passive: { consecutiveFailures: 1, ejectFor: '10ms' }, panicBelow: '0%' }
  const options = upstreamOptions.parse({ endpoints: ['127.0.0.1:1', '127.0.0.1:2'], health })
  const makeBalancer = BALANCERS['round-robin']
  const parts = { resolve: (path: string) => path, makeBalancer, poller: null, previous: null, log: told }
  const upstream = new Upstream('up', options, parts)
  t.teardown(() => upstream.close())
  const [ill] = upstream.endpoints
  const ejection = async () => {
    ill!.watcher!.ended(ill!, true)
    t.not(ill!.health.ejectedUntil, 0)
    await eventually(
      () => ill!.health.ejectedUntil === 0,
      () => 'the ejection never ends',
    )
  }
  probed(upstream, 0, 'unhealthy')
  await ejection()
  t.same(lines, [])
  t.equal(upstream.balancer.endpoints.length, 1)
  probed(upstream, 0, 'healthy')
  t.same(lines, ['an endpoint is healthy again'])
  await ejection()
  t.same(lines.slice(1), ['an ejected endpoint is used again'])
  t.equal(upstream.balancer.endpoints.length, 2)
})

t.test('why there is nothing to pick', async t => {
  t.equal(make(t, 0, {}).whyNone, 'none is configured')
  const off = make(t, 0, { endpoints: [{ address: '127.0.0.1:1', weight: 0 }] })
  t.equal(off.whyNone, 'all 1 have weight 0')
  const ill = make(t, 2, { health: { active: {}, panicBelow: '0%' } })
  for (const i of [0, 1]) probed(ill, i, 'unhealthy')
  t.equal(ill.whyNone, 'none of 2 is healthy')
  t.equal(make(t, 2, {}).whyNone, 'the balancer picks none of 2', 'a balancer of the user')

  const { script, poller, pace } = bench(t)
  const options = upstreamOptions.parse({ discover: { from: 'r', service: 's', labels: { version: 'v2' } } })
  const makeBalancer = BALANCERS.random
  const parts = { resolve: (path: string) => path, makeBalancer, poller, previous: null, log }
  const found = new Upstream('up', options, parts)
  t.teardown(() => found.close())
  script.answer = () => Promise.reject(new Error('it is away'))
  poller.start()
  await poller.ready
  t.equal(found.whyNone, 'discovery fails: it is away')
  script.tell([])
  await pace.pass(30_000)
  t.equal(found.whyNone, 'the registry tells of no instance')
  script.tell([instance(1)])
  await pace.pass(30_000)
  t.match(found.whyNone, /none of 1 instances has the labels wanted \(version\)/)
})
