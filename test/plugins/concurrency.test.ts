// concurrency through a running gateway: places, the line behind them, and every way to leave either.
import t, { type Test } from 'tap'
import { configText, startGateway } from '../support/gateway.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream, type SeenRequest } from '../support/raw-upstream.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { eventually } from '../support/within.ts'

async function chain(t: Test, concurrency: Record<string, unknown>) {
  const up = await RawUpstream.start(t)
  const held: SeenRequest[] = []
  up.onRequest = request => void held.push(request)
  const gateway = await startGateway(t, {
    admin: { port: 0 },
    up: { endpoints: [up.address] },
    route: { name: 'all', plugins: [{ concurrency }] },
  })
  const state = async () => {
    const answer = await fetch(`http://127.0.0.1:${gateway.gateway.adminPort}/routes`)
    const [route] = (await answer.json()) as { state: Record<string, unknown>[] }[]
    return route!.state.find(({ plugin }) => plugin === 'concurrency')!
  }
  const send = async (target: string, user = 'a'): Promise<RawClient> => {
    const client = await gateway.connect()
    client.head(`GET ${target} HTTP/1.1`, 'Host: h', `X-User: ${user}`)
    return client
  }
  /** Wait until so many run and wait. */
  const settled = (running: number, waiting: number) =>
    eventually(
      async () => {
        const now = await state()
        return now['running'] === running && now['waiting'] === waiting && held.length >= running
      },
      () => `not ${running} running and ${waiting} waiting`,
    )
  const targets = () => held.map(({ target }) => target)
  return { up, gateway, held, send, settled, state, targets }
}

const BASE = { max: 2, key: 'header.x-user', queue: 2, wait: '30s' }

t.test('so many at once, the next in line in order, the rest refused', async t => {
  const { held, send, settled, targets, state } = await chain(t, BASE)
  const clients = [await send('/0'), await send('/1')]
  await settled(2, 0)
  clients.push(await send('/2'))
  await settled(2, 1)
  clients.push(await send('/3'))
  await settled(2, 2)
  const refused = await (await send('/4')).response()
  t.equal(refused.status, 503)
  t.equal(refused.get('retry-after'), '1')
  t.equal(JSON.parse(refused.text).code, 'SLUICE_OVERLOADED')
  const other = await send('/other', 'b')
  await settled(3, 2)
  t.same([...targets()].sort(), ['/0', '/1', '/other'], 'another key has places of its own')
  for (const i of [0, 1, 2, 3]) {
    await eventually(
      () => held.some(({ target }) => target === `/${i}`),
      () => `/${i} does not get its turn`,
    )
    held.find(({ target }) => target === `/${i}`)!.reply('200 OK', 'ok')
    t.equal((await clients[i]!.response()).status, 200)
  }
  held.find(({ target }) => target === '/other')!.reply('200 OK', 'ok')
  t.equal((await other.response()).status, 200)
  await settled(0, 0)
  t.equal((await state())['keys'], 0, 'nothing is kept of idle keys')
  t.same(
    targets().filter(target => target !== '/other'),
    ['/0', '/1', '/2', '/3'],
    'in the order of arrival',
  )
})

t.test('whoever waited too long is told so', async t => {
  const { held, send, settled } = await chain(t, { ...BASE, max: 1, wait: '60ms' })
  const first = await send('/0')
  await settled(1, 0)
  const late = await (await send('/1')).response()
  t.equal(late.status, 503)
  t.equal(JSON.parse(late.text).code, 'SLUICE_OVERLOADED')
  await settled(1, 0)
  held[0]!.reply('200 OK', 'ok')
  t.equal((await first.response()).status, 200)
  t.equal(held.length, 1, 'it never went on')
})

t.test('clients that go away give back their place, and their place in line', async t => {
  const { held, send, settled, targets } = await chain(t, { ...BASE, max: 1 })
  const running = await send('/running')
  await settled(1, 0)
  const waiting = await send('/waiting')
  await settled(1, 1)
  const last = await send('/last')
  await settled(1, 2)
  waiting.destroy()
  await settled(1, 1)
  running.destroy()
  await eventually(
    () => targets().includes('/last'),
    () => 'the last does not get the place',
  )
  held.find(({ target }) => target === '/last')!.reply('200 OK', 'ok')
  t.equal((await last.response()).status, 200)
  t.notOk(targets().includes('/waiting'))
  await settled(0, 0)
})

t.test('whoever is under way still counts when a reload changes the numbers', async t => {
  const up = await RawUpstream.start(t)
  up.onRequest = () => {}
  const text = (max: number) =>
    configText({
      up: { endpoints: [up.address] },
      route: { plugins: [{ concurrency: { ...BASE, max } }] },
    })
  const g = await startReloading(t, text(2))
  const send = async (target: string) =>
    (await RawClient.connect(t, g.port)).head(`GET ${target} HTTP/1.1`, 'Host: h', 'Connection: close')
  const seen = (count: number) =>
    eventually(
      () => up.requests.length === count,
      () => `seen are ${up.requests.map(({ target }) => target)}`,
    )
  const done = async (target: string, client: RawClient) => {
    up.requests.find(request => request.target === target)!.reply('200 OK', 'ok')
    t.equal((await client.response()).status, 200)
  }
  const [a, b] = [await send('/a'), await send('/b')]
  await seen(2)
  t.ok(await g.reload(text(1)), 'fewer')
  const [c, d] = [await send('/c'), await send('/d')]
  t.equal((await (await send('/e')).response()).status, 503, 'the queue is full: nobody was admitted')
  await done('/a', a)
  await done('/b', b)
  await seen(3)
  t.ok(await g.reload(text(3)), 'more')
  const f = await send('/f')
  await seen(5)
  for (const [target, client] of Object.entries({ '/c': c, '/d': d, '/f': f })) await done(target, client)
  await g.gateway.stop()
})

t.test('keys are bounded', async t => {
  const { held, send, settled } = await chain(t, { ...BASE, maxKeys: 2 })
  const clients = [await send('/a', 'a'), await send('/b', 'b')]
  await settled(2, 0)
  t.equal((await (await send('/c', 'c')).response()).status, 503)
  for (const request of held) request.reply('200 OK', 'ok')
  for (const client of clients) t.equal((await client.response()).status, 200)
  await settled(0, 0)
})

t.test('faults at load', async t => {
  for (const [concurrency, said] of [
    [{}, /concurrency\.max: is missing/],
    [{ max: 0 }, /max: a whole number from 1/],
    [{ max: 1.5 }, /max: a whole number from 1/],
    [{ max: 1, key: 'user' }, /key: "user" is no attribute/],
    [{ max: 1, wait: 5 }, /wait: a duration/],
  ] as const) {
    const config = { plugins: [{ concurrency }], routes: [{ name: 'a', respond: {} }] }
    await t.rejects(startGateway(t, config), { message: said }, JSON.stringify(concurrency))
  }
})
