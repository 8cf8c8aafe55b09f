// Services that register, leave and come back in real registries, with traffic on the gateway all the while.
import t, { type Test } from 'tap'
import { type EtcdServer, startEtcd } from '../support/etcd-process.ts'
import { configText, startGateway, type TestGateway } from '../support/gateway.ts'
import { HealthService } from '../support/health-service.ts'
import { HttpLoad } from '../support/http-load.ts'
import { eventually, pause } from '../support/within.ts'
import { startZookeeper } from '../support/zookeeper-process.ts'

// Servers are started, killed and frozen.
t.setTimeout(240_000)

function start(t: Test, registry: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<TestGateway> {
  const text = configText({
    discovery: { reg: { interval: '500ms', timeout: '2s', ...registry } },
    up: { discover: { from: 'reg', service: 'orders' }, ...more },
    route: { retry: { attempts: 0 } },
  })
  return startGateway(t, text)
}

/** The ports that the gateway would pick from, in order. */
function ports(gateway: TestGateway): number[] {
  return gateway
    .upstream()
    .endpoints.map(({ port }) => port)
    .sort((a, b) => a - b)
}

/** Wait until the gateway knows just these. */
async function knows(gateway: TestGateway, services: readonly HealthService[], ms = 1000): Promise<void> {
  const wanted = JSON.stringify(services.map(({ port }) => port).sort((a, b) => a - b))
  await eventually(
    () => JSON.stringify(ports(gateway)) === wanted,
    () => `it knows ${JSON.stringify(ports(gateway))} and not ${wanted}`,
    ms,
  )
}

/** Three services. */
function three(t: Test): Promise<[HealthService, HealthService, HealthService]> {
  return Promise.all([HealthService.start(t), HealthService.start(t), HealthService.start(t)])
}

/** How one registry takes a service and lets it go. */
interface Shelf {
  readonly options: Record<string, unknown>
  put(service: HealthService): Promise<void>
  remove(service: HealthService): Promise<void>
  /** Put it there for as long as somebody vouches for it; what is returned stops that. */
  lease(service: HealthService): Promise<() => void>
}

function etcdShelf(etcd: EtcdServer): Shelf {
  const key = ({ port }: HealthService) => `/services/orders/${port}`
  return {
    options: { kind: 'etcd', address: etcd.url },
    put: service => etcd.put(key(service), service.address),
    remove: service => etcd.remove(key(service)),
    async lease(service) {
      await etcd.put(key(service), service.address, await etcd.lease(1))
      return () => {}
    },
  }
}

async function zookeeperShelf(t: Test): Promise<Shelf> {
  const zookeeper = await startZookeeper(t)
  const path = ({ port }: HealthService) => `/services/orders/${port}`
  return {
    options: { kind: 'zookeeper', address: zookeeper.address },
    put: service => zookeeper.put(path(service), service.address),
    remove: service => zookeeper.remove(path(service)),
    lease: service => zookeeper.putEphemeral(path(service), service.address),
  }
}

for (const [name, open] of [
  ['etcd', async (t: Test) => etcdShelf(await startEtcd(t))],
  ['zookeeper', zookeeperShelf],
] as const) {
  t.test(
    `${name}: what registers gets traffic within a second, what leaves gets none, and no request fails`,
    async t => {
      const shelf = await open(t)
      const [a, b, c] = await three(t)
      await shelf.put(a)
      await shelf.put(b)
      const gateway = await start(t, shelf.options)
      t.same(
        ports(gateway),
        [a.port, b.port].sort((x, y) => x - y),
        'known from the first request on',
      )
      const load = new HttpLoad(gateway.port, 8)
      await shelf.put(c)
      await eventually(
        () => c.requests > 0,
        () => 'it gets no traffic',
        1000,
      )
      await shelf.remove(a)
      await knows(gateway, [b, c])
      const before = a.requests
      const end = await shelf.lease(a)
      await eventually(
        // Eight clients may still have had one under way.
        () => a.requests > before + 8,
        () => 'it gets no traffic again',
        1000,
      )
      end()
      // The lease: one second in etcd, which looks twice a second; two in ZooKeeper at most.
      await knows(gateway, [b, c], 5000)
      const after = a.requests
      await pause(200)
      t.ok(a.requests - after <= 8, 'none but what was under way')
      await load.stop()
      t.same(load.failures, [])
      t.ok(load.requests > 100, `${load.requests} requests`)
    },
  )
}

t.test('etcd killed, restarted empty, compacted, frozen: no request fails, then it is caught up with', async t => {
  const etcd = await startEtcd(t)
  const shelf = etcdShelf(etcd)
  const [a, b, c] = await three(t)
  await shelf.put(a)
  await shelf.put(b)
  const gateway = await start(t, shelf.options)
  const load = new HttpLoad(gateway.port, 4, undefined, undefined, 2)
  const { poller } = gateway.upstream()

  await etcd.kill()
  await eventually(
    () => poller!.failure !== null,
    () => 'the failure is not noticed',
    10_000,
  )
  await knows(gateway, [a, b])
  await etcd.restartEmpty()
  await eventually(
    () => poller!.failure === null,
    () => 'it does not come back',
    35_000,
  )
  await knows(gateway, [a, b])
  t.equal(poller!.held, 2, 'an empty registry is not believed')
  for (const service of [a, b, c]) await shelf.put(service)
  await knows(gateway, [a, b, c], 3000)
  t.equal(poller!.held, 0)

  await etcd.compact(await etcd.revision())
  await shelf.remove(c)
  await knows(gateway, [a, b], 3000)

  await etcd.freeze()
  await pause(3000)
  await knows(gateway, [a, b])
  etcd.thaw()
  await shelf.put(c)
  await knows(gateway, [a, b, c], 35_000)
  await load.stop()
  t.same(load.failures, [])
  t.ok(load.requests > 100, `${load.requests} requests`)
})

t.test('discovered endpoints are probed, and shown with all that is known of them', async t => {
  const etcd = await startEtcd(t)
  const [a, b] = await three(t)
  await etcd.put('/services/orders/a', JSON.stringify({ address: a.address, weight: 3, labels: { version: 'v1' } }))
  await etcd.put('/services/orders/b', JSON.stringify({ address: b.address, labels: { version: 'v2' } }))
  const health = { active: { interval: '50ms', unhealthyAfter: 1 } }
  const gateway = await startGateway(t, {
    admin: { port: 0 },
    discovery: { reg: { kind: 'etcd', address: etcd.url } },
    up: { discover: { from: 'reg', service: 'orders' }, health },
    upstreams: {
      v2: { discover: { from: 'reg', service: 'orders', labels: { version: 'v2' } } },
      v3: { discover: { from: 'reg', service: 'orders', labels: { version: 'v3' } } },
    },
  })
  a.fallIll(500)
  await eventually(
    () => gateway.upstream().endpoints.some(endpoint => !endpoint.health.usable),
    () => 'it is not probed',
  )
  const answer = await fetch(`http://127.0.0.1:${gateway.gateway.adminPort}/upstreams`)
  const pages = (await answer.json()) as Record<string, unknown>[]
  t.match(
    pages.find(({ name }) => name === 'up'),
    {
      name: 'up',
      available: true,
      panic: false,
      discovery: {
        source: 'reg/orders',
        ageSeconds: Number,
        failure: null,
        fromState: false,
        told: 2,
        held: 0,
        mismatch: null,
      },
    },
  )
  t.match(
    pages.find(({ name }) => name === 'v3'),
    { discovery: { told: 2, mismatch: 'none of 2 instances has the labels wanted (version)' }, endpoints: [] },
  )
  const endpoints = pages.find(({ name }) => name === 'up')!['endpoints'] as Record<string, unknown>[]
  t.match(
    endpoints.find(({ address }) => address === a.address),
    {
      weight: 3,
      labels: { version: 'v1' },
      source: 'reg/orders',
      inFlight: 0,
      latencyMs: Number,
      health: { usable: false, active: 'unhealthy', reason: 'probe: status 500', ejectedUntil: null },
    },
  )
  t.same(
    gateway.upstream('v2').endpoints.map(({ address }) => address),
    [b.address],
    'picked by label',
  )
  const metrics = await (await fetch(`http://127.0.0.1:${gateway.gateway.adminPort}/metrics`)).text()
  t.match(metrics, /^sluice_discovery_instances\{registry="reg",service="orders"\} 2$/m)
  t.match(metrics, /^sluice_discovery_age_seconds\{registry="reg",service="orders"\} [\d.]+$/m)
})

t.test('a reload keeps the poller, the endpoints and their numbers', async t => {
  const etcd = await startEtcd(t)
  const shelf = etcdShelf(etcd)
  const [a, b] = await three(t)
  await shelf.put(a)
  const gateway = await start(t, shelf.options)
  const { poller, endpoints } = gateway.upstream()
  t.ok(await gateway.gateway.reload())
  t.equal(gateway.upstream().poller, poller)
  t.equal(gateway.upstream().endpoints[0], endpoints[0])
  await shelf.put(b)
  await knows(gateway, [a, b])
})

t.test('a registry that is not there: the gateway starts, answers 503, and finds the service later', async t => {
  const etcd = await startEtcd(t)
  const shelf = etcdShelf(etcd)
  const [a] = await three(t)
  await shelf.put(a)
  await etcd.kill()
  const gateway = await start(t, shelf.options)
  const status = async () => (await fetch(`http://127.0.0.1:${gateway.port}/`)).status
  t.equal(await status(), 503)
  await etcd.start()
  await eventually(
    async () => (await status()) === 200,
    () => 'it is never found',
    35_000,
  )
})
