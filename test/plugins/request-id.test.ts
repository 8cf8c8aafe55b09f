// request-id through a running gateway: whose id is believed, what an id may be, and that all three sides see the same one.
import t, { type Test } from 'tap'
import { definePlugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { startGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

async function start(t: Test, options: Record<string, unknown> | null, trusted: string[] = []) {
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [upstream.address] },
    trustedProxies: trusted,
    plugins: [options === null ? 'request-id' : { 'request-id': options }],
    routes: [
      { name: 'none', match: { path: '/none' }, respond: { status: 200, body: 'hi' } },
      { name: 'all', match: { path: '/*' }, upstream: 'up' },
    ],
  })
  const ask = async (...fields: string[]) => {
    const client = await gateway.connect()
    const response = await client.head('GET / HTTP/1.1', 'Host: a', ...fields).response()
    client.destroy()
    return { response, seen: upstream.requests.at(-1)! }
  }
  return { upstream, gateway, ask }
}

t.test('a new id for each request, the same on both sides, whatever a stranger sends', async t => {
  const { ask } = await start(t, null)
  const ids = new Set<string>()
  for (let i = 0; i < 20; i++) {
    const { response, seen } = await ask('X-Request-Id: mine', 'X-Request-Id: and-mine')
    t.match(response.get('x-request-id'), UUID)
    t.same(seen.all('x-request-id'), response.all('x-request-id'), 'one field each')
    ids.add(response.get('x-request-id'))
  }
  t.equal(ids.size, 20)
  t.same([...ids], [...ids].sort(), 'in the order of time')
})

t.test('the id of a trusted proxy is taken over, where it is one', async t => {
  const { ask } = await start(t, null, ['127.0.0.1'])
  for (const id of ['abc', '0190b5a0-0000-7000-8000-000000000000', 'a/b+c=d:e.f_g~h', 'x'.repeat(128)]) {
    const { response, seen } = await ask(`X-Request-Id: ${id}`)
    t.same([response.get('x-request-id'), seen.get('x-request-id')], [id, id])
  }
  for (const id of ['', 'a b', 'a"b', 'a,b', '<script>', 'x'.repeat(129), 'd\xe9j\xe0']) {
    const { response, seen } = await ask(`X-Request-Id: ${id}`)
    t.match(response.get('x-request-id'), UUID, JSON.stringify(id))
    t.equal(seen.get('x-request-id'), response.get('x-request-id'))
  }
})

t.test('trustIncoming: always and never', async t => {
  const always = await start(t, { trustIncoming: 'always' })
  t.equal((await always.ask('X-Request-Id: mine')).response.get('x-request-id'), 'mine')
  const never = await start(t, { trustIncoming: 'never' }, ['127.0.0.1'])
  t.match((await never.ask('X-Request-Id: theirs')).response.get('x-request-id'), UUID)
})

t.test('another header, and the usual one passes through untouched', async t => {
  const { ask } = await start(t, { header: 'x-trace' })
  const { response, seen } = await ask('X-Request-Id: mine', 'x_trace: twin')
  t.match(response.get('x-trace'), UUID)
  t.equal(response.get('x-request-id'), '')
  t.equal(seen.get('x-request-id'), 'mine')
  t.equal(seen.get('x_trace'), '', 'its underscore twin is gone')
})

t.test('two of them, with a header each: both sides see the same in both', async t => {
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [upstream.address] },
    plugins: ['request-id', { 'request-id': { header: 'x-correlation-id', trustIncoming: 'always' } }],
    routes: [{ name: 'all', match: { path: '/*' }, upstream: 'up' }],
  })
  const client = await gateway.connect()
  const response = await client.head('GET / HTTP/1.1', 'Host: a', 'X-Correlation-Id: theirs').response()
  const seen = upstream.requests.at(-1)!
  t.match(seen.get('x-request-id'), UUID)
  t.equal(response.get('x-request-id'), seen.get('x-request-id'))
  t.same([response.get('x-correlation-id'), seen.get('x-correlation-id')], ['theirs', 'theirs'])
})

t.test('on answers that the gateway makes itself, and as instance of its errors', async t => {
  const { gateway, upstream } = await start(t, null, ['127.0.0.1'])
  const client = await gateway.connect()
  const none = await client.head('GET /none HTTP/1.1', 'Host: a', 'X-Request-Id: one').response()
  t.same([none.status, none.get('x-request-id')], [200, 'one'])
  upstream.onRequest = request => request.peer.socket.destroy()
  const lost = await client.head('POST / HTTP/1.1', 'Host: a', 'X-Request-Id: two', 'Content-Length: 0').response()
  t.same([lost.status, lost.get('x-request-id')], [502, 'two'])
  t.match(JSON.parse(lost.text), { code: 'SLUICE_UPSTREAM_RESET', instance: 'two' })
})

t.test('a header that the gateway sets itself is a fault', async t => {
  for (const header of ['host', 'Content-Length', 'connection', 'transfer-encoding']) {
    const config = { plugins: [{ 'request-id': { header } }], routes: [{ name: 'a', respond: {} }] }
    await t.rejects(
      startGateway(t, config),
      { message: /request-id\.header: this header is set by the gateway/ },
      header,
    )
  }
})

t.test('an id that a plugin of the user’s own makes up splits no answer', async t => {
  const names = definePlugin({
    name: 'names',
    description: 'Names the request as it likes.',
    options: z.strictObject({}),
    create: () => ({
      onRequest(x) {
        x.removeRequestHeader('x-request-id')
        if (x.head.path === '/list') x.head.headers.push('x-request-id', 'a\r\nx-split: 1')
        else x.requestId = 'a\r\nx-split: 1'
      },
    }),
  }) as PluginDefinition
  // It answers by itself: what a plugin wrote to the request goes nowhere, and is not looked at.
  const routes = [{ name: 'all', match: { path: '/*' }, respond: { status: 200, body: 'hi' } }]
  const gateway = await startGateway(t, { plugins: ['request-id', 'names'], routes }, { plugins: [names] })
  for (const path of ['/list', '/id']) {
    const client = await gateway.connect()
    const response = await client.head(`GET ${path} HTTP/1.1`, 'Host: a').response()
    t.same([response.status, response.get('x-split')], [500, ''], path)
    client.destroy()
  }
})
