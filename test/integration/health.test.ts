// Endpoints that fall ill and heal, seen by active probes and by their answers, through a running gateway.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { wheel } from '../../src/clock.ts'
import { type GatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts'
import { HealthService } from '../support/health-service.ts'
import { eventually } from '../support/within.ts'

async function services(t: Test, count: number): Promise<HealthService[]> {
  return Promise.all(Array.from({ length: count }, () => HealthService.start(t)))
}

/** One request; the status and the port of the service that answered. */
async function ask(
  gateway: TestGateway,
  headers: Record<string, string> = {},
): Promise<{ status: number; port: number }> {
  const answer = await fetch(`http://127.0.0.1:${gateway.port}/x`, { headers })
  return { status: answer.status, port: Number(await answer.text()) || 0 }
}

/** The ports that answered so many requests, each once. */
async function answering(gateway: TestGateway, requests = 12): Promise<number[]> {
  const ports = new Set<number>()
  for (let i = 0; i < requests; i++) ports.add((await ask(gateway)).port)
  return [...ports].sort((a, b) => a - b)
}

const upstream = (all: readonly HealthService[], more: Record<string, unknown>): GatewayConfig => ({
  up: { endpoints: all.map(({ address }) => address), ...more },
  route: { retry: { attempts: 0 } },
})

const ACTIVE = { interval: '50ms', timeout: '500ms', healthyAfter: 2, unhealthyAfter: 2 }

const sorted = (all: readonly HealthService[]) => all.map(({ port }) => port).sort((a, b) => a - b)

t.test('active: out after the configured failures, back after healing, without any traffic', async t => {
  const all = await services(t, 3)
  const [a, b, c] = all as [HealthService, HealthService, HealthService]
  // On a machine that stands still for a second the others may look ill, too: a stays out all the same.
  const gateway = await startGateway(t, upstream(all, { health: { active: ACTIVE, panicBelow: '0%' } }))
  const up = gateway.upstream()
  /** Each of these serves, and nobody else. */
  const answer = (...those: HealthService[]) =>
    eventually(
      async () => (await answering(gateway)).join() === sorted(those).join(),
      () => `not those of ${sorted(those)} answer`,
    )
  await eventually(
    () => up.endpoints.every(endpoint => endpoint.health.active === 'healthy'),
    () => 'the first probes did not come',
  )
  await answer(...all)
  for (const [fall, why] of [
    [() => a.fallIll(503), /status 503/],
    [() => a.fallIll(0), /no answer in time/],
    [() => a.close(), /ECONNREFUSED/],
  ] as const) {
    await fall()
    await eventually(
      () => !up.endpoints[0]!.health.usable,
      () => 'it is not found to be ill',
    )
    t.match(up.endpoints[0]!.health.reason, why)
    t.notOk((await answering(gateway)).includes(a.port), 'nothing goes there')
    await answer(b, c)
    if (why.test('ECONNREFUSED')) await a.listen()
    a.healthz = 200
    await eventually(
      () => up.endpoints[0]!.health.usable,
      () => 'it does not come back',
    )
    await answer(a, b, c)
  }
  t.equal(a.status, 200, 'nobody was told of its answers')
  t.ok(gateway.log.some(line => line.message === 'an endpoint is unhealthy'))
})

t.test('active: one bad answer is not enough, and neither is one good', async t => {
  const all = await services(t, 2)
  const [a] = all as [HealthService]
  // Time enough for an answer: a probe that timed out would count, and not be seen.
  const active = { ...ACTIVE, timeout: '10s', unhealthyAfter: 3, healthyAfter: 3 }
  const gateway = await startGateway(t, upstream(all, { health: { active } }))
  const { health } = gateway.endpoint()
  await eventually(
    () => health.active === 'healthy',
    () => 'the first probe did not come',
  )
  const probesUntil = async (met: () => boolean) => {
    const before = a.probes
    await eventually(met, () => 'nothing changes')
    return a.probes - before
  }
  a.healthz = 500
  const bad = await probesUntil(() => health.active === 'unhealthy')
  t.ok(bad >= 2 && bad <= 4, `${bad} bad probes`)
  a.healthz = 204
  const good = await probesUntil(() => health.active === 'healthy')
  t.ok(good >= 2 && good <= 4, `${good} good probes`)
})

t.test('passive: out after the configured failures, back by itself, and out for longer the next time', async t => {
  const all = await services(t, 2)
  const [a, b] = all as [HealthService, HealthService]
  const passive = { consecutiveFailures: 3, ejectFor: '2s' }
  const gateway = await startGateway(t, upstream(all, { health: { passive } }))
  const { health } = gateway.endpoint()
  a.status = 503
  for (const round of [1, 2]) {
    let failed = 0
    for (let i = 0; i < 8; i++) if ((await ask(gateway)).status === 503) failed++
    t.equal(failed, 3, 'three clients saw it')
    t.same(await answering(gateway), [b.port])
    t.match(health.reason, /3 failures in a row/)
    const length = health.ejectedUntil - wheel.time()
    t.ok(length > (round - 1) * 2000 && length <= round * 2000 + 25, `round ${round}: ${length} ms to go`)
    await eventually(
      () => health.usable,
      () => 'it does not come back',
    )
  }
  a.status = 200
  t.same(await answering(gateway), sorted(all))
})

t.test('passive: connections that fail count, clients that go away do not', async t => {
  const all = await services(t, 2)
  const [a] = all as [HealthService]
  const gateway = await startGateway(
    t,
    upstream(all, { health: { passive: { consecutiveFailures: 2, ejectFor: '10s' } } }),
  )
  const { health } = gateway.endpoint()
  a.status = 0
  for (let i = 0; i < 6; i++) {
    const before = a.requests
    const client = await gateway.connect()
    client.head('GET / HTTP/1.1', 'Host: h')
    if (i % 2 === 0) {
      await eventually(
        () => a.requests > before,
        () => 'the request does not arrive',
      )
    }
    client.socket.destroy()
  }
  await gateway.quiet()
  t.equal(health.consecutiveFailures, 0)
  await a.close()
  const seen: number[] = []
  for (let i = 0; i < 6; i++) seen.push((await ask(gateway)).status)
  t.equal(seen.filter(status => status === 502).length, 2)
  t.notOk(health.usable)
})

t.test('an active success ends an ejection', async t => {
  const all = await services(t, 2)
  const [a] = all as [HealthService]
  const gateway = await startGateway(
    t,
    upstream(all, {
      // Probes that fail must not put it out by themselves.
      health: { active: { ...ACTIVE, unhealthyAfter: 100 }, passive: { consecutiveFailures: 1, ejectFor: '10m' } },
    }),
  )
  const { health } = gateway.endpoint()
  await eventually(
    () => health.active === 'healthy',
    () => 'the first probe did not come',
  )
  a.status = 500
  a.healthz = 503
  await eventually(
    () => /503/.test(health.probeFault),
    () => 'no probe failed',
  )
  await ask(gateway)
  await ask(gateway)
  t.notOk(health.usable)
  a.status = 200
  a.healthz = 200
  await eventually(
    () => health.usable,
    () => 'it stays out',
  )
})

t.test('panic: with too few healthy all are used; at 0% none is', async t => {
  const all = await services(t, 3)
  const gateway = await startGateway(t, upstream(all, { health: { active: ACTIVE } }))
  const up = gateway.upstream()
  for (const service of all) service.healthz = 503
  await eventually(
    () => up.endpoints.every(endpoint => !endpoint.health.usable),
    () => 'they are not found to be ill',
  )
  t.ok(up.panic)
  t.notOk(up.available)
  t.same(await answering(gateway), sorted(all))
  for (const service of all) service.healthz = 200
  await eventually(
    () => !up.panic && up.endpoints.every(endpoint => endpoint.health.usable),
    () => 'it stays in panic',
  )
  t.same(await answering(gateway), sorted(all))

  const strict = await startGateway(t, upstream(all, { health: { active: ACTIVE, panicBelow: '0%' } }))
  for (const service of all) service.healthz = 503
  await eventually(
    () => strict.upstream().balancer.endpoints.length === 0,
    () => 'some are used on',
  )
  t.equal((await ask(strict)).status, 503)
})

t.test('slow start: one that comes back gets little at first', async t => {
  const all = await services(t, 2)
  const [a, b] = all as [HealthService, HealthService]
  const gateway = await startGateway(t, upstream(all, { health: { active: ACTIVE }, slowStart: '10m' }))
  const up = gateway.upstream()
  await eventually(
    () => up.endpoints.every(endpoint => endpoint.health.active === 'healthy'),
    () => 'the first probes did not come',
  )
  t.same(
    up.endpoints.map(({ share }) => share),
    [1, 1],
    'nobody starts slowly when all do',
  )
  a.healthz = 503
  await eventually(
    () => !up.endpoints[0]!.health.usable,
    () => 'it is not found to be ill',
  )
  a.healthz = 200
  await eventually(
    () => up.endpoints[0]!.health.usable,
    () => 'it does not come back',
  )
  a.requests = b.requests = 0
  await answering(gateway, 110)
  t.ok(a.requests >= 5 && a.requests <= 20, `${a.requests} of 110`)
})

t.test('a reload keeps health and numbers of the endpoints that stay', async t => {
  const all = await services(t, 3)
  const [a, b, c] = all as [HealthService, HealthService, HealthService]
  const health = { passive: { consecutiveFailures: 1, ejectFor: '60s' } }
  const gateway = await startGateway(t, upstream([a, b], { health }))
  const [first] = gateway.upstream().endpoints
  a.status = 500
  await answering(gateway, 4)
  t.notOk(first!.health.usable)
  const text = (list: readonly HealthService[]) => JSON.stringify(upstreamFile(list, health))
  writeFileSync(join(gateway.folder, 'gateway.yaml'), text([a, b, c]))
  t.ok(await gateway.gateway.reload())
  t.equal(gateway.upstream().endpoints[0], first)
  t.notOk(first!.health.usable)
  t.same(await answering(gateway), sorted([b, c]))
})

function upstreamFile(list: readonly HealthService[], health: object): object {
  return {
    listeners: [{ name: 'web', port: 0 }],
    admin: 'off',
    shutdown: { grace: '2s' },
    upstreams: { up: { endpoints: list.map(({ address }) => address), health } },
    routes: [{ name: 'all', match: { path: '/*' }, upstream: 'up', retry: { attempts: 0 } }],
  }
}

t.test('ring-hash: the same key meets the same endpoint, a missing one the client’s', async t => {
  const all = await services(t, 3)
  const gateway = await startGateway(t, upstream(all, { balance: 'ring-hash', hashOn: 'header.x-user' }))
  const seen = new Set<number>()
  for (let user = 0; user < 30; user++) {
    const { port } = await ask(gateway, { 'x-user': `u${user}` })
    for (let i = 0; i < 3; i++) t.equal((await ask(gateway, { 'x-user': `u${user}` })).port, port)
    seen.add(port)
  }
  t.equal(seen.size, 3)
  t.equal((await answering(gateway)).length, 1)
})

t.test('a balancer of the user’s own; what it throws fails its requests alone', async t => {
  const all = await services(t, 2)
  const write = (gateway: { folder: string }, body: string) =>
    writeFileSync(
      join(gateway.folder, 'mine.ts'),
      `export default { create: (endpoints, previous) => ({ pick: (key, avoid) => { ${body} } }) }\n`,
    )
  const gateway = await startGateway(t, upstream(all, {}))
  const use = async (body: string) => {
    write(gateway, body)
    const config = upstreamFile(all, {}) as { upstreams: { up: Record<string, unknown> } }
    config.upstreams.up.balance = './mine.ts'
    writeFileSync(join(gateway.folder, 'gateway.yaml'), JSON.stringify(config))
    return gateway.gateway.reload()
  }
  t.ok(await use('return endpoints[1]'), JSON.stringify(gateway.gateway.lastReload))
  t.same(await answering(gateway), [all[1]!.port])
  t.ok(await use('return endpoints.find(one => one !== avoid)'))
  t.same(await answering(gateway), [all[0]!.port])
  for (const broken of ['throw new Error("no")', 'throw null', 'return { share: 1 }', 'return null']) {
    t.ok(await use(broken))
    t.equal((await ask(gateway)).status, 503, broken)
  }
  const told = () => gateway.log.filter(line => line.message === 'a balancer failed').length
  t.ok(told() > 0)
  const before = told()
  t.ok(await use('throw new Error("no")'))
  for (let i = 0; i < 100; i++) await ask(gateway)
  t.ok(told() - before < 100, `${told() - before} lines: a storm must not drown the log`)
  t.notOk(await use('return'.concat(' (')), 'what does not parse is a fault')
  t.equal((await ask(gateway)).status, 503, 'and changes nothing')
})
