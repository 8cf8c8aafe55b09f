// Bodies through the gateway: framing both ways, bodiless answers, trailers, expectations, limits and slow clients.
// Over 300 lines because the same chain of client, engine and upstream is played for every framing, and engine.ts
// runs it whole over both engines.
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { definePlugin, type Exchange, type Plugin, z } from '../../src/plugin-api.ts'
import { pause } from '../support/within.ts'
import { chain, type Traits } from './engines.ts'

/** A plugin of that name made of one instance; its options are none. */
export function plugin(name: string, instance: Plugin) {
  return definePlugin({ name, description: 'For a test.', options: z.strictObject({}), create: () => instance })
}

const FRAMING = /^(?:content-length|transfer-encoding)$/

/** Run the cases for one engine. */
export async function bodies(t: Test, engine: Traits): Promise<void> {
  await t.test('a request without a body gains no framing, but where the method promises content', async t => {
    const { up, client } = await chain(t, engine)
    for (const [index, method] of ['GET', 'DELETE', 'OPTIONS', 'FOO', 'POST', 'PUT', 'PATCH'].entries()) {
      client.head(`${method} / HTTP/1.1`, 'Host: h.test')
      t.equal((await client.response()).status, 200)
      const framing = up.requests[index]!.fields.filter(([name]) => FRAMING.test(name))
      t.strictSame(framing, index < 4 ? [] : [['content-length', '0']], method)
    }
  })

  await t.test('a body with a length arrives with that length', async t => {
    const { up, client } = await chain(t, engine)
    const bytes = randomBytes(300_000)
    for (const [index, length] of [0, 1, 5, 4096, 4097, 65_536, 300_000].entries()) {
      const body = bytes.subarray(0, length)
      client.head('POST / HTTP/1.1', 'Host: h.test', `Content-Length: ${length}`).send(body)
      t.equal((await client.response()).status, 200)
      const request = up.requests[index]!
      t.ok(request.body.equals(body), `${length} bytes`)
      t.strictSame(
        request.fields.filter(([name]) => FRAMING.test(name)),
        [['content-length', String(length)]],
      )
    }
  })

  await t.test('a chunked body arrives chunked, extensions gone', async t => {
    const { up, client } = await chain(t, engine)
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked')
    client.send('5\r\nhello\r\n')
    await up.request()
    client.send('1\r\n,\r\n0000A\r\n 123456789\r\n0\r\n\r\n')
    t.equal((await client.response()).status, 200)
    const request = up.requests[0]!
    t.equal(request.body.toString(), 'hello, 123456789')
    t.strictSame(
      request.fields.filter(([name]) => FRAMING.test(name)),
      [['transfer-encoding', 'chunked']],
    )
  })

  await t.test('a chunked body of no bytes is one of no bytes', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => void request.whole.then(body => request.reply('200 OK', body))
    for (let i = 0; i < 2; i++) {
      client.head('POST / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked').send('0\r\n\r\n')
      const answer = await client.response()
      t.equal(answer.status, 200)
      t.equal(answer.body.length, 0)
    }
    t.equal(up.requests.length, 2)
  })

  await t.test('a large chunked body arrives whole', async t => {
    const { up, client } = await chain(t, engine)
    const bytes = randomBytes(1024 * 1024)
    client.head('PUT / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked')
    for (let at = 0; at < bytes.length; at += 50_000) {
      const part = bytes.subarray(at, at + 50_000)
      client
        .send(`${part.length.toString(16)}\r\n`)
        .send(part)
        .send('\r\n')
    }
    client.send('0\r\n\r\n')
    t.equal((await client.response()).status, 200)
    t.ok(up.requests[0]!.body.equals(bytes))
  })

  await t.test('an answer arrives with its own bytes, however it was framed', async t => {
    const { up, client } = await chain(t, engine)
    const bytes = randomBytes(200_000)
    for (const length of [0, 1, 4096, 4097, 16_385, 200_000]) {
      const body = bytes.subarray(0, length)
      up.onRequest = request => {
        if (request.target === '/length') {
          request.reply('200 OK', body)
          return
        }
        const chunked = request.target === '/chunked'
        request.peer.write(`HTTP/1.1 200 OK\r\n${chunked ? 'Transfer-Encoding: chunked' : 'X-A: 1'}\r\n\r\n`)
        for (let at = 0; at < length; at += 30_000) {
          const part = body.subarray(at, at + 30_000)
          if (chunked) request.peer.write(`${part.length.toString(16)}\r\n`)
          request.peer.write(part)
          if (chunked) request.peer.write('\r\n')
        }
        if (chunked) request.peer.write('0\r\n\r\n')
        else request.peer.socket.end()
      }
      for (const target of ['/length', '/chunked', '/close']) {
        client.head(`GET ${target} HTTP/1.1`, 'Host: h.test')
        const answer = await client.response()
        t.ok(answer.body.equals(body), `${target} ${length}`)
        if (target === '/length') t.equal(answer.get('content-length'), String(length))
        // A small answer that is known whole by the time its head leaves may be given its length.
        else if (engine.name === 'native') t.equal(answer.get('transfer-encoding'), 'chunked')
      }
    }
  })

  await t.test('HEAD, 204 and 304 have no body, and the connection serves on', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => {
      const status = request.target.slice(1)
      if (status === 'chunked') request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      else if (status === '304')
        request.peer.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: "e"\r\n\r\n')
      else request.reply(`${status} X`, 'seven b')
    }
    const cases = [
      ['HEAD', '200', '7'],
      ['HEAD', '404', '7'],
      ['HEAD', 'chunked', ''],
      ['GET', '204', ''],
      ['POST', '204', ''],
      ['GET', '304', '7'],
      ['HEAD', '304', '7'],
    ] as const
    for (const [method, target, length] of cases) {
      client.head(`${method} /${target} HTTP/1.1`, 'Host: h.test')
      const answer = await client.response(method)
      t.equal(answer.status, target === 'chunked' ? 200 : Number(target))
      t.equal(answer.get('content-length'), length, `${method} ${target}`)
      t.equal(client.rest, '')
    }
    client.head('GET /200 HTTP/1.1', 'Host: h.test')
    t.equal((await client.response()).text, 'seven b')
  })

  await t.test('trailers of a request pass, but for those that must not', async t => {
    const { up, client } = await chain(t, engine)
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Trailer: X-T', 'Transfer-Encoding: chunked')
    client.send('2\r\nok\r\n0\r\nX-T: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: x\r\n\r\n')
    const answer = await client.response()
    if (!engine.requestTrailers) {
      t.equal(answer.status, 505)
      await client.closed
      return
    }
    t.equal(answer.status, 200)
    t.strictSame(up.requests[0]!.trailers, ['x-t: 1'])
    t.equal(up.requests[0]!.body.toString(), 'ok')
    client.head('GET /next HTTP/1.1', 'Host: h.test')
    t.equal((await client.response()).status, 200, 'the connection is intact')
    t.equal(up.requests[1]!.target, '/next')
  })

  if (engine.requestTrailers) {
    await t.test('trailers say nothing that the head may not, nor what a plugin has settled', async t => {
      const { up, client } = await chain(t, engine, {
        plugins: [{ headers: { request: { set: { 'x-tenant': 't1' }, remove: ['x-user'] } } }],
      })
      client.head('POST / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked', 'X-Once: head')
      const forged = [
        ...[
          'X-User: root',
          'x_user: root',
          'X-Tenant: evil',
          'X_Tenant: evil',
          'x-once: trailer',
          'X-Real-IP: 6.6.6.6',
        ],
        ...[
          'X_Forwarded_For: 6.6.6.6',
          'X-Forwarded-Prefix: /z',
          'x_real_ip: 6.6.6.6',
          'proxy_connection: x',
          'Via: x',
        ],
      ]
      client.send(`2\r\nok\r\n0\r\n${forged.join('\r\n')}\r\nX-Sum: 1\r\nx_sum: 2\r\n\r\n`)
      t.equal((await client.response()).status, 200)
      t.equal(up.requests[0]!.get('x-tenant'), 't1')
      t.strictSame(up.requests[0]!.trailers, ['x-sum: 1', 'x_sum: 2'])
    })
  }

  await t.test('trailers of an answer pass, and TE says that they may', async t => {
    const { up, gateway, client } = await chain(t, engine)
    up.onRequest = request =>
      request.peer.write(
        'HTTP/1.1 200 OK\r\nTrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a=1\r\n\r\n',
      )
    client.head('GET / HTTP/1.1', 'Host: h.test', 'TE: trailers, deflate')
    const answer = await client.response()
    t.equal(answer.text, 'ok')
    t.strictSame(answer.trailers, engine.trailers ? ['grpc-status: 0'] : [])
    t.equal(answer.get('trailer'), engine.trailers ? 'grpc-status' : '', 'announced where they can come')
    t.strictSame(up.requests[0]!.all('te'), engine.trailers ? ['trailers'] : [])
    t.strictSame(up.requests[0]!.all('connection'), engine.trailers ? ['te'] : [])
    if (!engine.http10) return
    const old = await gateway.connect()
    old.head('GET / HTTP/1.0')
    t.notMatch(await old.until('\r\n\r\nok'), /trailer/i, 'HTTP/1.0 has none')
  })

  if (engine.trailers) {
    await t.test('trailers of an answer say nothing that its head says, nor what a plugin has settled', async t => {
      const { up, client } = await chain(t, engine, {
        plugins: [{ headers: { response: { set: { 'x-gw': '1' }, remove: ['server'] } } }],
      })
      up.onRequest = request =>
        request.peer.write(
          'HTTP/1.1 200 OK\r\nX-Once: head\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nServer: s\r\nX-Gw: 2\r\nx_once: 2\r\nX-Sum: 1\r\n\r\n',
        )
      client.head('GET / HTTP/1.1', 'Host: h.test', 'TE: trailers')
      t.strictSame((await client.response()).trailers, ['x-sum: 1'])
    })
  }

  await t.test('a coding that nobody reads is of no consequence without a body', async t => {
    const { up, client } = await chain(t, engine)
    for (const [method, line, coding, status] of [
      ['GET', '304 Not Modified', 'gzip', 304],
      ['HEAD', '200 OK', 'gzip, chunked', 200],
      ['GET', '200 OK', 'gzip', 502],
      ['GET', '200 OK', 'chunked, chunked', 502],
      ['GET', '200 OK', 'chunked,', 502],
    ] as const) {
      up.onRequest = request => {
        const body = method === 'HEAD' || line.startsWith('304') ? '' : '2\r\nok\r\n0\r\n\r\n'
        request.peer.write(`HTTP/1.1 ${line}\r\nTransfer-Encoding: ${coding}\r\n\r\n${body}`)
      }
      client.head(`${method} / HTTP/1.1`, 'Host: h.test')
      t.equal((await client.response(method)).status, status, `${line} ${coding}`)
    }
  })

  await t.test('a Trailer field without a chunked body does no harm', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET / HTTP/1.1', 'Host: h.test', 'Trailer: X-T')
    t.equal((await client.response()).status, 200)
    t.notOk(up.requests[0]!.names.includes('trailer'))
    up.onRequest = request => request.reply('200 OK', 'x', 'Trailer: X-T')
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const answer = await client.response()
    t.equal(answer.status, 200)
    t.equal(answer.get('trailer'), '')
  })

  await t.test('100 Continue comes once the body is wanted', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 100 Continue\r\n\r\n')
      void request.whole.then(() => request.reply('200 OK', 'ok'))
    }
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 5', 'Expect: 100-continue')
    await client.until('100 Continue\r\n\r\n')
    client.send('hello')
    const answer = await client.response()
    t.equal(answer.status, 200)
    t.strictSame(answer.interim, [100], 'and once only')
    t.equal(up.requests[0]!.body.toString(), 'hello')
    t.notOk(up.requests[0]!.names.includes('expect'), 'the gateway has met the expectation')
  })

  await t.test('a plugin that refuses answers without 100 Continue', async t => {
    let asked = 0
    const guard = plugin('guard', {
      async onRequest() {
        await pause(30)
        asked++
        return { status: 401, headers: ['www-authenticate', 'Basic'], body: 'no' }
      },
    })
    const { up, client } = await chain(t, engine, { plugins: ['guard'] }, [guard])
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 5', 'Expect: 100-continue')
    const answer = await client.response()
    t.equal(answer.status, 401)
    t.equal(asked, 1)
    t.strictSame(answer.interim, engine.continueWhenWanted ? [] : [100])
    if (engine.continueWhenWanted) {
      t.equal(answer.get('connection'), 'close', 'whether the body comes is not known')
      t.equal(await client.closed, 'fin')
    }
    t.equal(up.requests.length, 0)
  })

  await t.test('100 Continue waits for a plugin that agrees', async t => {
    let agreed = 0
    const guard = plugin('guard', {
      async onRequest() {
        await pause(50)
        agreed = performance.now()
      },
    })
    const { client } = await chain(t, engine, { plugins: ['guard'] }, [guard])
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked', 'Expect: 100-Continue')
    if (engine.continueWhenWanted) {
      await client.until('100 Continue\r\n\r\n')
      t.ok(agreed > 0, 'not before the plugin agreed')
    }
    client.send('0\r\n\r\n')
    t.equal((await client.response()).status, 200)
  })

  await t.test('a body that comes without waiting for 100 Continue gets none', async t => {
    const { client } = await chain(t, engine)
    client.send('POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok')
    const answer = await client.response()
    t.equal(answer.status, 200)
    t.ok(answer.interim.length <= 1)
  })

  await t.test('an upstream that refuses before the body: its answer, and the connection ends', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => request.reply('401 Unauthorized', 'no', 'WWW-Authenticate: Basic')
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 5000000', 'Expect: 100-continue')
    const answer = await client.response()
    t.equal(answer.status, 401)
    t.equal(answer.text, 'no')
    t.equal(answer.get('connection'), 'close')
    await client.closed
    await up.peers[0]!.closed
    t.pass('the upstream connection is not used again')
  })

  await t.test('an expectation that nobody knows is 417', async t => {
    const { up, client } = await chain(t, engine)
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 2', 'Expect: 200-ok')
    const answer = await client.response()
    t.equal(answer.status, 417)
    t.match(answer.text, 'SLUICE_EXPECTATION_FAILED')
    await client.closed
    t.equal(up.requests.length, 0)
  })

  await t.test('a HEAD that is refused is refused without content', async t => {
    const { up, gateway } = await chain(t, engine)
    for (const [field, status] of [
      ['Expect: 200-ok', 417],
      ['Connection: a b', 400],
      ['Content-Length: 10485761', 413],
      [`A: ${'x'.repeat(17_000)}`, 431],
    ] as const) {
      const client = await gateway.connect()
      const answer = await client.head('HEAD / HTTP/1.1', 'Host: h.test', field).response('HEAD')
      t.equal(answer.status, status)
      t.not(answer.get('content-length'), '0', 'that of an answer to GET')
      await client.closed
      t.equal(client.rest, '')
    }
    t.equal(up.requests.length, 0)
  })

  await t.test('a body that says it is too large is refused before the upstream hears of it', async t => {
    const { up, client } = await chain(t, engine, { listener: { limits: { body: '1KiB' } } })
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 1024').send(Buffer.alloc(1024, 'a'))
    t.equal((await client.response()).status, 200, 'the limit itself passes')
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 1025')
    const answer = await client.response()
    t.equal(answer.status, 413)
    t.match(answer.text, 'SLUICE_BODY_TOO_LARGE')
    await client.closed
    t.equal(up.requests.length, 1)
  })

  await t.test('a chunked body that grows too large is refused, and the upstream sees it cut', async t => {
    const { up, client } = await chain(t, engine, { listener: { limits: { body: '1KiB' } } })
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked')
    client.send(`400\r\n${'a'.repeat(1024)}\r\n`)
    const request = await up.request()
    client.send('1\r\nb\r\n')
    const answer = await client.response()
    t.equal(answer.status, 413)
    await client.closed
    await request.peer.closed
    t.notOk(request.complete)
  })

  await t.test('bodies of any size pass where the limit is off', async t => {
    const { up, client } = await chain(t, engine, { listener: { limits: { body: 'unlimited' } } })
    const length = 12 * 1024 * 1024
    let seen = 0
    up.raw = true
    up.onConnection = peer =>
      peer.socket.on('data', chunk => {
        seen += chunk.length
        if (seen > length) peer.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      })
    client.head('POST / HTTP/1.1', 'Host: h.test', `Content-Length: ${length}`)
    for (let i = 0; i < 12; i++) client.send(Buffer.alloc(1024 * 1024, 'x'))
    t.equal((await client.response('GET', 10_000)).status, 200)
  })

  await t.test('too many or too long fields are 431', async t => {
    const { up, gateway } = await chain(t, engine, { listener: { limits: { headers: '2KiB', headerCount: 10 } } })
    const fields = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: 1`)
    const ask = async (...lines: string[]) => {
      const client = await gateway.connect()
      client.head('GET / HTTP/1.1', 'Host: h.test', ...lines)
      const answer = await client.response()
      if (answer.status === 431) {
        t.match(answer.text, 'SLUICE_HEADERS_TOO_LARGE')
        await client.closed
      }
      return answer.status
    }
    t.equal(await ask(...fields(9)), 200)
    t.equal(await ask(...fields(10)), 431, 'Host counts')
    t.equal(await ask(`X-Long: ${'x'.repeat(1900)}`), 200)
    t.equal(await ask(`X-Long: ${'x'.repeat(2100)}`), 431)
    t.equal(up.requests.length, 2)
  })

  if (engine.requestTrailers) {
    await t.test('so are trailers; broken ones are 400', async t => {
      const { gateway } = await chain(t, engine)
      for (const [trailers, status] of [
        ['x: 1\r\n'.repeat(100), 200],
        ['x: 1\r\n'.repeat(101), 431],
        [`x: ${'v'.repeat(8192)}\r\n`, 431],
        ['x : 1\r\n', 400],
      ] as const) {
        const client = await gateway.connect()
        client.head('POST / HTTP/1.1', 'Host: h.test', 'Transfer-Encoding: chunked')
        client.send(`2\r\nok\r\n0\r\n${trailers}\r\n`)
        const answer = await client.response()
        t.equal(answer.status, status)
        if (status === 200) continue
        t.match(answer.text, status === 431 ? 'SLUICE_HEADERS_TOO_LARGE' : 'SLUICE_BAD_REQUEST')
        t.equal(await client.closed, 'fin')
      }
    })
  }

  await t.test('a head that never ends is refused at its limit', async t => {
    const { up, client } = await chain(t, engine, { listener: { limits: { headers: '2KiB' } } })
    client.send('GET / HTTP/1.1\r\nHost: h.test\r\nX-A: ')
    for (let i = 0; i < 80 && client.ended === null; i++) {
      client.send('a'.repeat(1024))
      await pause(1)
    }
    await client.closed
    t.match(client.text, / 431 /)
    t.equal(up.requests.length, 0)
  })

  await t.test('a head and a body that stop arriving', async t => {
    if (!engine.slowIsTold) {
      // Its one timeout is ten seconds and compiled in: unit/listener/uws.test.ts waits for it.
      await t.rejects(
        chain(t, engine, { listener: { timeouts: { requestHeader: '100ms' } } }),
        /requestHeader/,
        'another timeout is a fault and not ignored',
      )
      return
    }
    const { up, gateway, client } = await chain(t, engine, {
      listener: { timeouts: { requestHeader: '150ms', idle: '200ms' } },
    })
    const began = performance.now()
    client.send('GET / HTTP/1.1\r\nHost: h.')
    const answer = await client.response()
    t.equal(answer.status, 408)
    t.equal(answer.get('connection'), 'close')
    t.ok(performance.now() - began >= 120)
    await client.closed
    const slow = await gateway.connect()
    slow.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 10').send('12345')
    t.equal((await slow.response()).status, 408)
    await slow.closed
    const request = await up.request()
    await request.peer.closed
    t.notOk(request.complete)
    const idle = await gateway.connect()
    t.equal(await idle.closed, 'fin')
    t.equal(idle.text, '', 'an idle connection is closed without a word')
  })

  await t.test('a body that stops, by the time of the upstream: 408, and the connection ends', async t => {
    const { client } = await chain(t, engine, { up: { timeouts: { idle: '200ms' } } })
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 10').send('12345')
    const answer = await client.response()
    t.equal(answer.status, 408)
    t.equal(answer.get('connection'), 'close')
    t.equal(await client.closed, 'fin')
  })

  await t.test('an answer before the end of the body arrives, and the upload ends', async t => {
    const { up, client } = await chain(t, engine, { listener: { limits: { body: 'unlimited' } } })
    up.onRequest = request => request.reply('403 Forbidden', 'enough')
    client.socket.on('error', () => {})
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 100000000').send(Buffer.alloc(30_000))
    const answer = await client.response()
    t.equal(answer.status, 403)
    t.equal(answer.text, 'enough')
    t.equal(answer.get('connection'), 'close')
    await client.closed
    await up.peers[0]!.closed
    t.notOk(up.requests[0]!.complete)
  })

  await t.test('a body that a plugin changes is framed by what it became', async t => {
    // What the interface asks for, and no Buffer.
    const bytes = (text: string) => new TextEncoder().encode(text)
    const louder = plugin('louder', {
      rewrites: true,
      onRequest: (x: Exchange) =>
        x.head.method === 'GET' ? { status: 200, headers: [], body: bytes('own') } : undefined,
      onRequestChunk: (_x: Exchange, chunk: Uint8Array, last: boolean) =>
        bytes(Buffer.from(chunk).toString().toUpperCase() + (last ? '!!!' : '')),
      onResponseChunk: (_x: Exchange, chunk: Uint8Array, last: boolean) =>
        bytes(last ? '</end>' : `<${Buffer.from(chunk)}>`),
    })
    const { up, client } = await chain(t, engine, { plugins: ['louder'] }, [louder])
    up.onRequest = request => void request.whole.then(body => request.reply('200 OK', body, 'ETag: "x"'))
    for (const type of ['application/json', 'text/plain; charset=utf-8', ' application/json']) {
      client.send(`POST / HTTP/1.1\r\nHost: h.test\r\nContent-Type:${type}\r\nContent-Length: 5\r\n\r\nhello`)
      const answer = await client.response()
      t.equal(up.requests.at(-1)!.body.toString(), 'HELLO!!!')
      t.equal(answer.text, '<HELLO!!!></end>')
    }
    t.equal((await client.head('GET / HTTP/1.1', 'Host: h.test').response()).text, 'own')
    client.head('HEAD / HTTP/1.1', 'Host: h.test')
    t.equal((await client.response('HEAD')).status, 200)
    t.equal(client.rest, '')
  })
}
