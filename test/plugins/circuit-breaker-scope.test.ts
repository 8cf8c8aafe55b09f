// The scopes of circuit-breaker in a running gateway: who shares one, for how long, and where it is shown.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Guards } from '../../plugins/circuit-breaker/guards.ts'
import { wheel } from '../../src/clock.ts'
import { registry } from '../../src/metrics.ts'
import { BreakerGateway, QUICK, Service } from '../support/breaker.ts'
import { configText } from '../support/gateway.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { eventually } from '../support/within.ts'

/** How often a breaker has opened so far, over all gateways of this process. */
async function opened(): Promise<number> {
  const { values } = await registry.getSingleMetric('sluice_plugin_events_total')!.get()
  return values
    .filter(({ labels }) => labels['plugin'] === 'circuit-breaker' && labels['event'] === 'opened')
    .reduce((sum, { value }) => sum + value, 0)
}

/** Routes of these names, each with its plugins, to `up`. */
function routesOf(plugins: Record<string, unknown[]>, upstream = 'up') {
  return Object.entries(plugins).map(([name, own]) => ({
    ...{ name, match: { path: `/${name}` }, upstream, plugins: own, retry: { attempts: 0 } },
  }))
}

t.test('scope upstream: all routes share it, gateway-wide or with the same options on each', async t => {
  const up = await Service.start(t)
  up.status = 500
  const breaker = { 'circuit-breaker': QUICK }
  const wide = await BreakerGateway.start(t, up, {}, { plugins: [breaker], routes: routesOf({ a: [], b: [] }) })
  t.same([await wide.statuses(2, '/a'), await wide.statuses(1, '/b')], [[500, 500], [503]])

  const meant = { 'circuit-breaker': { ...QUICK, openFor: '300s', scope: 'upstream', when: { method: '~.' } } }
  const other = { 'circuit-breaker': { ...QUICK, openFor: '4m' } }
  const routes = routesOf({ a: [breaker], b: ['request-id', breaker], c: [meant], d: [other], e: [other], f: [] })
  const before = await opened()
  const own = await BreakerGateway.start(t, up, {}, { routes, admin: { port: 0 } })
  t.same([await own.statuses(1, '/a'), await own.statuses(2, '/b')], [[500], [500, 503]], 'together they fail twice')
  t.same([await own.statuses(1, '/a'), await own.statuses(1, '/c')], [[503], [503]], 'written otherwise, the same')
  t.same([await own.statuses(2, '/d'), await own.statuses(1, '/e')], [[500, 500], [503]], 'other options, apart')
  t.same(await own.statuses(1, '/f'), [500])
  t.equal((await opened()) - before, 2, 'each move is counted once')
  const said = own.g.log.filter(line => line.message === 'circuit breaker is open').map(line => line.fields)
  t.match(said, [{ upstream: 'up', openForMs: Number }, { upstream: 'up' }])
  t.same([said.length, said[0]!['route']], [2, undefined], 'and logged once, of no route')
  const page = await fetch(`http://127.0.0.1:${own.g.gateway.adminPort}/upstreams`)
  const [{ state }] = (await page.json()) as { state: Record<string, unknown>[] }[]
  t.match(state, [
    { plugin: 'circuit-breaker', route: null, sharedBy: ['a', 'b', 'c'], state: 'open', refused: 3 },
    { plugin: 'circuit-breaker', route: null, sharedBy: ['d', 'e'], state: 'open', refused: 1 },
  ])
  t.equal(state!.length, 2)
})

t.test('who shares nothing: another gateway, the gateway-wide list, and a second breaker of one route', async t => {
  const up = await Service.start(t)
  up.status = 500
  const breaker = { 'circuit-breaker': { ...QUICK, minimumCalls: 4 } }
  const routes = routesOf({ a: [breaker] })
  const one = await BreakerGateway.start(t, up, {}, { routes })
  const two = await BreakerGateway.start(t, up, {}, { routes })
  t.same([await one.statuses(5, '/a'), await two.statuses(1, '/a')], [[500, 500, 500, 500, 503], [500]])
  const twice = await BreakerGateway.start(
    t,
    up,
    {},
    { plugins: [breaker], routes: routesOf({ a: [breaker, breaker], b: [breaker] }) },
  )
  t.same(await twice.statuses(4, '/a'), [500, 500, 500, 500], 'no call counts twice')
  t.same(
    twice.all().map(facts => facts.calls),
    [0, 0, 0],
    'all have opened: the gateway-wide one, the first of both routes, and the second of a',
  )
})

t.test('scope route: one for each route, shown with its route in /upstreams', async t => {
  const up = await Service.start(t)
  const instead = await Service.start(t)
  up.status = 500
  const upstreams = { instead: { endpoints: [instead.upstream.address] } }
  const breaker = { 'circuit-breaker': { ...QUICK, scope: 'route', fallback: { upstream: 'instead' } } }
  for (const [plugins, own] of [
    [[breaker], []],
    [[], [breaker]],
  ]) {
    const b = await BreakerGateway.start(
      t,
      up,
      {},
      { plugins, upstreams, routes: routesOf({ a: own!, b: own! }), admin: { port: 0 } },
    )
    t.same([await b.statuses(3, '/a'), await b.statuses(1, '/b')], [[500, 500, 200], [500]])
    t.match(b.facts('a', 'routes'), { state: 'open', scope: 'route' })
    t.match(b.facts('b', 'routes'), { state: 'closed', calls: 1 })
    const shown = async (path: string) =>
      (await fetch(`http://127.0.0.1:${b.g.gateway.adminPort}/${path}`)).json() as Promise<{ state?: object[] }[]>
    const [at, other] = await shown('upstreams')
    const routes = { a: { state: 'open', refused: 1 }, b: { state: 'closed', calls: 1 } }
    if (own!.length === 0) t.match(at!.state, [{ route: null, scope: 'route', routes }])
    else
      t.match(at!.state, [
        { route: 'a', scope: 'route', routes: { a: routes.a } },
        { route: 'b', scope: 'route', routes: { b: routes.b } },
      ])
    t.equal(other!.state, undefined, 'the upstream of the fallback is none of its business')
    t.match(await shown('routes'), [{ state: [{ state: 'open' }] }, { state: [{ state: 'closed' }] }])
  }
})

t.test('scope endpoint: routes with the same options share it', async t => {
  const up = await Service.start(t)
  up.status = 500
  const breaker = { 'circuit-breaker': { ...QUICK, scope: 'endpoint' } }
  const b = await BreakerGateway.start(t, up, {}, { routes: routesOf({ a: [breaker], b: [breaker] }) })
  t.same([await b.statuses(2, '/a'), await b.statuses(1, '/b')], [[500, 500], [503]])
})

t.test(
  'scope endpoint: an endpoint keeps its breaker while it is in the upstream, used or not, also over a reload',
  async t => {
    const [bad, good, late] = [await Service.start(t), await Service.start(t), await Service.start(t)]
    bad.status = 500
    const breaker = { 'circuit-breaker': { ...QUICK, scope: 'endpoint' } }
    const passive = { consecutiveFailures: 2, ejectFor: '1s' }
    const text = (services: Service[], more: object = {}) =>
      configText({
        up: {
          ...{ endpoints: services.map(({ upstream }) => upstream.address), ...more },
          health: { passive, panicBelow: '0%' },
        },
        route: { plugins: [breaker], retry: { attempts: 0 } },
      })
    const g = await startReloading(t, text([bad, good]))
    const { address } = bad.upstream
    const statuses = async (count: number) => {
      const found: number[] = []
      for (let i = 0; i < count; i++)
        found.push((await fetch(`http://127.0.0.1:${g.port}/`, { headers: { connection: 'close' } })).status)
      return found
    }
    const back = () =>
      eventually(
        () => g.gateway.snapshot.upstreams.get('up')!.balancer.endpoints.some(endpoint => endpoint.address === address),
        () => 'it stays ejected',
      )
    t.same(await statuses(5), [500, 200, 500, 200, 200], 'open, and ejected')
    t.ok(await g.reload(text([bad, good, late])))
    await statuses(4)
    t.ok(late.seen > 0, 'another breaker is made meanwhile')
    await back()
    t.same(await statuses(6), Array(6).fill(200), 'out of use for a while')
    t.ok(await g.reload(text([bad, good, late], { timeouts: { response: '29s' } })))
    t.same(await statuses(6), Array(6).fill(200), 'the upstream is made anew')
    t.equal(bad.seen, 2)
    t.ok(await g.reload(text([good, late])))
    await statuses(2)
    t.ok(await g.reload(text([bad, good, late])))
    await statuses(6)
    t.ok(bad.seen > 2, 'one that was removed begins closed')
    await g.gateway.stop()
  },
)

t.test('what routes share stays as long as one of them does, and ends with the last', async t => {
  const up = await Service.start(t)
  up.status = 500
  const breaker = (openFor: string) => [{ 'circuit-breaker': { minimumCalls: 2, openFor } }]
  const text = (names: string[], openFor = '5m', others: string[] = []) => {
    const routes = [...names, ...others].map(name => ({
      ...{ name, match: { path: `/${name[0]}` }, upstream: 'up', retry: { attempts: 0 } },
      plugins: others.includes(name) ? [] : breaker(openFor),
    }))
    return configText({ up: { endpoints: [up.upstream.address] }, routes })
  }
  const g = await startReloading(t, text(['a', 'b']))
  const ask = async (path: string) =>
    (await fetch(`http://127.0.0.1:${g.port}${path}`, { headers: { connection: 'close' } })).status
  t.same([await ask('/a'), await ask('/b'), await ask('/a')], [500, 500, 503])
  t.ok(await g.reload(text(['b'], '5m', ['a'])), 'the one that made it goes')
  t.same([await ask('/b'), await ask('/a')], [503, 500])
  t.ok(await g.reload(text(['a2', 'b2'])), 'renamed, and one is new')
  t.same([await ask('/a'), await ask('/b')], [503, 503])
  t.notOk(await g.reload(text(['a2', 'b2'], 'nonsense')), 'a faulty one changes nothing')
  t.ok(await g.reload(text(['a2', 'b2'], '4m')))
  t.same(
    [await ask('/a'), await ask('/b'), await ask('/a')],
    [500, 500, 503],
    'other options begin anew, and are shared',
  )
  t.ok(await g.reload(text([], '5m', ['a', 'b'])))
  t.equal(await ask('/a'), 500)
  t.ok(await g.reload(text(['a2', 'b2'], '4m')))
  t.equal(await ask('/a'), 500, 'nothing was left of it')
  await g.gateway.stop()
  await eventually(
    () => wheel.size === 0,
    () => `${wheel.size} timers are left`,
  )
})

t.test('of upstreams that come under ever new names little is kept', async t => {
  const rules = { window: 10_000, calls: 0, minimumCalls: 20, failureRate: 0.5, slowRate: Number.POSITIVE_INFINITY }
  const times = { consecutiveFailures: 0, openFor: 10_000, halfOpenCalls: 3, rampUp: 0 }
  const guards = new Guards('endpoint', { ...rules, ...times }, () => {})
  t.teardown(() => guards.close())
  const seen: WeakRef<object>[] = []
  for (let i = 0; i < 300; i++) {
    const endpoint = { address: '10.0.0.1:80' }
    const upstream = { name: `orders-${i}`, endpoints: [endpoint] }
    seen.push(new WeakRef(upstream))
    guards.of({ upstream, endpoint } as never)
  }
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // What a WeakRef was made of lives to the end of that turn.
  await new Promise(done => setImmediate(done))
  collect()
  const left = seen.filter(upstream => upstream.deref() !== undefined).length
  t.ok(left <= 65, `${left} of ${seen.length} are kept`)
})
