// What the gateway does with upstreams that are busy, stale, hostile, slow or gone, on real sockets.
// Over 300 lines because each case is one way for an upstream to fail, and who adds one looks here for whether it is
// there.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { definePlugin, z } from '../../src/plugin-api.ts'
import { freePort } from '../support/free-port.ts'
import { type GatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts'
import type { RawClient } from '../support/raw-client.ts'
import { RawUpstream, type SeenRequest } from '../support/raw-upstream.ts'
import { eventually, pause, stopwatch, within } from '../support/within.ts'

interface Chain {
  up: RawUpstream
  gateway: TestGateway
  client: RawClient
}

async function chain(t: Test, config: GatewayConfig = {}): Promise<Chain> {
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, { ...config, up: { endpoints: [up.address], ...config.up } })
  return { up, gateway, client: await gateway.connect() }
}

/** Ask for `target` and return the answer's status and body as one text. */
async function ask(client: RawClient, target = '/', method = 'GET', ...fields: string[]): Promise<string> {
  client.head(`${method} ${target} HTTP/1.1`, 'Host: h.test', ...fields)
  const answer = await client.response(method)
  return `${answer.status} ${answer.get('content-type').includes('problem') ? JSON.parse(answer.text).code : answer.text}`
}

t.test('pool', async t => {
  await t.test('one connection serves requests of many clients in turn', async t => {
    const { up, gateway } = await chain(t)
    for (let i = 0; i < 10; i++) t.equal(await ask(await gateway.connect()), '200 ok')
    t.equal(up.peers.length, 1)
    t.equal(gateway.endpoint().pool.idle, 1)
    t.equal(gateway.endpoint().requests, 10)
  })

  await t.test('past the most connections requests wait, in order; past the queue they are refused', async t => {
    const { up, gateway } = await chain(t, { up: { connections: { max: 2, pending: 3 } } })
    const held: SeenRequest[] = []
    up.onRequest = request => held.push(request)
    const clients: RawClient[] = []
    for (let i = 0; i < 6; i++) {
      const client = await gateway.connect()
      clients.push(client)
      client.head(`GET /${i} HTTP/1.1`, 'Host: h.test')
      if (i < 2) await up.request(i)
      else if (i < 5)
        await eventually(
          () => gateway.endpoint().pool.waiting === i - 1,
          () => `request ${i} does not wait`,
        )
    }
    t.equal(JSON.parse((await clients[5]!.response()).text).code, 'SLUICE_OVERLOADED')
    t.equal(gateway.endpoint().pool.open, 2)
    for (let i = 0; i < 5; i++) {
      await eventually(
        () => held.length > i,
        () => `request ${i} did not come`,
      )
      held[i]!.reply('200 OK', held[i]!.target)
      t.equal((await clients[i]!.response()).text, `/${i}`, 'first come, first served')
    }
    t.equal(up.peers.length, 2)
  })

  await t.test('an endpoint that is full is passed over while another has room', async t => {
    for (const balance of ['round-robin', 'least-request', 'random', 'ring-hash']) {
      const other = await RawUpstream.start(t)
      const { up, gateway } = await chain(t, {})
      await gateway.close()
      const both = await startGateway(t, {
        up: { endpoints: [up.address, other.address], balance, hashOn: 'path', connections: { max: 1, pending: 0 } },
        route: { retry: { attempts: 0 } },
      })
      const held: SeenRequest[] = []
      up.onRequest = request => held.push(request)
      other.onRequest = request => (request.target === '/hold' ? held.push(request) : request.reply('200 OK', 'other'))
      // One endpoint is taken; which one is up to the balancer.
      const client = await both.connect()
      client.head('GET /hold HTTP/1.1', 'Host: h.test')
      await eventually(
        () => held.length === 1,
        () => 'the request did not come',
      )
      up.onRequest = request => request.reply('200 OK', 'up')
      const expected = up.requests.length === 1 ? '200 other' : '200 up'
      for (let i = 0; i < 10; i++) t.equal(await ask(await both.connect(), `/${i}`), expected, balance)
      const second = await both.connect()
      other.onRequest = request => held.push(request)
      up.onRequest = request => held.push(request)
      second.head('GET / HTTP/1.1', 'Host: h.test')
      await eventually(
        () => held.length === 2,
        () => 'the request did not come',
      )
      t.equal(await ask(await both.connect()), '503 SLUICE_OVERLOADED')
      for (const request of held) request.reply('200 OK')
      await client.response()
      await second.response()
      await both.close()
    }
  })

  await t.test('a request waits no longer than the connect timeout, and may be given up meanwhile', async t => {
    const { up, gateway } = await chain(t, {
      up: { connections: { max: 1 }, timeouts: { connect: '1s' } },
      route: { retry: { attempts: 0 } },
    })
    let held: SeenRequest | null = null
    up.onRequest = request => {
      held = request
    }
    const [first, second, third] = [await gateway.connect(), await gateway.connect(), await gateway.connect()]
    first.head('GET /1 HTTP/1.1', 'Host: h.test')
    await up.request()
    third.head('GET /3 HTTP/1.1', 'Host: h.test')
    await eventually(
      () => gateway.endpoint().pool.waiting === 1,
      () => 'nobody waits',
    )
    third.reset()
    await eventually(
      () => gateway.endpoint().pool.waiting === 0,
      () => 'the one that is gone still waits',
    )
    const from = performance.now()
    const took = stopwatch()
    t.equal(await ask(second), '504 SLUICE_UPSTREAM_TIMEOUT')
    t.ok(performance.now() - from > 900, 'not before its time')
    t.ok(took() < 5_000, 'nor long after it')
    t.equal(gateway.endpoint().pool.waiting, 0)
    held!.reply('200 OK', 'first')
    t.equal((await first.response()).text, 'first')
    t.equal(up.requests.length, 1)
  })

  await t.test('an unused connection closes before the upstream does that by its Keep-Alive', async t => {
    for (const [field, least, before] of [
      ['timeout=1', 250, 950],
      ['timeout=2, max=100', 700, 1950],
      ['max=5, Timeout=1', 250, 950],
      ['timeout=1\r\nKeep-Alive: max=5', 250, 950],
      ['timeout=0', 0, 950],
    ] as const) {
      const { up, client, gateway } = await chain(t)
      up.onRequest = request => request.reply('200 OK', 'ok', `Keep-Alive: ${field}`)
      const begun = performance.now()
      for (let i = 0; i < 2; i++) t.equal(await ask(client), '200 ok')
      await within(before, up.peers.at(-1)!.closed, () => `${field}: the idle connection stands`)
      t.ok(performance.now() - begun >= least, `${field}: not at once`)
      await eventually(
        () => gateway.endpoint().pool.open === 0,
        () => 'the pool counts it still',
      )
    }
  })

  await t.test('what is no Keep-Alive timeout, or a longer one, leaves the time as it is set', async t => {
    for (const field of ['timeout=60', 'timeout=', 'timeout=1x', 'xtimeout=1', 'timeout=-1', '5', '']) {
      const { up, client } = await chain(t, { up: { connections: { idle: '900ms' } } })
      up.onRequest = request => request.reply('200 OK', 'ok', `Keep-Alive: ${field}`)
      t.equal(await ask(client), '200 ok')
      const begun = performance.now()
      await within(3000, up.peers[0]!.closed, () => `${field}: the idle connection stands`)
      t.ok(performance.now() - begun > 800, field)
    }
  })

  await t.test('an unused connection closes after its time', async t => {
    const { up, client, gateway } = await chain(t, { up: { connections: { idle: '100ms' } } })
    t.equal(await ask(client), '200 ok')
    await within(3000, up.peers[0]!.closed, () => 'the idle connection stands')
    await eventually(
      () => gateway.endpoint().pool.open === 0,
      () => 'the pool counts it still',
    )
    t.equal(await ask(client), '200 ok')
    t.equal(up.peers.length, 2)
  })

  await t.test('an upstream that says close, or HTTP/1.0, gets a connection a request', async t => {
    const { up, client } = await chain(t)
    for (const head of ['HTTP/1.1 200 OK\r\nConnection: close', 'HTTP/1.0 200 OK']) {
      const before = up.peers.length
      up.onRequest = request => request.peer.write(`${head}\r\nContent-Length: 2\r\n\r\nok`)
      t.equal(await ask(client), '200 ok')
      t.equal(await ask(client), '200 ok')
      t.ok(up.peers.length - before >= 1)
      await up.peers.at(-1)!.closed
    }
    up.onRequest = request =>
      request.peer.write('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok')
    const before = up.peers.length
    t.equal(await ask(client), '200 ok')
    t.equal(await ask(client), '200 ok')
    t.equal(up.peers.length, before + 1, 'unless it says keep-alive')
  })

  await t.test('a burst of refused connections harms nobody', async t => {
    const { gateway } = await chain(t, { up: { endpoints: [`127.0.0.1:${await freePort()}`] } })
    const clients = await Promise.all(Array.from({ length: 100 }, () => gateway.connect()))
    const answers = await Promise.all(clients.map(client => ask(client)))
    t.ok(answers.every(answer => answer === '502 SLUICE_UPSTREAM_CONNECT'))
    await gateway.quiet()
  })
})

t.test('stale connections', async t => {
  // The upstream closes its kept connection at the very moment at which the next request is on its way.
  const staling = async (t: Test, retry = 1) => {
    const made = await chain(t, { route: { retry: { attempts: retry } } })
    made.up.onRequest = request => {
      if (request.peer.requests.length > 1) request.peer.socket.destroy()
      else void request.whole.then(() => request.reply('200 OK', `peer ${request.peer.index}`))
    }
    t.equal(await ask(made.client), '200 peer 0')
    return made
  }

  for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
    await t.test(`${method} is sent once more on a fresh one, without counting as a retry`, async t => {
      const { up, client, gateway } = await staling(t, 0)
      client.head(`${method} /again HTTP/1.1`, 'Host: h.test')
      t.equal((await client.response(method)).status, 200)
      t.equal(up.requests.filter(request => request.target === '/again').length, 2)
      t.equal(gateway.endpoint().requests, 2)
    })
  }

  for (const method of ['POST', 'PATCH', 'FOO']) {
    await t.test(`${method} is not: it may have had its effect`, async t => {
      const { up, client } = await staling(t)
      t.equal(await ask(client, '/again', method), '502 SLUICE_UPSTREAM_RESET')
      t.equal(up.requests.filter(request => request.target === '/again').length, 1)
    })
  }

  await t.test('so is a PUT with a small body, framed either way', async t => {
    for (const length of [5, 5000, 16_000]) {
      const body = 'x'.repeat(length)
      const chunk = `${length.toString(16)}\r\n${body}\r\n`
      for (const framed of [
        `Content-Length: ${length}\r\n\r\n${body}`,
        `Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`,
      ]) {
        const { up, client } = await staling(t, 0)
        client.send(`PUT /again HTTP/1.1\r\nHost: h\r\n${framed}`)
        t.equal((await client.response()).status, 200)
        const again = up.requests.filter(request => request.target === '/again')
        t.equal(again.length, 2)
        t.equal(again[1]!.body.toString(), body)
      }
    }
  })

  await t.test('not one whose body is not held any more, or has not ended', async t => {
    const large = `PUT /again HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n${'x'.repeat(20_000)}`
    for (const text of [large, large.slice(0, 1000)]) {
      const { up, client } = await staling(t)
      client.send(text)
      t.equal((await client.response()).status, 502)
      t.equal(up.requests.filter(request => request.target === '/again').length, 1)
    }
  })

  await t.test('nor anything whose answer has begun, there or at another endpoint', async t => {
    for (const begun of ['HTTP/1.1 200 O', 'HTTP/1.1 100 Continue\r\n\r\n', 'H']) {
      const { up, client } = await chain(t)
      t.equal(await ask(client), '200 ok')
      up.onRequest = request => request.peer.socket.end(begun)
      t.equal(await ask(client, '/again'), '502 SLUICE_UPSTREAM_RESET')
      t.equal(up.requests.filter(request => request.target === '/again').length, 1)
    }
  })

  await t.test('once, not for ever', async t => {
    const { up, client } = await chain(t, { route: { retry: { attempts: 0 } } })
    up.onRequest = request => {
      if (request.target === '/first') request.reply('200 OK', 'x')
      else request.peer.socket.destroy()
    }
    await ask(client, '/first')
    t.equal(await ask(client, '/again'), '502 SLUICE_UPSTREAM_RESET')
    t.equal(up.requests.filter(request => request.target === '/again').length, 2)
  })

  await t.test('closed in between: the pool has noticed', async t => {
    const { up, client, gateway } = await chain(t)
    up.onRequest = request => {
      request.reply('200 OK', `peer ${request.peer.index}`)
      setImmediate(() => request.peer.socket.end())
    }
    for (let i = 0; i < 5; i++) {
      t.equal(await ask(client, '/', i % 2 === 0 ? 'POST' : 'GET'), `200 peer ${i}`)
      await eventually(
        () => gateway.endpoint().pool.open === 0,
        () => 'the closed connection is kept',
      )
    }
  })

  await t.test('nor is one given away in the turn of the loop in which its end is seen', async t => {
    // Both are in the kernel before the gateway looks: first the end, then a request that may not be sent twice.
    for (const end of ['destroy', 'resetAndDestroy'] as const) {
      const { up, client } = await chain(t, { route: { retry: { attempts: 0 } } })
      t.equal(await ask(client), '200 ok')
      up.peers[0]!.socket[end]()
      t.equal(await ask(client, '/', 'POST', 'Content-Length: 0'), '200 ok', end)
    }
    const { client } = await chain(t, { up: { connections: { idle: '50ms' } }, route: { retry: { attempts: 0 } } })
    t.equal(await ask(client), '200 ok')
    const answer = ask(client, '/', 'POST', 'Content-Length: 0')
    // The loop stands until the idle time is over: that is what it sees first.
    for (const from = performance.now(); performance.now() - from < 100; );
    t.equal(await answer, '200 ok', 'idle for too long')
  })

  await t.test('what was not sent at all is sent once more, whatever it is', async t => {
    // Both are in the kernel before the gateway looks: first the request, then a reset, which no write gets past.
    for (const method of ['POST', 'PUT']) {
      for (const length of [0, 5, 6000, 20_000, 300_000]) {
        for (const chunked of length > 0 ? [false, true] : [false]) {
          const { up, client, gateway } = await chain(t, { route: { retry: { attempts: 0 } } })
          t.equal(await ask(client), '200 ok')
          const body = Buffer.alloc(length, 'body ')
          client.head(
            `${method} /again HTTP/1.1`,
            'Host: h.test',
            chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`,
          )
          if (chunked) client.send(`${length.toString(16)}\r\n`)
          client.send(body)
          if (chunked) client.send('\r\n0\r\n\r\n')
          up.peers[0]!.socket.resetAndDestroy()
          const name = `${method} ${length} ${chunked}`
          t.equal((await client.response()).status, 200, name)
          const again = up.requests.filter(request => request.target === '/again')
          t.equal(again.length, 1, name)
          t.ok(again[0]!.body.equals(body), name)
          t.equal(gateway.endpoint().requests, 2)
        }
      }
    }
  })

  await t.test('and elsewhere, where nobody listens there any more', async t => {
    const [gone, other] = [await RawUpstream.start(t), await RawUpstream.start(t)]
    const { client } = await chain(t, { up: { endpoints: [gone.address, other.address] } })
    for (let i = 0; i < 2; i++) t.equal(await ask(client), '200 ok')
    client.head('POST /again HTTP/1.1', 'Host: h.test', 'Content-Length: 0')
    gone.peers[0]!.socket.resetAndDestroy()
    const closed = gone.close()
    t.equal((await client.response()).status, 200)
    await closed
    t.strictSame(
      [gone, other].map(one => one.requests.map(request => request.target)),
      [['/'], ['/', '/again']],
    )
  })

  await t.test('with the one place of the pool too', async t => {
    const { up, client } = await chain(t, { up: { connections: { max: 1, pending: 0 } } })
    t.equal(await ask(client), '200 ok')
    up.peers[0]!.socket.destroy()
    t.equal(await ask(client), '200 ok')
  })

  await t.test('nor does a full pool give it one that was used', async t => {
    const { up, gateway } = await chain(t, { up: { connections: { max: 1 } }, route: { retry: { attempts: 0 } } })
    // It closes after each answer and does not say so: whoever waited gets a connection that ends at that moment.
    up.onRequest = request => {
      request.reply('200 OK', request.target)
      request.peer.socket.end()
    }
    const clients = await Promise.all(Array.from({ length: 6 }, () => gateway.connect()))
    const answers = await Promise.all(clients.map((client, i) => ask(client, `/${i}`)))
    t.strictSame(
      answers,
      clients.map((_, i) => `200 /${i}`),
    )
  })

  await t.test('a 408 and a FIN on an idle connection reach nobody', async t => {
    const { up, client, gateway } = await chain(t)
    t.equal(await ask(client), '200 ok')
    up.peers[0]!.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n')
    up.peers[0]!.socket.end()
    await eventually(
      () => gateway.endpoint().pool.open === 0,
      () => 'the connection is kept',
    )
    t.equal(await ask(client), '200 ok')
    t.equal(client.rest, '')
  })
})

t.test('hostile answers', async t => {
  /** Bytes that are answered to every first request of a connection; what a client gets; and after that a clean one. */
  const hostile = async (t: Test, bytes: string | Buffer, expected: string | RegExp, name: string) => {
    const { up, client } = await shared(t)
    up.onRequest = request => {
      if (request.target === '/clean') request.reply('200 OK', 'clean')
      else request.peer.write(bytes)
    }
    const before = up.peers.length
    const got = await ask(client, '/hostile')
    if (typeof expected === 'string') t.equal(got, expected, name)
    else t.match(got, expected, name)
    const peer = up.requests.at(-1)!.peer
    await within(1000, peer.closed, () => `${name}: the connection stands`)
    t.equal(await ask(client, '/clean'), '200 clean', `${name}: the next request is clean`)
    t.not(up.requests.at(-1)!.peer.index, peer.index)
    t.ok(up.peers.length > before)
  }
  const shared = async (t: Test) => {
    const made = await chain(t, { route: { retry: { attempts: 0 } } })
    return made
  }

  await t.test('a 204 that announces a body is passed on, and its connection not used again', async t => {
    for (const field of ['Content-Length: 46', 'Transfer-Encoding: chunked']) {
      await hostile(t, `HTTP/1.1 204 No Content\r\n${field}\r\n\r\n`, '204 ', field)
    }
  })

  await t.test('a Connection that is none ends the connection', async t => {
    await hostile(t, 'HTTP/1.1 200 OK\r\nConnection: "a b"\r\nContent-Length: 2\r\n\r\nok', '200 ok', 'Connection')
  })

  await t.test('what is no answer is 502, and its connection is not used again', async t => {
    const ok = 'HTTP/1.1 200 OK\r\n'
    const bad: Record<string, string> = {
      garbage: 'garbage\r\n\r\n',
      'another protocol': '\x16\x03\x01\x00\x05hello',
      'HTTP/2': 'HTTP/2 200 OK\r\n\r\n',
      'HTTP/2.0': 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n',
      'no status': 'HTTP/1.1 OK\r\n\r\n',
      'two digits': 'HTTP/1.1 20 OK\r\n\r\n',
      'four digits': 'HTTP/1.1 2000 OK\r\n\r\n',
      'status 600': 'HTTP/1.1 600 X\r\n\r\n',
      'status 000': 'HTTP/1.1 000 X\r\n\r\n',
      'line feeds alone': 'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
      'NUL in the reason': 'HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n',
      'a bare CR in a value': `${ok}X: a\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n`,
      'a bare LF in a value': `${ok}X: a\nSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n`,
      'a NUL in a value': `${ok}X: a\0b\r\nContent-Length: 0\r\n\r\n`,
      'a space before the colon': `${ok}Content-Length : 2\r\n\r\nok`,
      'a folded line': `${ok}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`,
      'an empty name': `${ok}: a\r\nContent-Length: 0\r\n\r\n`,
      'no colon': `${ok}nonsense\r\nContent-Length: 0\r\n\r\n`,
      'two lengths': `${ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok`,
      'a list of lengths': `${ok}Content-Length: 2, 2\r\n\r\nok`,
      'a negative length': `${ok}Content-Length: -2\r\n\r\nok`,
      'a signed length': `${ok}Content-Length: +2\r\n\r\nok`,
      'a hexadecimal length': `${ok}Content-Length: 0x2\r\n\r\nok`,
      'length and chunked': `${ok}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
      'another coding': `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      'chunked twice': `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      'chunked in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'an unasked 101': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n',
      'a 407': 'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n',
      'an interim answer with a body': 'HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello',
      'a head over 64 KiB': `${ok}X: ${'x'.repeat(66_000)}\r\n\r\n`,
      'a head that never ends': `${ok}${'X-A: 1\r\n'.repeat(9000)}`,
      'a name that never ends': 'x'.repeat(70_000),
      'too many fields': `${ok}${'X-A: 1\r\n'.repeat(300)}\r\n`,
      'a head of 1 MB': `${ok}X: ${'x'.repeat(1_000_000)}\r\n\r\n`,
    }
    for (const [name, bytes] of Object.entries(bad)) await hostile(t, bytes, '502 SLUICE_UPSTREAM_PROTOCOL', name)
  })

  await t.test('bytes behind an answer are nobody’s answer', async t => {
    const second = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'
    await hostile(t, `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${second}`, '200 ok', 'behind a length')
    await hostile(t, `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\noklonger`, '200 ok', 'a longer body')
    await hostile(
      t,
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${second}`,
      '200 ok',
      'behind the last chunk',
    )
    await hostile(t, `HTTP/1.1 204 No Content\r\n\r\nbody`, '204 ', 'a body with 204')
    await hostile(t, `HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody`, '204 ', 'a body and length with 204')
    await hostile(t, `HTTP/1.1 304 Not Modified\r\n\r\n${second}`, '304 ', 'an answer behind 304')
  })

  await t.test('a body with HEAD is nobody’s answer', async t => {
    const { up, client } = await chain(t)
    up.onRequest = request =>
      request.method === 'HEAD'
        ? request.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')
        : request.reply('200 OK', 'clean')
    t.equal(await ask(client, '/', 'HEAD'), '200 ')
    t.equal(await ask(client), '200 clean')
    t.equal(up.peers.length, 2)
    t.equal(client.rest, '')
  })

  await t.test('bytes on an idle connection close it', async t => {
    const { up, client, gateway } = await chain(t)
    t.equal(await ask(client), '200 ok')
    t.equal(gateway.endpoint().pool.idle, 1)
    up.peers[0]!.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')
    await within(1000, up.peers[0]!.closed, () => 'the connection stands')
    await eventually(
      () => gateway.endpoint().pool.open === 0,
      () => 'the pool counts it still',
    )
    t.equal(await ask(client), '200 ok')
    t.equal(client.rest, '')
  })

  await t.test('interim answers are swallowed, 10,000 of them too', async t => {
    const { up, client } = await chain(t)
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n')
      request.peer.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(10_000))
      request.reply('200 OK', 'at last')
    }
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const answer = await client.response()
    t.equal(answer.text, 'at last')
    t.strictSame(answer.interim, [])
    t.equal(answer.get('link'), '')
    t.equal(await ask(client), '200 at last')
    t.equal(up.peers.length, 1)
  })

  await t.test('early hints, then nothing', async t => {
    const { up, client } = await chain(t, { route: { retry: { attempts: 0 } } })
    up.onRequest = request => request.peer.socket.end('HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n')
    t.equal(await ask(client), '502 SLUICE_UPSTREAM_RESET')
  })

  await t.test('an answer that ends at any of its bytes, by FIN or by reset, is never taken for whole', async t => {
    const answers = {
      length: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
      chunked: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
    }
    const { up, gateway } = await chain(t, { route: { retry: { attempts: 0 } } })
    for (const [name, whole] of Object.entries(answers)) {
      const headEnd = whole.indexOf('\r\n\r\n') + 4
      for (const how of ['fin', 'reset'] as const) {
        up.onRequest = request => {
          const { socket } = request.peer
          socket.write(whole.slice(0, Number(request.target.slice(1))), async () => {
            // A reset may overtake what was written before it.
            await pause(20)
            if (how === 'fin') socket.end()
            else socket.resetAndDestroy()
          })
        }
        const wrong: string[] = []
        const play = async (end: number) => {
          const client = await gateway.connect()
          const got = await ask(client, `/${end}`).catch(error => `cut: ${error.message}`)
          const due = end === whole.length ? '200 hello' : end < headEnd ? '502 SLUICE_UPSTREAM_RESET' : 'cut: '
          if (!got.startsWith(due)) wrong.push(`${end}: ${got}`)
          client.destroy()
        }
        await Promise.all(Array.from({ length: whole.length + 1 }, (_, end) => play(end)))
        t.strictSame(wrong, [], `${name}, ${how}`)
      }
    }
  })
})

t.test('upstreams that cannot be reached', async t => {
  await t.test('a connection refused is 502 at once, for any method', async t => {
    const { client } = await chain(t, { up: { endpoints: [`127.0.0.1:${await freePort()}`] } })
    t.equal(await ask(client), '502 SLUICE_UPSTREAM_CONNECT')
    client.send('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi')
    t.equal((await client.response()).status, 502)
  })

  await t.test('a name that is none is 502', async t => {
    const { client } = await chain(t, { up: { endpoints: ['no-such-host.invalid:80'] } })
    t.equal(await ask(client), '502 SLUICE_UPSTREAM_CONNECT')
  })

  await t.test('a black hole is 504 within the connect timeout and a tenth', async t => {
    const hole = await BlackHole.open(t)
    const { client } = await chain(t, {
      up: { endpoints: [`127.0.0.1:${hole.port}`], timeouts: { connect: '500ms' } },
      route: { retry: { attempts: 0 } },
    })
    const times: number[] = []
    const late: number[] = []
    for (let i = 0; i < 3; i++) {
      const from = performance.now()
      const answered = ask(client).then(answer => {
        times.push(performance.now() - from)
        t.equal(answer, '504 SLUICE_UPSTREAM_TIMEOUT')
      })
      // A machine that is slow makes this late, too.
      await pause(500)
      const paused = performance.now() - from
      await answered
      late.push(times[i]! - Math.max(500, paused))
    }
    t.ok(Math.min(...times) >= 470, `after ${times.map(Math.round).join(', ')} ms`)
    t.ok(Math.min(...late) <= 50, `late by ${late.map(Math.round).join(', ')} ms`)
  })

  await t.test('the client that waits for a black hole goes: nothing is left', async t => {
    const hole = await BlackHole.open(t)
    const { client, gateway } = await chain(t, { up: { endpoints: [`127.0.0.1:${hole.port}`] } })
    client.head('GET / HTTP/1.1', 'Host: h.test')
    await eventually(
      () => gateway.endpoint().inFlight === 1,
      () => 'no attempt was made',
    )
    client.reset()
    await gateway.quiet(2000)
    t.equal(gateway.endpoint().pool.open, 0)
  })

  await t.test('a host name and an IPv6 address', async t => {
    const four = await RawUpstream.start(t)
    const byName = await startGateway(t, { up: { endpoints: [`localhost:${four.port}`], host: 'endpoint' } })
    t.equal(await ask(await byName.connect()), '200 ok')
    t.equal(four.requests[0]!.get('host'), `localhost:${four.port}`)
    const six = await RawUpstream.start(t, '::1').catch(() => null)
    if (six === null) {
      t.comment('this machine has no ::1')
      return
    }
    const bySix = await startGateway(t, { up: { endpoints: [`[::1]:${six.port}`], host: 'endpoint' } })
    t.equal(await ask(await bySix.connect()), '200 ok')
    t.equal(six.requests[0]!.get('host'), `[::1]:${six.port}`)
  })
})

/** A listener that accepts nothing and whose backlog is full: the kernel drops what else knocks. */
class BlackHole {
  port = 0
  readonly #knocking: Socket[] = []

  static async open(t: Test): Promise<BlackHole> {
    // A process that is stopped accepts nothing; in this one the loop would.
    const child = spawn(process.execPath, [
      '-e',
      `const s = require('node:net').createServer(); s.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
        require('node:fs').writeSync(1, String(s.address().port)); process.kill(process.pid, 'SIGSTOP') })`,
    ])
    const [text] = await once(child.stdout, 'data')
    const hole = new BlackHole()
    hole.port = Number(text)
    t.teardown(async () => {
      for (const socket of hole.#knocking) socket.destroy()
      child.kill('SIGKILL')
      await once(child, 'exit')
    })
    for (let full = false; !full; ) {
      const socket = connect(hole.port, '127.0.0.1')
      hole.#knocking.push(socket)
      socket.on('error', () => {})
      full = await Promise.race([once(socket, 'connect').then(() => false), pause(150).then(() => true)])
    }
    return hole
  }
}

t.test('time', async t => {
  await t.test('no answer in time is 504, and the connection closes', async t => {
    const { up, client } = await chain(t, { up: { timeouts: { response: '150ms' } } })
    up.onRequest = () => {}
    const from = performance.now()
    const took = stopwatch()
    t.equal(await ask(client), '504 SLUICE_UPSTREAM_TIMEOUT')
    t.ok(performance.now() - from > 120, 'not before its time')
    t.ok(took() < 2_000, 'nor long after it')
    await up.peers[0]!.closed
    t.equal(up.requests.length, 1)
  })

  await t.test('an answer that came while the loop stood still is not late', async t => {
    // So long, as a machine that stands still for all of it before the question arrives makes the answer late indeed.
    const { up, client } = await chain(t, { up: { timeouts: { response: '1s' } } })
    up.onRequest = request => {
      request.reply('200 OK', 'in time')
      for (const from = performance.now(); performance.now() - from < 1200; );
    }
    for (let i = 0; i < 2; i++) t.equal(await ask(client), '200 in time')
  })

  await t.test('half a head is no answer', async t => {
    const { up, client } = await chain(t, { up: { timeouts: { response: '150ms' } } })
    up.onRequest = request => request.peer.write('HTTP/1.1 200 OK\r\nX-A: ')
    t.equal(await ask(client), '504 SLUICE_UPSTREAM_TIMEOUT')
    await up.peers[0]!.closed
  })

  await t.test('the time for the answer begins with the end of the request', async t => {
    const { up, client } = await chain(t, { up: { timeouts: { response: '700ms' } } })
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 20')
    for (let i = 0; i < 10; i++) {
      client.send('xx')
      await pause(100)
    }
    t.equal((await client.response()).status, 200)
    up.onRequest = () => {}
    const took = stopwatch()
    client.send('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi')
    t.equal((await client.response()).status, 504)
    t.ok(took() < 2_000)
  })

  await t.test('the time of the route is up while the upstream is silent, and amid the body', async t => {
    const { up, client } = await chain(t, { route: { timeout: '500ms' } })
    up.onRequest = () => {}
    const took = stopwatch()
    t.equal(await ask(client), '504 SLUICE_UPSTREAM_TIMEOUT')
    t.ok(took() < 2_000)
    await up.peers[0]!.closed
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      const timer = setInterval(() => request.peer.write('1\r\nx\r\n'), 30)
      void request.peer.closed.then(() => clearInterval(timer))
    }
    const amid = stopwatch()
    await t.rejects(ask(client), /the connection ended/)
    t.ok(amid() < 2_000)
    await up.peers[1]!.closed
  })

  await t.test('an upstream that takes nothing of an upload is given up after the idle timeout', async t => {
    const { up, client } = await chain(t, {
      listener: { limits: { body: 'unlimited' } },
      up: { timeouts: { idle: '200ms', response: '5s' } },
    })
    up.raw = true
    up.onConnection = peer => peer.socket.pause()
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 50000000')
    client.socket.on('error', () => {})
    const block = Buffer.alloc(1024 * 1024)
    for (let i = 0; i < 40; i++) client.send(block)
    t.equal((await client.response()).status, 504)
    client.destroy()
  })

  await t.test('an upload that stops is given up after the idle timeout, and the client told', async t => {
    const { up, client } = await chain(t, { up: { timeouts: { idle: '200ms', response: '5s' } } })
    const from = performance.now()
    const took = stopwatch()
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 10').send('abc')
    const answer = await client.response()
    t.equal(answer.status, 408)
    t.ok(performance.now() - from > 160, 'not before its time')
    t.ok(took() < 2_000, 'nor long after it')
    await client.closed
    await (await up.peer()).closed
    t.notOk(up.requests[0]!.complete)
  })

  await t.test('the time of the route is up amid an upload that flows: 504, and no fault of the endpoint', async t => {
    const { client, gateway } = await chain(t, { route: { timeout: '200ms' } })
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 1000')
    const timer = setInterval(() => client.send('x'), 30)
    t.teardown(() => clearInterval(timer))
    const answer = await client.response()
    clearInterval(timer)
    t.equal(answer.status, 504)
    t.equal(JSON.parse(answer.text).code, 'SLUICE_UPSTREAM_TIMEOUT')
    t.equal(gateway.endpoint().failures, 0)
  })

  await t.test('an upload that flows keeps an answer that has begun, and rests, alive', async t => {
    const { up, client } = await chain(t, { up: { timeouts: { idle: '1s' } } })
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n')
      void request.whole.then(() => request.peer.write('done'))
    }
    client.head('POST / HTTP/1.1', 'Host: h.test', 'Content-Length: 10')
    for (let i = 0; i < 10; i++) {
      client.send('x')
      await pause(160)
    }
    t.equal((await client.response()).text, 'done')
  })

  await t.test('the time of the route is up while a plugin hangs', async t => {
    for (const phase of ['onRequest', 'onResponse'] as const) {
      const HANGS = 2
      let hung = 0
      const up = await RawUpstream.start(t)
      const gateway = await startGateway(
        t,
        {
          plugins: ['hang'],
          up: { endpoints: [up.address] },
          routes: [
            { name: 'own', match: { path: '/own' }, respond: { status: 200, body: 'own' }, timeout: '150ms' },
            { name: 'all', match: { path: '/*' }, upstream: 'up', timeout: '150ms' },
          ],
        },
        {
          plugins: [
            definePlugin({
              name: 'hang',
              description: 'For a test.',
              options: z.strictObject({}),
              create: () => ({
                [phase]: () => {
                  hung++
                  return hung > HANGS ? undefined : new Promise<never>(() => {})
                },
              }),
            }),
          ],
        },
      )
      const client = await gateway.connect()
      const took = stopwatch()
      t.equal(await ask(client), '504 SLUICE_UPSTREAM_TIMEOUT', phase)
      t.ok(took() < 2_000)
      t.equal(await ask(client, '/own'), '504 SLUICE_UPSTREAM_TIMEOUT', `${phase}, where the gateway answers`)
      await gateway.quiet()
      t.equal(await ask(client), '200 ok')
      t.equal(hung, HANGS + 1)
    }
  })

  await t.test('no total time while bytes flow where the route says none', async t => {
    const { up, client } = await chain(t, { route: { timeout: 'none' }, up: { timeouts: { idle: '1s' } } })
    up.onRequest = request => {
      request.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n')
      let left = 10
      const timer = setInterval(() => {
        request.peer.write('x')
        if (--left === 0) clearInterval(timer)
      }, 160)
    }
    t.equal(await ask(client), '200 xxxxxxxxxx')
  })
})

t.test('retries', async t => {
  /** Two endpoints; `bad` answers as told, `good` says so. */
  const pair = async (t: Test, bad: (request: SeenRequest) => void, route: Record<string, unknown> = {}) => {
    const [first, second] = [await RawUpstream.start(t), await RawUpstream.start(t)]
    first.onRequest = bad
    second.onRequest = request =>
      void request.whole.then(
        () => request.reply('200 OK', 'good'),
        () => {},
      )
    const gateway = await startGateway(t, {
      up: { endpoints: [first.address, second.address], timeouts: { connect: '2s' } },
      route: { ...route, retry: { backoff: '1ms', maxBackoff: '1ms', budget: '100%', ...(route['retry'] as object) } },
    })
    return { first, second, gateway, client: await gateway.connect() }
  }
  const drop = (request: SeenRequest) => request.peer.socket.resetAndDestroy()

  await t.test('another endpoint is asked after a reset, and after 502, 503 and 504', async t => {
    const failing = [
      drop,
      ...[502, 503, 504].map(status => (request: SeenRequest) => request.reply(`${status} X`, 'bad')),
    ]
    for (const bad of failing) {
      const { first, client } = await pair(t, bad)
      for (let i = 0; i < 4; i++) t.equal(await ask(client), '200 good')
      t.ok(first.requests.length >= 1)
    }
  })

  await t.test('other statuses pass', async t => {
    for (const status of [500, 501, 505, 429, 404]) {
      const { first, client } = await pair(t, request => request.reply(`${status} X`, 'bad'))
      const got = [await ask(client), await ask(client)].sort()
      t.strictSame(got, ['200 good', `${status} bad`].sort())
      t.equal(first.requests.length, 1)
    }
  })

  await t.test('no more tries than asked for, and the last answer is passed on', async t => {
    for (const attempts of [0, 1, 3]) {
      const { up, client } = await chain(t, {
        route: { retry: { attempts, backoff: '1ms', maxBackoff: '1ms', budget: '100%' } },
      })
      up.onRequest = request => request.reply('503 Service Unavailable', `try ${up.requests.length}`, 'Retry-After: 7')
      client.head('GET / HTTP/1.1', 'Host: h.test')
      const answer = await client.response()
      t.equal(answer.status, 503)
      t.equal(answer.text, `try ${attempts + 1}`)
      t.equal(answer.get('retry-after'), '7')
      t.equal(up.requests.length, attempts + 1)
    }
  })

  await t.test('only for what the route names', async t => {
    const { client } = await pair(t, request => request.reply('503 X', 'bad'), { retry: { on: ['connect', 502] } })
    t.strictSame([await ask(client), await ask(client)].sort(), ['200 good', '503 bad'])
    const reset = await pair(t, drop, { retry: { on: ['connect'] } })
    t.strictSame([await ask(reset.client), await ask(reset.client)].sort(), ['200 good', '502 SLUICE_UPSTREAM_RESET'])
  })

  await t.test('never a POST that was sent, nor a body that was used', async t => {
    const { first, client } = await pair(t, drop)
    const got: string[] = []
    for (let i = 0; i < 2; i++) got.push(await ask(client, '/', 'POST', 'Content-Length: 0'))
    t.strictSame(got.sort(), ['200 good', '502 SLUICE_UPSTREAM_RESET'])
    t.equal(first.requests.length, 1)
    const put = await pair(t, request => void request.whole.then(() => drop(request)))
    const statuses: number[] = []
    for (let i = 0; i < 2; i++) {
      put.client.send(`PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n`).send(Buffer.alloc(200_000, 'x'))
      statuses.push((await put.client.response()).status)
    }
    t.strictSame(statuses.sort(), [200, 502])
    t.equal(put.first.requests.length, 1)
  })

  await t.test('a POST with its body goes elsewhere when the connection was refused', async t => {
    const good = await RawUpstream.start(t)
    good.onRequest = request => void request.whole.then(body => request.reply('200 OK', body))
    const gateway = await startGateway(t, {
      up: { endpoints: [`127.0.0.1:${await freePort()}`, good.address] },
      route: { retry: { budget: '100%' } },
    })
    const client = await gateway.connect()
    for (let i = 0; i < 4; i++) {
      client.send(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello`)
      t.equal((await client.response()).text, 'hello')
    }
    t.equal(good.requests.length, 4)
  })

  await t.test('a retry waits for its backoff, and the route’s time counts', async t => {
    const { up, client } = await chain(t, {
      route: { timeout: '300ms', retry: { attempts: 10, backoff: '1s', maxBackoff: '1s', budget: '100%' } },
    })
    up.onRequest = drop
    const took = stopwatch()
    t.match(await ask(client), /^50[24] /)
    t.ok(took() < 2_000)
  })

  await t.test('the budget keeps retries from becoming a storm', async t => {
    const { up, gateway } = await chain(t, {
      route: { retry: { attempts: 3, backoff: '0ms', maxBackoff: '0ms', budget: '20%' } },
    })
    up.onRequest = request => request.reply('503 X', 'bad')
    const client = await gateway.connect()
    for (let i = 0; i < 100; i++) t.equal((await ask(client)).slice(0, 3), '503')
    t.ok(up.requests.length <= 123, `${up.requests.length} requests reached the upstream`)
    t.ok(up.requests.length > 103)
  })

  await t.test('a budget of nothing means no retries', async t => {
    const { up, client } = await chain(t, { route: { retry: { attempts: 3, budget: '0%' } } })
    up.onRequest = drop
    t.equal(await ask(client), '502 SLUICE_UPSTREAM_RESET')
    t.equal(up.requests.length, 1)
  })
})
