// What bounds an exchange where no byte moves: a plugin's promise in the response phase, a slow upload; and what the operator is told.
import t from 'tap'
import { GatewayError } from '../../src/errors.ts'
import type { Exchange } from '../../src/exchange/exchange.ts'
import { definePlugin, z } from '../../src/plugin-api.ts'
import { FailureLog } from '../../src/proxy/failure-log.ts'
import { startGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { pause } from '../support/within.ts'

const never = definePlugin({
  name: 'never',
  description: 'Waits for ever in the response phase.',
  options: z.strictObject({}),
  create: () => ({ onResponse: () => new Promise<void>(() => {}) }),
})

t.test('a response phase without end is ended by the timeout of the route', async t => {
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    {
      up: { endpoints: [upstream.address] },
      routes: [
        { name: 'all', match: { path: '/*' }, upstream: 'up', timeout: '200ms', plugins: ['never'] },
        { name: 'own', match: { path: '/own' }, respond: { status: 200 }, timeout: '200ms', plugins: ['never'] },
      ],
    },
    { plugins: [never] },
  )
  for (const path of ['/', '/own']) {
    const client = await gateway.connect()
    client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    const answer = await client.response()
    t.equal(answer.status, 504, path)
    t.match(answer.text, 'SLUICE_UPSTREAM_TIMEOUT', path)
  }
})

t.test('the time for an answer begins when the request is whole', async t => {
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [upstream.address], timeouts: { response: '1s' } },
  })
  const client = await gateway.connect()
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n')
  for (const byte of 'slow') {
    // Real time is what is tested: the body takes longer than an answer may.
    await pause(400)
    client.send(byte)
  }
  const answer = await client.response()
  t.equal(answer.status, 200, 'a slow upload is no slow upstream')

  upstream.onRequest = () => {}
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfast')
  t.equal((await client.response()).status, 504, 'from the last byte on the upstream owes an answer')
})

t.test('why a request failed is logged, with what helps to find it', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = request => request.peer.socket.destroy()
  const gateway = await startGateway(t, { up: { endpoints: [upstream.address] }, route: { retry: { attempts: 0 } } })
  const client = await gateway.connect()
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
  t.equal((await client.response()).status, 502)
  const line = gateway.log.find(({ message }) => message === 'a request failed')
  t.match(line, {
    level: 'warn',
    fields: { code: 'SLUICE_UPSTREAM_RESET', route: 'all', upstream: 'up', endpoint: upstream.address },
  })
})

t.test('a storm of failures does not drown the log', async t => {
  const lines: (Record<string, unknown> | undefined)[] = []
  const say = (_message: string, fields?: Record<string, unknown>) => {
    lines.push(fields)
  }
  let now = 0
  const failures = new FailureLog({ debug: say, info: say, warn: say, error: say }, () => now)
  const x = {
    route: { name: 'r' },
    upstream: null,
    endpoint: null,
    attempts: 1,
    requestId: 'id',
  } as unknown as Exchange
  for (let i = 0; i < 1000; i++) failures.note(x, new GatewayError('SLUICE_UPSTREAM_CONNECT', 'refused'))
  t.equal(lines.length, 10, 'ten lines a second')
  failures.note(x, new GatewayError('SLUICE_UPSTREAM_TIMEOUT', 'late'))
  t.equal(lines.length, 11, 'another code has its own')
  failures.note(x, new GatewayError('SLUICE_BAD_REQUEST', 'garbage'))
  t.equal(lines.length, 11, "a client's own fault is not told")
  now = 1000
  failures.note(x, new GatewayError('SLUICE_UPSTREAM_CONNECT', 'refused'))
  t.match(lines.at(-1), { suppressed: 990 }, 'what was left out is counted')
})

t.test('nor does a plugin that fails at every request', async t => {
  const failing = (name: string) =>
    definePlugin({
      name,
      description: 'Fails.',
      options: z.strictObject({}),
      create: () => ({ onRequest: () => Promise.reject(new Error('broken')) }),
    })
  const route = (name: string) => ({ name, match: { path: `/${name}` }, respond: { status: 200 }, plugins: [name] })
  const gateway = await startGateway(
    t,
    { routes: [route('first'), route('second')] },
    { plugins: [failing('first'), failing('second')] },
  )
  const client = await gateway.connect()
  const ask = async (name: string) => {
    client.send(`GET /${name} HTTP/1.1\r\nHost: a\r\n\r\n`)
    return (await client.response()).status
  }
  const told = (plugin: string) => gateway.log.filter(({ fields }) => fields['plugin'] === plugin)
  const asked = 300
  for (let i = 0; i < asked; i++) t.equal(await ask('first'), 500)
  const lines = told('first').length
  t.ok(lines >= 10 && lines < asked, `${lines} lines for ${asked} failures`)
  t.equal(await ask('second'), 500)
  t.match(told('second'), [{ level: 'error', message: 'a plugin failed' }], 'another plugin has its own')
})
