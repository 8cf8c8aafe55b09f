// rate-limit in a running gateway: answers and their headers, faults of options, reloads, and three gateways on one Redis that comes and goes.
// Over 300 lines because it is the list of what the page of the plugin promises.
import { join } from 'node:path'
import { parseList } from 'structured-headers'
import t, { type Test } from 'tap'
import bundled from '../../plugins/bundled.ts'
import { unitsOf } from '../../plugins/rate-limit/cost.ts'
import rateLimit from '../../plugins/rate-limit/index.ts'
import { formatFault } from '../../src/config/fault.ts'
import { loadText } from '../../src/config/load.ts'
import type { Exchange } from '../../src/exchange/exchange.ts'
import { Slot } from '../../src/exchange/slot.ts'
import type { Reply } from '../../src/http/head.ts'
import { Catalog } from '../../src/pipeline/catalog.ts'
import type { PluginContext } from '../../src/pipeline/plugin.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { type ChildGateway, startChild } from '../support/child-gateway.ts'
import { configText, type GatewayConfig, startGateway } from '../support/gateway.ts'
import { HttpLoad } from '../support/http-load.ts'
import { startRedis } from '../support/redis-server.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { signer, token } from '../support/tokens.ts'
import { eventually } from '../support/within.ts'

// Processes of their own take their time on a busy machine.
t.setTimeout(240_000)

/** A gateway that answers itself, with these plugins on its one route. */
function config(plugins: unknown[], more: GatewayConfig = {}): GatewayConfig {
  return { routes: [{ name: 'all', match: { path: '/*' }, respond: { status: 200, body: 'fine' }, plugins }], ...more }
}

const ask = (port: number, headers: Record<string, string> = {}, path = '/') =>
  fetch(`http://127.0.0.1:${port}${path}`, { headers: { ...headers, connection: 'close' } })

/** The items of a structured list: name to its parameters. */
function items(field: string | null): Record<string, Record<string, unknown>> {
  const found: Record<string, Record<string, unknown>> = {}
  for (const [name, parameters] of parseList(field ?? '')) {
    if (typeof name !== 'string') throw new Error(`${JSON.stringify(name)} is no string`)
    found[name] = Object.fromEntries(parameters as Map<string, unknown>)
  }
  return found
}

t.test('admits, counts down, refuses, and says so', async t => {
  const { port } = await startGateway(t, config([{ 'rate-limit': { limit: 3, window: '1h' } }]))
  for (const left of [2, 1, 0]) {
    const answer = await ask(port)
    t.equal(answer.status, 200)
    t.same(items(answer.headers.get('ratelimit-policy')), { default: { q: 3, w: 3600 } })
    const { r, t: reset } = items(answer.headers.get('ratelimit'))['default']!
    t.equal(r, left)
    t.ok(Number.isInteger(reset) && (reset as number) > 0 && (reset as number) <= 7200)
    t.equal(answer.headers.get('retry-after'), null)
  }
  const refused = await ask(port)
  t.equal(refused.status, 429)
  t.equal(refused.headers.get('content-type'), 'application/problem+json')
  t.match(await refused.json(), { code: 'SLUICE_RATE_LIMITED', status: 429, title: 'Too many requests' })
  t.match(items(refused.headers.get('ratelimit')), { default: { r: 0 } })
  const after = Number(refused.headers.get('retry-after'))
  t.ok(Number.isInteger(after) && after > 0 && after <= 7200, `${after}`)
  t.equal(items(refused.headers.get('ratelimit'))['default']!['t'], after, 'both say the same')
})

t.test('several limits and two entries: each stands in both fields', async t => {
  const limits = [
    { limit: 5, window: '250ms' },
    { limit: 10, window: '1m' },
    { limit: 100, window: '1h', name: 'long run' },
  ]
  const plugins = [{ 'rate-limit': { limits } }]
  const everywhere = [{ 'rate-limit': { limit: 50, name: 'everybody' } }]
  const { port } = await startGateway(t, config(plugins, { plugins: everywhere }))
  const { headers } = await ask(port)
  t.same(items(headers.get('ratelimit-policy')), {
    '250ms': { q: 5 },
    '1m': { q: 10, w: 60 },
    'long run': { q: 100, w: 3600 },
    everybody: { q: 50, w: 60 },
  })
  t.match(items(headers.get('ratelimit')), {
    '250ms': { r: 4 },
    '1m': { r: 9 },
    'long run': { r: 99 },
    everybody: { r: 49 },
  })
})

t.test('keys, costs, dry runs', async t => {
  const { port } = await startGateway(
    t,
    config([
      { 'rate-limit': { limit: 10, window: '1h', key: 'header.x-account+method', cost: 'header.x-cost' } },
      { 'rate-limit': { limit: 1, window: '1h', dryRun: true, name: 'trial' } },
    ]),
  )
  const left = async (headers: Record<string, string>) =>
    items((await ask(port, headers)).headers.get('ratelimit'))['default']!['r']
  t.equal(await left({ 'x-account': 'a', 'x-cost': '4' }), 6)
  t.equal(await left({ 'x-account': 'b', 'x-cost': '2.5' }), 7, 'rounded up, for another account')
  t.equal(await left({ 'x-account': 'a', 'x-cost': '-5' }), 5, 'never less than 1')
  const refused = await ask(port, { 'x-account': 'a', 'x-cost': '6' })
  t.equal(refused.status, 429)
  t.ok(refused.headers.get('retry-after'))
  const never = await ask(port, { 'x-account': 'a', 'x-cost': '11' })
  t.equal(never.status, 429)
  t.equal(never.headers.get('retry-after'), null, 'no wait would help')
  t.equal(await left({ 'x-account': 'a', 'x-cost': '5' }), 0, 'what was refused was not counted')
  const last = await ask(port, { 'x-account': 'c' })
  t.equal(last.status, 200, 'the dry run refuses nobody')
  t.match(items(last.headers.get('ratelimit')), { trial: { r: 0 } })
})

t.test('what a client sends as key is never the key of a client that sends none', async t => {
  const { port } = await startGateway(t, config([{ 'rate-limit': { limit: 2, window: '1h', key: 'header.x-k' } }]))
  const left = async (headers: Record<string, string>) => items((await ask(port, headers)).headers.get('ratelimit'))
  t.match(await left({}), { default: { r: 1 } })
  for (const value of ['127.0.0.1', '/127.0.0.1', '//127.0.0.1']) {
    t.match(await left({ 'x-k': value }), { default: { r: 1 } }, value)
    t.match(await left({ 'x-k': value }), { default: { r: 0 } }, 'the same twice')
  }
  t.match(await left({}), { default: { r: 0 } }, 'the client without a key has been charged for itself alone')
})

t.test('a claim inside a claim is a key, as it is a header for the upstream', async t => {
  const by = signer('ES256')
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [by.jwk] }) })
  const jwt = { issuers: [{ jwksFile: join(folder, 'k.json') }] }
  const { port } = await startGateway(
    t,
    config([{ jwt }, { 'rate-limit': { limit: 2, window: '1h', key: 'jwt.org.id' } }]),
  )
  const left = async (claims: object) => {
    const answer = await ask(port, { authorization: `Bearer ${token(by, claims)}` })
    return items(answer.headers.get('ratelimit'))['default']!['r']
  }
  t.equal(await left({ org: { id: 'one' } }), 1)
  t.equal(await left({ org: { id: 'two' } }), 1, 'another organisation at the same address')
  t.equal(await left({ sub: 'b', org: { id: 'one' } }), 0)
  t.equal(await left({ 'org.id': 'one', org: { id: 'three' } }), 0, 'a claim of that very name counts first')
})

t.test('what a cost may look like', async t => {
  const texts = [
    '1',
    '7',
    '2.5',
    '0',
    '-1',
    '1e9',
    'x',
    '',
    ' 3',
    '99999999999999999999',
    '00000000000000000011',
    undefined,
  ]
  t.same(texts.map(unitsOf), [1, 7, 3, 1, 1, 1, 1, 1, 1, 1_000_000_000, 11, 1])
})

/** The plugin alone, on a clock that a test moves. */
function onClock(options: Record<string, unknown>) {
  const clock = { now: 0 }
  const store = new MemoryStore('memory', () => clock.now)
  const context: PluginContext = {
    route: null,
    site: 'test',
    baseDir: '.',
    upstreams: new Set(),
    slot: <T>() => new Slot<T>(0),
    store: () => store,
    counter: () => () => {},
    log: () => {},
  } as unknown as PluginContext
  const plugin = rateLimit.create(rateLimit.options.parse(options), context)
  const x = { slots: [], clientIp: '10.0.0.1', requestId: 'id' } as unknown as Exchange
  return (now: number): Reply | null => {
    clock.now = now
    return (plugin.onRequest!(x) as Reply | undefined) ?? null
  }
}

t.test('Retry-After is true: a request sent then passes, one sent 5 % earlier does not', async t => {
  for (const algorithm of ['sliding-window', 'sliding-log', 'token-bucket']) {
    for (const burst of [100, 150, 400]) {
      // A quarter of an hour into the hour, so many at once, and another.
      const start = 900_000
      const history = (at: (now: number) => Reply | null) => {
        for (let i = 0; i < burst; i++) at(start + i * 100)
        return at(start + burst * 100)
      }
      const options = { limit: 100, window: '1h', algorithm }
      const reply = history(onClock(options))
      if (reply === null) {
        t.equal(algorithm, 'token-bucket', 'only a bucket has got one back by then')
        continue
      }
      const after = Number(reply.headers[reply.headers.indexOf('retry-after') + 1])
      const [then, earlier] = [onClock(options), onClock(options)]
      history(then)
      history(earlier)
      t.equal(then(start + burst * 100 + after * 1000), null, `${algorithm} after ${after} s`)
      const sooner = Math.min(after * 0.95, after - 1)
      t.equal(earlier(start + burst * 100 + sooner * 1000 - 1)?.status, 429, `${algorithm} after ${sooner} s`)
    }
  }
})

t.test('the burst around a boundary fails', async t => {
  const at = onClock({ limit: 100, window: '1m' })
  let passed = 0
  for (let i = 0; i < 100; i++) if (at(59_900) === null) passed++
  for (let i = 0; i < 100; i++) if (at(60_100) === null) passed++
  t.equal(passed, 101, 'not 200')
})

t.test('faults of options', async t => {
  const wrong: [options: Record<string, unknown>, fault: RegExp][] = [
    [{}, /\d+:\d+ plugins\[0\]\.rate-limit: a limit is due/],
    [{ limit: 0 }, /limit: a whole number from 1 to 1,000,000,000 is due \(SLUICE_CONFIG_INVALID\)/],
    [{ limit: 1.5 }, /limit: a whole number from 1/],
    [{ limit: 1, limits: [{ limit: 1, window: '1s' }] }, /limit: either `limit` or `limits`/],
    [{ limits: [] }, /limits: at least one limit is due/],
    [{ limits: [{ limit: 1, window: '1s' }], window: '1s' }, /window: `window` stands with each/],
    [
      {
        limits: [
          { limit: 1, window: '1s' },
          { limit: 2, window: '1s' },
        ],
      },
      /two limits are named "1s"/,
    ],
    [
      { limit: 1, store: 'shard' },
      /store: there is no store "shard"; did you mean "shared"\? \(SLUICE_CONFIG_PLUGIN\)/,
    ],
    [{ limit: 1, mode: 'lease' }, /mode: a lease is taken from a shared store/],
    [{ limit: 1, mode: 'lease', store: 'shared', lease: '20%' }, /lease: must be between 1% and 5%/],
    [{ limit: 20_000, algorithm: 'sliding-log' }, /limit: sliding-log takes limits up to 10000/],
    [{ limit: 5, burst: 10 }, /burst: only the token-bucket has a burst/],
    [{ limit: 5, cost: 6 }, /limit: no request would ever pass/],
    [{ limit: 5, key: 'client.name' }, /key: "client.name" is no attribute/],
    [{ limit: 5, cost: 'costs' }, /cost: "costs" is no attribute/],
    [{ limit: 5, window: '0ms' }, /window: must be at least 1ms/],
    [{ limit: 5, name: 'a"b' }, /name: letters, digits/],
    [{ limit: 5, windows: '1m' }, /windows: unknown key; did you mean "window"\?/],
  ]
  for (const [options, fault] of wrong) {
    const text = configText(
      config([], { plugins: [{ 'rate-limit': options }], stores: { shared: { kind: 'redis', url: 'redis://x' } } }),
    )
    const { faults } = await loadText(text, join(t.testdirName, 'g.yaml'), { env: {}, catalog: new Catalog(bundled) })
    t.equal(faults.length, 1, JSON.stringify(options))
    t.match(formatFault(faults[0]!), fault)
  }
})

t.test('counts outlive a reload, also one that changes the limit; another key counts anew', async t => {
  const text = (options: Record<string, unknown>) =>
    configText(config([{ 'rate-limit': { window: '1h', ...options } }]))
  const gateway = await startReloading(t, text({ limit: 5 }))
  const left = async () => items((await ask(gateway.port)).headers.get('ratelimit'))['default']!['r']
  t.equal(await left(), 4)
  t.ok(await gateway.reload(`${text({ limit: 5 })}# the same\n`))
  t.equal(await left(), 3)
  t.ok(await gateway.reload(text({ limit: 8 })))
  t.equal(await left(), 5)
  t.ok(await gateway.reload(text({ limit: 8, key: 'host' })))
  t.equal(await left(), 7)
})

t.test('a store is carried over, exchanged and closed by reloads', async t => {
  const redis = await startRedis(t)
  // But for the one that asks.
  const clients = async () => (await redis.info('connected_clients')) - 1
  const text = (store: Record<string, unknown> | null, limit: number) =>
    configText(
      config([{ 'rate-limit': { limit, window: '1h', store: store === null ? 'memory' : 'shared' } }], {
        stores: store === null ? {} : { shared: { kind: 'redis', url: redis.url, budget: '1s', ...store } },
      }),
    )
  const gateway = await startReloading(t, text({}, 5))
  const left = async () => items((await ask(gateway.port)).headers.get('ratelimit'))['default']!['r']
  t.equal(await left(), 4)
  t.equal(await clients(), 1)
  const before = gateway.gateway.snapshot.stores.get('shared')!.store
  t.ok(await gateway.reload(text({}, 6)))
  t.equal(gateway.gateway.snapshot.stores.get('shared')!.store, before)
  t.equal(await left(), 4)
  t.ok(await gateway.reload(text({ onFailure: 'deny' }, 6)))
  t.not(gateway.gateway.snapshot.stores.get('shared')!.store, before)
  t.equal(await left(), 3, 'the plugin, unchanged itself, counts in the new one')
  await eventually(
    async () => (await clients()) === 1,
    () => 'the old connection stays open',
  )
  t.ok(await gateway.reload(text(null, 6)))
  t.equal(await left(), 5)
  await eventually(
    async () => (await clients()) === 0,
    () => 'the connection stays open',
  )
})

t.test('deny: 503, and of RateLimit what is known', async t => {
  const redis = await startRedis(t)
  const stores = { shared: { kind: 'redis', url: redis.url, onFailure: 'deny' } }
  const { port } = await startGateway(t, config([{ 'rate-limit': { limit: 5, store: 'shared' } }], { stores }))
  await redis.kill()
  for (let i = 0; i < 10; i++) {
    const answer = await ask(port)
    t.equal(answer.status, 503)
    t.equal(answer.headers.get('ratelimit'), null)
    t.equal(answer.headers.get('ratelimit-policy'), '"default";q=5;w=60')
    t.match(await answer.json(), { code: 'SLUICE_STORE_UNAVAILABLE' })
  }
})

/** Three gateways, each a process of its own, on one Redis. */
function three(
  t: Test,
  url: string,
  options: Record<string, unknown>,
  store: Record<string, unknown> = {},
): Promise<ChildGateway[]> {
  const text = configText({
    ...config([{ 'rate-limit': { store: 'shared', key: 'header.x-key', ...options } }], {
      stores: { shared: { kind: 'redis', url, ...store } },
    }),
    admin: { port: 0 },
  })
  return Promise.all([1, 2, 3].map(() => startChild(t, text)))
}

t.test('three gateways in three processes admit no more than one', async t => {
  const redis = await startRedis(t)
  const gateways = await three(t, redis.url, { limit: 200, window: '1h' }, { budget: '5s' })
  const statuses = new Map<number, number>()
  await Promise.all(
    gateways.map(async ({ port }) => {
      const load = new HttpLoad(
        port,
        8,
        () => '/',
        ({ status }) => {
          statuses.set(status, (statuses.get(status) ?? 0) + 1)
          return null
        },
      )
      await eventually(
        () => load.requests > 700,
        () => `${load.requests} requests`,
        30_000,
      )
      await load.stop()
      t.same(load.failures, [])
    }),
  )
  t.equal(statuses.get(200), 200)
  t.ok(statuses.get(429)! > 1800, `${statuses.get(429)} refused: ten times the limit asked`)
  t.same([...statuses.keys()].sort(), [200, 429])
})

t.test('Redis dies and comes back under load: no 5xx, shares by gateways alive, one line a switch', async t => {
  for (const onFailure of ['local', 'allow']) {
    const redis = await startRedis(t)
    const gateways = await three(t, redis.url, { limit: 300, window: '1h' }, { onFailure, budget: '2s' })
    await eventually(
      async () => {
        const pages = await Promise.all(gateways.map(({ adminPort }) => metrics(adminPort)))
        return pages.every(page => /sluice_store_gateways\{store="shared"\} 3/.test(page))
      },
      () => 'they do not know of each other',
      10_000,
    )
    await redis.kill()
    const statuses = new Map<number, number>()
    const loads = gateways.map(
      ({ port }) =>
        new HttpLoad(
          port,
          4,
          () => '/',
          ({ status }) => {
            statuses.set(status, (statuses.get(status) ?? 0) + 1)
            return status >= 500 ? `status ${status}` : null
          },
        ),
    )
    await eventually(
      () => loads.every(({ requests }) => requests > 300),
      () => 'too slow',
      30_000,
    )
    if (onFailure === 'local') t.equal(statuses.get(200), 300, 'three thirds')
    else t.same([...statuses.keys()], [200])
    await redis.start()
    await eventually(
      () => gateways.every(({ process }) => process.log.some(({ msg }) => msg === 'a store answers again')),
      () => 'Redis is not taken up again',
      15_000,
    )
    for (const load of loads) {
      await load.stop()
      t.same(load.failures, [])
    }
    for (const { process, adminPort } of gateways) {
      const told = process.log.filter(({ msg }) => /^a store/.test(String(msg))).map(({ msg }) => msg)
      t.same(told, ['a store does not answer', 'a store answers again'])
      const page = await metrics(adminPort)
      t.match(page, /sluice_store_switches_total\{store="shared",to="down"\} 1/)
      t.match(page, /sluice_store_switches_total\{store="shared",to="up"\} 1/)
      t.match(page, /sluice_store_up\{store="shared"\} 1/)
      process.kill('SIGTERM')
      t.same(await process.exit(), { code: 0, signal: null })
    }
  }
})

async function metrics(port: number): Promise<string> {
  const page = await fetch(`http://127.0.0.1:${port}/metrics`, { headers: { connection: 'close' } })
  return page.text()
}

t.test('the bound of a lease is a metric', async t => {
  const redis = await startRedis(t)
  const [first, ...others] = await three(t, redis.url, { limit: 1000, window: '1h', mode: 'lease', lease: '5%' })
  await ask(first!.port)
  await eventually(
    async () =>
      /sluice_lease_over_admission_bound\{store="shared",counter=".*"\} 150\n/.test(await metrics(first!.adminPort)),
    () => 'no such metric',
    10_000,
  )
  t.equal(others.length, 2)
})
