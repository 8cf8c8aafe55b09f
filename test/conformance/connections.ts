// Connections through the gateway: keep-alive and its end, HTTP/1.0, pipelining, half-close, clients that go away, events.
// Over 300 lines because how a connection goes on and how it ends depend on each other, and engine.ts runs it
// whole over both engines.
import type { Test } from 'tap'
import { eventually, pause, within } from '../support/within.ts'
import { chain, type Traits } from './engines.ts'

/** Run the cases for one engine. */
export async function connections(t: Test, engine: Traits): Promise<void> {
  await t.test('a connection serves one request after the other', async t => {
    const { up, client, gateway } = await chain(t, engine)
    for (let i = 0; i < 50; i++) {
      client.head(`GET /${i} HTTP/1.1`, 'Host: h.test')
      t.equal((await client.response()).get('connection'), '')
    }
    t.equal(up.requests.length, 50)
    t.equal(up.peers.length, 1, 'and so does the one upstream')
    t.equal(gateway.gateway.listeners[0]!.connections, 1)
  })

  await t.test('Connection: close is said and done', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET / HTTP/1.1', 'Host: h.test', 'Connection: foo, Close')
    const answer = await client.response()
    t.equal(answer.status, 200)
    t.equal(answer.get('connection'), 'close')
    t.equal(await client.closed, 'fin')
    t.equal(up.requests[0]!.get('connection'), '', 'the upstream connection stays')
    t.equal(up.open, 1)
  })

  await t.test('nothing that follows Connection: close is a request', async t => {
    const { up, client } = await chain(t, engine)
    client.send('GET /a HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: h.test\r\n\r\n')
    await client.closed
    await pause(20)
    t.ok(up.requests.length <= 1)
    t.notMatch(up.text, '/b')
    t.equal(client.text.split('HTTP/1.1 ').length - 1, engine.pipelining ? 1 : 0)
  })

  await t.test('nothing that follows an answer that closes is a request, whatever made it close', async t => {
    const routes = [
      { name: 'own', match: { path: '/own' }, respond: { status: 200, body: 'own' } },
      { name: 'all', match: { path: '/*' }, upstream: 'up' },
    ]
    const { up, gateway } = await chain(t, engine, { routes })
    for (const first of ['GET /%00 HTTP/1.1', 'HEAD /%00 HTTP/1.1', 'GET /own HTTP/1.1\r\nConnection: foo, Close']) {
      const followed = await gateway.connect()
      followed.head(first, 'Host: h.test', '', 'GET /b HTTP/1.1', 'Host: h.test')
      await followed.closed
      t.equal(followed.text.split('HTTP/1.1 ').length - 1, engine.pipelining ? 1 : 0, first)
      const alone = await gateway.connect()
      alone.head(first, 'Host: h.test')
      t.equal((await alone.response(first.split(' ', 1)[0])).get('connection'), 'close', first)
      await alone.closed
    }
    t.equal(up.requests.length, 0)
  })

  await t.test('HTTP/1.0: served, closed after the answer', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET /a HTTP/1.0')
    if (!engine.http10) {
      t.equal((await client.response()).status, 505)
      await client.closed
      t.equal(up.requests.length, 0)
      return
    }
    const answer = await client.response()
    t.equal(answer.status, 200)
    t.equal(answer.text, 'ok')
    t.equal(answer.get('connection'), 'close')
    t.equal(await client.closed, 'fin')
    t.equal(up.requests[0]!.version, 'HTTP/1.1')
    t.equal(up.requests[0]!.get('host'), up.address, 'a Host is due upstream')
  })

  if (engine.http10) {
    await t.test('HTTP/1.0 with keep-alive: kept where the answer has a length', async t => {
      const { up, client } = await chain(t, engine)
      for (let i = 0; i < 2; i++) {
        client.head('POST /a HTTP/1.0', 'Connection: Keep-Alive', 'Content-Length: 2').send('hi')
        const answer = await client.response()
        t.equal(answer.get('connection'), 'keep-alive')
        t.equal(answer.text, 'ok')
      }
      up.onRequest = request =>
        request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n')
      client.head('GET /a HTTP/1.0', 'Connection: Keep-Alive')
      const answer = await client.response()
      t.equal(answer.get('transfer-encoding'), '', 'chunked is not known there')
      t.equal(answer.get('connection'), 'close')
      t.equal(answer.text, 'ok')
    })

    await t.test('HTTP/1.0: neither chunked requests nor 100 Continue', async t => {
      const { up, client, gateway } = await chain(t, engine)
      client.head('POST / HTTP/1.0', 'Transfer-Encoding: chunked').send('0\r\n\r\n')
      t.equal((await client.response()).status, 400)
      await client.closed
      t.equal(up.requests.length, 0)
      const other = await gateway.connect()
      other.head('POST / HTTP/1.0', 'Content-Length: 2', 'Expect: 100-continue')
      await up.request()
      other.send('hi')
      const answer = await other.response()
      t.equal(answer.status, 200)
      t.strictSame(answer.interim, [])
    })
  }

  await t.test('other versions are refused', async t => {
    const { up, gateway } = await chain(t, engine)
    for (const version of ['HTTP/2.0', 'HTTP/3.0', 'HTTP/0.9', 'HTTP/1.9x', 'http/1.1', 'HTTP/1', '']) {
      const client = await gateway.connect()
      client.send(`GET / ${version}\r\nHost: h.test\r\n\r\n`)
      await client.closed
      t.match(client.text, /^HTTP\/1\.1 (?:400|505) /, version)
    }
    t.equal(up.requests.length, 0)
  })

  await t.test('10 and 100 requests in one write are answered in order', async t => {
    for (const count of [10, 100]) {
      const { up, client } = await chain(t, engine)
      up.onRequest = request => setTimeout(() => request.reply('200 OK', request.target), Math.random() * 3)
      let text = ''
      for (let i = 0; i < count; i++) text += `GET /${i} HTTP/1.1\r\nHost: h.test\r\n\r\n`
      client.send(text)
      if (!engine.pipelining) {
        await client.closed
        t.equal(client.text, '')
        t.ok(up.requests.length <= 1)
        continue
      }
      const bodies: string[] = []
      for (let i = 0; i < count; i++) bodies.push((await client.response()).text)
      t.strictSame(
        bodies,
        Array.from({ length: count }, (_, i) => `/${i}`),
      )
      t.equal(up.requests.length, count)
    }
  })

  if (engine.pipelining) {
    await t.test('requests behind a body, and behind one that nobody waits for', async t => {
      const { up, client } = await chain(t, engine)
      up.onRequest = request => void request.whole.then(body => request.reply('200 OK', `${request.target} ${body}`))
      client.send(
        'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello' +
          'POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n' +
          'GET /c HTTP/1.1\r\nHost: h\r\n\r\n' +
          'HEAD /d HTTP/1.1\r\nHost: h\r\n\r\n',
      )
      t.equal((await client.response()).text, '/a hello')
      t.equal((await client.response()).text, '/b abc')
      t.equal((await client.response()).text, '/c ')
      t.equal((await client.response('HEAD')).status, 200)
      client.head('GET /e HTTP/1.1', 'Host: h')
      t.equal((await client.response()).text, '/e ')
    })

    await t.test('requests cut anywhere are the same requests', async t => {
      const { up, gateway } = await chain(t, engine)
      up.onRequest = request => void request.whole.then(body => request.reply('200 OK', `${request.target} ${body}`))
      const text =
        'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiPUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\nX: 1\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n'
      for (let cut = 1; cut < text.length; cut += 3) {
        const client = await gateway.connect()
        client.send(text.slice(0, cut))
        await new Promise(resolve => setImmediate(resolve))
        client.send(text.slice(cut))
        t.equal((await client.response()).text, '/a hi')
        t.equal((await client.response()).text, '/b ab')
        t.equal((await client.response()).text, '/c ')
        client.destroy()
      }
    })

    await t.test('more ahead than is held: the rest waits, and nothing is lost', async t => {
      const { up, client } = await chain(t, engine)
      const count = 400
      const filler = 'x'.repeat(1000)
      let text = ''
      for (let i = 0; i < count; i++) text += `GET /${i} HTTP/1.1\r\nHost: h\r\nX-Filler: ${filler}\r\n\r\n`
      up.onRequest = request => setImmediate(() => request.reply('200 OK', request.target))
      client.send(text)
      for (let i = 0; i < count; i++) {
        const answer = await client.response()
        if (answer.text !== `/${i}`) t.equal(answer.text, `/${i}`)
      }
      t.equal(up.requests.length, count)
    })

    await t.test('a malformed HEAD is refused without content', async t => {
      const { gateway } = await chain(t, engine)
      for (const bad of ['HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'HEAD / HTTP/1.1\r\nHost : a\r\n\r\n']) {
        const client = await gateway.connect()
        const answer = await client.send(bad).response('HEAD')
        t.equal(answer.status, 400)
        t.equal(await client.closed, 'fin')
        t.equal(client.rest, '')
      }
    })

    await t.test('a malformed request behind good ones: they are answered, it is refused', async t => {
      const { up, client } = await chain(t, engine)
      client.send(
        'GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost : h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n',
      )
      t.equal((await client.response()).status, 200)
      t.equal((await client.response()).status, 400)
      t.equal(await client.closed, 'fin')
      t.equal(client.rest, '')
      t.equal(up.requests.length, 1)
    })

    await t.test('an empty line before a request is forgiven', async t => {
      const { client } = await chain(t, engine)
      client.send('\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n')
      t.equal((await client.response()).status, 200)
      client.send('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n')
      t.equal((await client.response()).status, 200)
      t.equal((await client.response()).status, 200)
    })
  }

  if (engine.slowIsTold) {
    await t.test('an empty line behind a request begins no other one', async t => {
      const timeouts = { idle: '300ms', requestHeader: '100ms' }
      const { client } = await chain(t, engine, { listener: { timeouts } })
      client.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n')
      t.equal((await client.response()).status, 200)
      t.equal(await client.closed, 'fin')
      t.notMatch(client.text, '408')
    })
  }

  await t.test('a client that sent its FIN still gets its answer', async t => {
    const { up, client, gateway } = await chain(t, engine)
    up.onRequest = request => void request.whole.then(() => setTimeout(() => request.reply('200 OK', 'ok'), 100))
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 2').send('hi').end()
    if (!engine.halfClose) {
      await client.closed
      t.equal(client.text, '')
      await gateway.quiet()
      return
    }
    const answer = await client.response()
    t.equal(answer.text, 'ok')
    t.equal(await client.closed, 'fin')
  })

  if (engine.halfClose) {
    await t.test('also late, probed by an interim answer meanwhile', async t => {
      const { up, client } = await chain(t, engine)
      up.onRequest = () => {}
      client.head('GET / HTTP/1.1', 'Host: h.test').end()
      await client.until('HTTP/1.1 102 ')
      up.requests[0]!.reply('200 OK', 'late')
      const answer = await client.response()
      t.equal(answer.text, 'late')
      t.strictSame(answer.interim, [102])
      t.equal(await client.closed, 'fin')
    })

    await t.test('requests in one write with the FIN behind them are all answered', async t => {
      const { client } = await chain(t, engine)
      client.send('GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n').end()
      t.equal((await client.response()).status, 200)
      t.equal((await client.response()).status, 200)
      t.equal(await client.closed, 'fin')
    })

    await t.test('an answer with a length may rest, though the client sent its FIN', async t => {
      const { up, client } = await chain(t, engine)
      up.onRequest = request => {
        request.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab')
        setTimeout(() => request.peer.write('cd'), 1300)
      }
      client.head('GET / HTTP/1.1', 'Host: h.test').end()
      t.equal((await client.response()).text, 'abcd')
    })

    await t.test('so may one without, once something of it was written behind the FIN', async t => {
      const { up, client } = await chain(t, engine)
      up.onRequest = request => {
        request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        setTimeout(() => request.peer.write('1\r\na\r\n'), 50)
        setTimeout(() => request.peer.write('1\r\nb\r\n0\r\n\r\n'), 1500)
      }
      client.head('GET / HTTP/1.1', 'Host: h.test').end()
      t.equal((await client.response()).text, 'ab')
      t.equal(await client.closed, 'fin')
    })

    await t.test('where the end of the connection ends the body, whatever cuts it short is a reset', async t => {
      const { up, client, gateway } = await chain(t, engine, { listener: { timeouts: { idle: '300ms' } } })
      up.onRequest = request => request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n')
      client.head('GET / HTTP/1.0')
      await client.until('\r\n\r\na')
      client.end()
      t.equal(await client.closed, 'reset', 'a client that is taken to be gone')

      const slow = await gateway.connect()
      const large = Buffer.alloc(1 << 20, 'x')
      up.onRequest = request => {
        request.peer.write('HTTP/1.1 200 OK\r\n\r\n')
        for (let i = 0; i < 32; i++) request.peer.write(large)
      }
      slow.head('GET / HTTP/1.0')
      await slow.until('\r\n\r\nx')
      slow.socket.pause()
      await gateway.quiet()
      // libuv takes a reset behind what it reads for the end: only a write that fails at once tells.
      slow.send('x')
      t.equal(await within(3000, slow.closed, () => 'no reset'), 'reset', 'a client that does not read')

      const last = await gateway.connect()
      up.onRequest = request => request.peer.write('HTTP/1.1 200 OK\r\n\r\na')
      last.head('GET / HTTP/1.0')
      await last.until('\r\n\r\na')
      gateway.gateway.destroy()
      t.equal(await last.closed, 'reset', 'the end of the gateway')
    })

    await t.test('a long answer to a client that sent its FIN arrives whole', async t => {
      const { up, client } = await chain(t, engine)
      up.onRequest = request => {
        request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        let left = 8
        const timer = setInterval(() => {
          request.peer.write('4\r\npart\r\n')
          if (--left > 0) return
          clearInterval(timer)
          request.peer.write('0\r\n\r\n')
        }, 150)
      }
      client.head('GET / HTTP/1.1', 'Host: h.test').end()
      t.equal((await client.response()).text, 'part'.repeat(8))
    })
  }

  await t.test('an upload that breaks off reaches the upstream as broken off', async t => {
    const { up, gateway } = await chain(t, engine)
    for (const [framing, sent] of [
      ['Content-Length: 100', '0123456789'],
      ['Transfer-Encoding: chunked', 'a\r\n0123456789\r\n'],
      ['Transfer-Encoding: chunked', 'a\r\n0123456789\r\n0\r\n'],
    ] as const) {
      for (const how of ['fin', 'reset'] as const) {
        const client = await gateway.connect()
        client.head('POST / HTTP/1.1', 'Host: h.test', framing).send(sent)
        const request = await up.request(up.requests.length)
        await pause(10)
        if (how === 'fin') client.end()
        else client.reset()
        if (engine.lastLineEndDue || !sent.endsWith('0\r\n')) {
          await within(1000, request.peer.closed, () => `the upstream connection stands after ${how}`)
        }
        const cut = sent.endsWith('0\r\n') ? engine.lastLineEndDue : true
        t.equal(request.complete, !cut, `${framing} ${how}`)
        if (cut) t.notMatch(client.text, 'HTTP/1.1 200')
        await gateway.quiet()
      }
    }
  })

  await t.test('a client that resets while the upstream takes nothing of its upload', async t => {
    const { up, client, gateway } = await chain(t, engine, {
      listener: { limits: { body: 'unlimited' } },
      // Where the reset is not noticed, this is what ends the exchange.
      up: { timeouts: { idle: engine.resetWhilePaused ? '60s' : '800ms' } },
    })
    up.raw = true
    up.onConnection = peer => peer.socket.pause()
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 100000000')
    client.send(Buffer.alloc(40 * 1024 * 1024))
    await eventually(
      () => gateway.endpoint().pool.open === 1,
      () => 'no upstream connection',
    )
    // Until nothing moves any more.
    await pause(300)
    client.reset()
    await gateway.quiet(3000)
    t.equal(gateway.endpoint().pool.open, 0)
  })

  await t.test('a client that goes while it waits: the upstream connection closes within a second', async t => {
    const { up, gateway } = await chain(t, engine)
    up.onRequest = () => {}
    for (const how of ['destroy', 'reset'] as const) {
      const client = await gateway.connect()
      client.head('GET / HTTP/1.1', 'Host: h.test')
      const request = await up.request(up.requests.length)
      client[how]()
      const from = performance.now()
      await within(1000, request.peer.closed, () => `the upstream connection stands after ${how}`)
      t.comment(`${how}: closed after ${Math.round(performance.now() - from)} ms`)
      await gateway.quiet()
    }
    t.equal(up.open, 0)
  })

  await t.test('a client that goes amid a download: the upstream connection closes within a second', async t => {
    const { up, gateway } = await chain(t, engine)
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      const pour = () => {
        while (!request.peer.isClosed && request.peer.write(`400\r\n${'x'.repeat(1024)}\r\n`));
      }
      request.peer.socket.on('drain', pour)
      pour()
    }
    for (const how of ['destroy', 'reset'] as const) {
      const client = await gateway.connect()
      client.head('GET / HTTP/1.1', 'Host: h.test')
      await client.until(text => text.length > 100_000)
      const request = up.requests.at(-1)!
      client[how]()
      await within(1000, request.peer.closed, () => `the upstream connection stands after ${how}`)
      await gateway.quiet()
    }
    t.equal(up.open, 0)
  })

  await t.test('a client that goes amid a silent event stream is missed within a second', async t => {
    const { up, gateway } = await chain(t, engine, { route: { timeout: 'none' } })
    up.onRequest = request =>
      request.peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: hello\n\n')
    const client = await gateway.connect()
    client.head('GET / HTTP/1.1', 'Host: h.test')
    await client.until('data: hello')
    client.destroy()
    await within(1200, up.peers[0]!.closed, () => 'the upstream connection stands')
    await gateway.quiet()
    t.equal(up.open, 0)
  })

  await t.test('each event arrives as it was sent', async t => {
    const { up, client } = await chain(t, engine, { route: { timeout: 'none' } })
    let send = (_text: string): void => {}
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
      send = text => request.peer.write(`${text.length.toString(16)}\r\n${text}\r\n`)
    }
    client.head('GET / HTTP/1.1', 'Host: h.test', 'Accept: text/event-stream')
    await up.request()
    const times: number[] = []
    for (let i = 0; i < 20; i++) {
      const event = `id: ${i}\ndata: event ${i}\n\n`
      const from = performance.now()
      send(event)
      await client.until(event)
      times.push(performance.now() - from)
    }
    // Half of them: a machine that stands still makes some late, a gateway that waits for more all.
    const half = times.sort((a, b) => a - b)[10]!
    t.ok(half < 100, `half of them took ${Math.round(half)} ms and more`)
    up.peers[0]!.write('0\r\n\r\n')
    const answer = await client.response()
    t.equal(answer.text.split('\n\n').length, 21)
  })

  await t.test('idle connections close when the gateway stops, and busy ones after their answer', async t => {
    const { up, client, gateway } = await chain(t, engine)
    const idle = await gateway.connect()
    idle.head('GET / HTTP/1.1', 'Host: h.test')
    await idle.response()
    let reply = (): void => {}
    up.onRequest = request => {
      reply = () => request.reply('200 OK', 'last')
    }
    client.head('GET / HTTP/1.1', 'Host: h.test')
    await up.request(1)
    const stopped = gateway.gateway.stop()
    if (engine.name === 'native') t.equal(await idle.closed, 'fin')
    reply()
    const answer = await client.response()
    t.equal(answer.text, 'last')
    t.equal(answer.get('connection'), 'close')
    await client.closed
    await idle.closed
    await stopped
  })
}
