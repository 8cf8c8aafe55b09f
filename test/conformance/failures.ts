// What a client sees when something fails: the table of errors, their shape, and answers that break off.

import type { Test } from 'tap'
import type { Plugin } from '../../src/plugin-api.ts'
import { freePort } from '../support/free-port.ts'
import type { RawResponse } from '../support/raw-client.ts'
import { pause } from '../support/within.ts'
import { plugin } from './bodies.ts'
import { chain, type Traits } from './engines.ts'

/** Check that an answer tells of this error and of nothing else (RFC 9457). */
function isProblem(t: Test, answer: RawResponse, status: number, code: string): void {
  t.equal(answer.status, status)
  t.equal(answer.get('content-type'), 'application/problem+json')
  const body = JSON.parse(answer.text)
  t.strictSame(Object.keys(body).sort(), ['code', 'instance', 'status', 'title', 'type'])
  t.equal(body.code, code)
  t.equal(body.status, status)
  t.match(body.type, code)
  t.ok(body.title.length > 10)
  t.match(body.instance, /^[0-9a-f]{8}-[0-9a-f]{4}-7/)
  t.notMatch(answer.text, /127\.0\.0\.1|ECONN|:\d{4,5}|\.ts|node:|secret/)
  t.equal(answer.get('server'), '')
}

/** Run the cases for one engine. */
export async function failures(t: Test, engine: Traits): Promise<void> {
  await t.test('no route, wrong method, malformed path', async t => {
    const { up, client } = await chain(t, engine, {
      routes: [{ name: 'one', match: { path: '/one', methods: ['GET', 'PUT'] }, upstream: 'up' }],
    })
    client.head('GET /two HTTP/1.1', 'Host: h.test')
    isProblem(t, await client.response(), 404, 'SLUICE_NO_ROUTE')
    client.head('POST /one HTTP/1.1', 'Host: h.test', 'Content-Length: 0')
    const wrong = await client.response()
    isProblem(t, wrong, 405, 'SLUICE_METHOD_NOT_ALLOWED')
    t.match(wrong.get('allow'), /^GET(?:, HEAD)?, PUT$/)
    client.head('GET /a/../../b HTTP/1.1', 'Host: h.test')
    isProblem(t, await client.response(), 400, 'SLUICE_BAD_REQUEST')
    await client.closed
    t.equal(up.requests.length, 0)
  })

  await t.test('an upstream that cannot be reached', async t => {
    const port = await freePort()
    const { client } = await chain(t, engine, { up: { endpoints: [`127.0.0.1:${port}`] } })
    client.head('GET /?secret HTTP/1.1', 'Host: h.test')
    isProblem(t, await client.response(), 502, 'SLUICE_UPSTREAM_CONNECT')
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 6').send('secret')
    isProblem(t, await client.response(), 502, 'SLUICE_UPSTREAM_CONNECT')
  })

  await t.test('an upstream that hangs up, and one that talks nonsense', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => request.peer.socket.resetAndDestroy()
    client.head('GET / HTTP/1.1', 'Host: h.test')
    isProblem(t, await client.response(), 502, 'SLUICE_UPSTREAM_RESET')
    up.onRequest = request => request.peer.write('secret nonsense\r\n\r\n')
    client.head('GET / HTTP/1.1', 'Host: h.test')
    isProblem(t, await client.response(), 502, 'SLUICE_UPSTREAM_PROTOCOL')
    up.onRequest = request => request.reply('200 OK', 'fine')
    client.head('GET / HTTP/1.1', 'Host: h.test')
    t.equal((await client.response()).text, 'fine', 'the client connection serves on')
  })

  await t.test('an upstream without an endpoint', async t => {
    const { client } = await chain(t, engine, { up: { endpoints: [] } })
    client.head('GET / HTTP/1.1', 'Host: h.test')
    isProblem(t, await client.response(), 503, 'SLUICE_NO_ENDPOINT')
  })

  await t.test('all connections in use', async t => {
    const { up, client, gateway } = await chain(t, engine, { up: { connections: { max: 1, pending: 0 } } })
    let reply = (): void => {}
    up.onRequest = request => {
      reply = () => request.reply('200 OK', 'first')
    }
    client.head('GET / HTTP/1.1', 'Host: h.test')
    await up.request()
    const other = await gateway.connect()
    other.head('GET / HTTP/1.1', 'Host: h.test')
    isProblem(t, await other.response(), 503, 'SLUICE_OVERLOADED')
    reply()
    t.equal((await client.response()).text, 'first')
  })

  await t.test('an upstream that takes too long, and a route whose time is up', async t => {
    const { up, client } = await chain(t, engine, {
      up: { timeouts: { response: '700ms' } },
      routes: [
        { name: 'short', match: { path: '/short' }, upstream: 'up', timeout: '500ms' },
        { name: 'all', match: { path: '/*' }, upstream: 'up' },
      ],
    })
    up.onRequest = () => {}
    for (const path of ['/', '/short']) {
      client.head(`GET ${path} HTTP/1.1`, 'Host: h.test')
      isProblem(t, await client.response(), 504, 'SLUICE_UPSTREAM_TIMEOUT')
    }
    t.equal(up.requests.length, 2, 'what was sent and not answered is not tried again')
  })

  await t.test('a plugin that throws, rejects, or answers nonsense', async t => {
    const failing: [string, Plugin][] = [
      ['throws', { onRequest: () => { throw new Error('secret') } }],
      ['rejects', { onRequest: () => Promise.reject(new Error('secret')) }],
      ['nonsense', { onRequest: () => ({ status: 99, headers: [], body: null }) }],
      ['word', { onRequest: () => 'secret' as never }],
      ['split', { onRequest: () => ({ status: 200, headers: ['x-a', 'b\r\nx-evil: secret'], body: null }) }],
      ['attempt', { onAttempt: () => { throw new Error('secret') } }],
      ['response', { onResponse: () => { throw new Error('secret') } }],
      ['late', { onResponse: () => Promise.reject(new Error('secret')) }],
      ['header', { onResponse: x => x.setResponseHeader('x-a', 'b\r\nx-evil: secret') }],
      ['headers', { onResponse: x => void x.response!.headers.push('x a', 'secret') }],
      ['length', { onRequest: () => ({ status: 200, headers: ['Content-Length', '6'], body: 'secret' }) }],
      ['coding', { onResponse: x => void x.response!.headers.push('transfer-encoding', 'chunked') }],
      ['smuggled', { onRequest: x => void x.head.headers.push('content-length', '50') }],
      ['host', { onRequest: x => void x.head.headers.push('host', 'secret') }],
    ] // biome-ignore format: one line each
    const { client, gateway } = await chain(
      t,
      engine,
      {
        routes: failing.map(([name]) => ({
          name,
          match: { path: `/${name}` },
          plugins: [`t-${name}`],
          upstream: 'up',
        })),
      },
      failing.map(([name, instance]) => plugin(`t-${name}`, instance)),
    )
    for (const [name] of failing) {
      client.head(`GET /${name} HTTP/1.1`, 'Host: h.test')
      isProblem(t, await client.response(), 500, 'SLUICE_PLUGIN_FAILED')
    }
    t.equal(gateway.log.filter(line => line.level === 'error').length, failing.length, 'each is logged')
  })

  await t.test('a plugin that throws amid a body: the answer breaks off', async t => {
    const breaking = plugin('breaking', {
      onResponseChunk() {
        throw new Error('secret')
      },
    })
    const { up, client } = await chain(t, engine, { plugins: ['breaking'] }, [breaking])
    up.onRequest = request => request.reply('200 OK', 'x'.repeat(10_000))
    client.head('GET / HTTP/1.1', 'Host: h.test')
    await client.closed
    t.notMatch(client.text, 'xxx')
    await up.peers[0]!.closed
  })

  await t.test('a HEAD that fails gets a head alone', async t => {
    const { client } = await chain(t, engine, { up: { endpoints: [] } })
    client.head('HEAD / HTTP/1.1', 'Host: h.test')
    t.equal((await client.response('HEAD')).status, 503)
    t.equal(client.rest, '')
    client.head('HEAD / HTTP/1.1', 'Host: h.test')
    t.equal((await client.response('HEAD')).status, 503)
    t.equal(client.rest, '')
  })

  await t.test('an answer that breaks off looks broken off', async t => {
    const heads = {
      length: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n123456789',
      'length, nothing': 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n',
      chunked: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n',
      'amid a chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n123456789',
      'amid the end': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n',
      'bad chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\nzz\r\n',
    }
    const { up, gateway } = await chain(t, engine)
    for (const [name, bytes] of Object.entries(heads)) {
      for (const how of ['fin', 'reset'] as const) {
        if (name === 'bad chunk' && how === 'reset') continue
        up.onRequest = request => {
          request.peer.write(bytes)
          // A reset may overtake what was written: it follows once the client has seen it.
          void pause(30).then(() => (how === 'fin' ? request.peer.socket.end() : request.peer.socket.resetAndDestroy()))
        }
        const client = await gateway.connect()
        client.head('GET / HTTP/1.1', 'Host: h.test')
        await t.rejects(client.response(), /the connection ended|no status line/, `${name}, ${how}`)
        await client.closed
        t.notMatch(client.text, '\r\n0\r\n')
        if (client.text !== '') t.match(client.text, /^HTTP\/1\.1 200 OK\r\n/)
        t.notMatch(client.text, 'problem')
      }
    }
    t.ok(gateway.endpoint().failures >= 10, 'and it counts as a failure of the upstream')
  })

  await t.test('an answer without a length that is reset looks broken off', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => {
      request.peer.write(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(20_000)}`)
      void pause(30).then(() => request.peer.socket.resetAndDestroy())
    }
    client.head('GET / HTTP/1.1', 'Host: h.test')
    await t.rejects(client.response(), /the connection ended/)
    t.notMatch(client.text, '\r\n0\r\n')
  })

  await t.test('an answer that stops amid its body breaks off after the idle timeout', async t => {
    const { up, client } = await chain(t, engine, { up: { timeouts: { idle: '150ms' } } })
    up.onRequest = request => request.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1')
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const from = performance.now()
    await t.rejects(client.response(), /the connection ended/)
    t.ok(performance.now() - from < 5_000)
    await up.peers[0]!.closed
  })

  if (engine.http10) {
    await t.test('to an HTTP/1.0 client, whose end of the body is the FIN, a cut is a reset', async t => {
      const { up, gateway } = await chain(t, engine)
      for (const bytes of [
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n',
        'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n123456789',
      ]) {
        up.onRequest = request => {
          request.peer.write(bytes)
          void pause(30).then(() => request.peer.socket.end())
        }
        const client = await gateway.connect()
        client.head('GET / HTTP/1.0')
        await client.until('123456789')
        const how = await client.closed
        if (bytes.includes('chunked')) t.equal(how, 'reset')
        else t.match(client.text, 'content-length: 100')
      }
    })
  }
}
