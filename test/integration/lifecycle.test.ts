// How an exchange ends while something else of it is under way: late promises, throws behind waiting bodies, attempts that change hands, clients that do not read or leave. What is counted comes back to zero each time (test/support/gateway.ts).
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { definePlugin, type Plugin, z } from '../../src/plugin-api.ts'
import { type GatewayConfig, startGateway } from '../support/gateway.ts'
import { RawUpstream, type SeenRequest } from '../support/raw-upstream.ts'
import { eventually, pause, within } from '../support/within.ts'

/** A gateway with these plugins on its one route, and `count` upstreams behind it. */
async function scene(t: Test, plugins: Plugin[], config: GatewayConfig = {}, count = 1) {
  const ups = await Promise.all(Array.from({ length: count }, () => RawUpstream.start(t)))
  const gateway = await startGateway(
    t,
    {
      ...config,
      up: { endpoints: ups.map(({ address }) => address), ...config.up },
      route: { plugins: plugins.map((_, i) => `p${i}`), ...config.route },
    },
    {
      plugins: plugins.map((plugin, i) =>
        definePlugin({ name: `p${i}`, description: 'Test.', options: z.strictObject({}), create: () => plugin }),
      ),
    },
  )
  return { up: ups[0]!, ups, gateway, client: await gateway.connect() }
}

t.test('what a client sends between two attempts is the second one’s', async t => {
  const { up, client } = await scene(t, [], {
    route: { retry: { attempts: 1, backoff: '300ms', maxBackoff: '300ms', budget: '100%' } },
  })
  let sent = () => {}
  const first = new Promise<void>(resolve => {
    sent = resolve
  })
  up.onRequest = request => {
    if (up.requests.length > 1) void request.whole.then(body => request.reply('200 OK', body))
    else {
      request.peer.socket.resetAndDestroy()
      void request.peer.closed.then(() => pause(20)).then(() => client.send('6\r\nFIRST-\r\n') && sent())
    }
  }
  client.head('PUT / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked')
  await up.request(1)
  // The pause before the second attempt is random, and may have been short.
  await first
  client.send('6\r\nSECOND\r\n0\r\n\r\n')
  t.equal((await client.response()).text, 'FIRST-SECOND')
})

t.test('a body that went out on a stale connection goes to no other endpoint without itself', async t => {
  const { ups, client } = await scene(t, [], { route: { retry: { attempts: 3, budget: '100%' } } }, 2)
  const [first, second] = ups as [RawUpstream, RawUpstream]
  client.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await client.response()).status, 200)
  t.equal(first.requests.length, 1)
  client.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await client.response()).status, 200)
  first.onRequest = request => {
    void first.close()
    request.peer.socket.destroy()
  }
  client.head('PUT / HTTP/1.1', 'Host: a', 'Content-Length: 5').send('hello')
  t.equal((await client.response()).status, 502)
  t.equal(second.requests.length, 1)
})

t.test('nor where it waits for a connection to be sent again on', async t => {
  const { up, client, gateway } = await scene(t, [], {
    up: { connections: { max: 1 }, timeouts: { connect: '1s' } },
    route: { retry: { attempts: 1, backoff: '1ms', budget: '100%' } },
  })
  client.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await client.response()).status, 200)
  const other = await gateway.connect()
  up.onRequest = ({ method, peer }) => {
    if (method !== 'PUT') return
    // Takes the one place when the stale connection is gone, and keeps it.
    other.head('GET / HTTP/1.1', 'Host: a')
    void eventually(
      () => gateway.endpoint().pool.waiting === 1,
      () => 'the other request does not wait',
    ).then(() => peer.socket.destroy())
  }
  client.head('PUT / HTTP/1.1', 'Host: a', 'Content-Length: 5').send('hello')
  t.equal((await client.response()).status, 504)
  t.equal(gateway.endpoint().requests, 3, 'no other attempt')
  ;(await up.request(2)).reply('200 OK')
  t.equal((await other.response()).status, 200)
})

t.test('a slow reader gets small and large chunks to the end', async t => {
  const { up, client } = await scene(t, [], { route: { timeout: 'none' } })
  const round = `${`fa0\r\n${'a'.repeat(4000)}\r\n`.repeat(5)}1388\r\n${'b'.repeat(5000)}\r\n`
  const rounds = 480
  up.onRequest = async ({ peer }) => {
    peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    for (let i = 0; i < rounds; i++) if (!peer.write(round)) await once(peer.socket, 'drain')
    peer.write('0\r\n\r\n')
  }
  client.socket.on('data', () => {
    client.socket.pause()
    setTimeout(() => client.socket.resume(), 5)
  })
  client.head('GET / HTTP/1.1', 'Host: a')
  const { body } = await client.response('GET', 30_000)
  t.equal(body.length, rounds * 25_000)
})

t.test('a promise of the request phase that comes after the 504 sends nothing upstream', async t => {
  const ended: unknown[] = []
  const { up, client, gateway } = await scene(
    t,
    [
      {
        onRequest: x =>
          eventually(
            () => x.response !== null,
            () => 'no answer',
          ),
        onResponse: () => pause(100),
        onFinish: (_x, error) => void ended.push(error?.code),
      },
    ],
    { route: { timeout: '100ms' } },
  )
  client.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await client.response()).status, 504)
  await gateway.quiet()
  t.equal(up.requests.length, 0)
  t.same(ended, ['SLUICE_UPSTREAM_TIMEOUT'])
})

t.test('a chunk phase that throws while the body waits ends the exchange once', async t => {
  const ended: unknown[] = []
  const { up, client, gateway } = await scene(t, [
    {
      onResponse: () => pause(50),
      onResponseChunk() {
        throw new Error('boom')
      },
      onFinish: (_x, error) => void ended.push(error?.code),
    },
  ])
  up.onRequest = ({ peer }) =>
    peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n')
  client.head('GET / HTTP/1.1', 'Host: a')
  await client.closed
  await gateway.quiet()
  t.equal(gateway.endpoint().inFlight, 0)
  t.same(ended, ['SLUICE_PLUGIN_FAILED'])
})

t.test('a request that breaks while the response phase is under way does not run it twice', async t => {
  const ran: number[] = []
  const { up, client } = await scene(t, [
    {
      async onResponse(x) {
        ran.push(x.response!.status)
        await pause(100)
      },
    },
  ])
  up.onRequest = request => {
    request.reply('200 OK', 'ok')
    void pause(20).then(() => client.send('zz\r\n'))
  }
  client.head('POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked').send('2\r\nab\r\n')
  t.equal((await client.response()).status, 400)
  t.same(ran, [200])
})

t.test('after a status that is retried, the next attempt begins without an answer', async t => {
  const seen: unknown[] = []
  const { up, client } = await scene(
    t,
    [{ onAttempt: x => void seen.push(x.response?.status), onOutcome: x => void seen.push(x.response?.status) }],
    { route: { retry: { attempts: 1, budget: '100%' } } },
  )
  up.onRequest = request => request.reply(up.requests.length === 1 ? '503 Busy' : '200 OK', 'x')
  client.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await client.response()).status, 200)
  t.same(seen, [undefined, 503, undefined, 200])
})

t.test('a client that reads nothing while it sends has the idle timeout, and no less', async t => {
  const { up, client } = await scene(t, [], {
    route: { timeout: 'none' },
    listener: { limits: { body: 'unlimited' } },
  })
  up.raw = true
  up.onConnection = peer => {
    peer.write('HTTP/1.1 200 OK\r\n\r\n')
    // The peer would keep all that came in one buffer, made anew for each chunk.
    peer.socket.removeAllListeners('data')
    peer.socket.on('data', data => {
      if (!peer.write(data)) {
        peer.socket.pause()
        peer.socket.once('drain', () => peer.socket.resume())
      }
    })
  }
  const size = 30_000_000
  client.socket.pause()
  client.head('POST / HTTP/1.1', 'Host: a', `Content-Length: ${size}`).send(Buffer.alloc(size, 'x'))
  await pause(1500)
  t.equal(client.ended, null)
  client.socket.resume()
  // Not by `until`, which makes a text of all that came each time.
  await eventually(
    () => client.received > size,
    () => `no more than ${client.received} bytes came`,
    20_000,
  )
  client.destroy()
})

t.test('a client that reads nothing has no more than that, also where its body ends meanwhile', async t => {
  const { up, client, gateway } = await scene(t, [], {
    route: { timeout: 'none' },
    listener: { timeouts: { idle: '500ms' } },
  })
  up.onRequest = ({ peer }) => {
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n')
    peer.write(Buffer.alloc(50_000_000))
  }
  client.socket.pause()
  client.head('POST / HTTP/1.1', 'Host: a', 'Content-Length: 5').send('he')
  await up.request()
  await pause(200)
  client.send('llo')
  await gateway.quiet()
  t.pass('it was given up')
})

t.test('a client that leaves behind pipelined requests is noticed', async t => {
  const { up, client, gateway } = await scene(t, [], { route: { timeout: 'none' } })
  let post: SeenRequest | null = null
  up.onRequest = request => {
    if (request.method === 'POST') post = request
    else setTimeout(() => request.reply('200 OK', 'a'), 50)
  }
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
  client.send('GET /next HTTP/1.1\r\nHost: a\r\n\r\n')
  await eventually(
    () => post?.complete === true,
    () => 'no POST',
  )
  client.reset()
  await within(5000, post!.peer.closed, () => 'the upstream connection stands')
  await gateway.quiet()
})

t.test('a client that leaves while a plugin has its body wait is noticed', async t => {
  let left = () => {}
  const waiting = new Promise<void>(resolve => {
    left = resolve
  })
  const { client, gateway } = await scene(t, [{ onRequest: () => waiting }], { route: { timeout: 'none' } })
  client.head('POST / HTTP/1.1', 'Host: a', 'Content-Length: 1000000').send(Buffer.alloc(200_000))
  await pause(300)
  t.equal(gateway.snapshot.inFlight, 1)
  client.reset()
  await gateway.quiet()
  left()
})

t.test('a client that takes nothing, or a plugin, until the time is up: no fault of the upstream', async t => {
  const sources: unknown[] = []
  let hang = false
  const { up, client, gateway } = await scene(
    t,
    [
      {
        onResponse: () => (hang ? new Promise<void>(() => {}) : undefined),
        onFinish: (_x, error) => void sources.push(error?.source),
      },
    ],
    { route: { timeout: '1s' } },
  )
  up.onRequest = ({ peer }) => {
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n')
    peer.write(Buffer.alloc(50_000_000))
  }
  client.socket.pause()
  client.head('GET / HTTP/1.1', 'Host: a')
  await up.request()
  await gateway.quiet()
  t.same(sources, ['client'])
  t.equal(gateway.endpoint().failures, 0)
  t.notOk(gateway.log.some(({ message }) => message === 'a request failed'))
  hang = true
  const other = await gateway.connect()
  other.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await other.response()).status, 504)
  t.same(sources, ['client', 'gateway'])
})

t.test('an error and a cut of one attempt are one failure', async t => {
  const { up, client, gateway } = await scene(t, [])
  up.onRequest = ({ peer }) => void peer.socket.end('HTTP/1.1 500 X\r\nContent-Length: 10\r\n\r\nabc')
  client.head('GET / HTTP/1.1', 'Host: a')
  await client.closed
  t.match(gateway.endpoint(), { requests: 1, failures: 1 })
})

t.test('a client that stops sending, or a pool without room, is no failure of the endpoint', async t => {
  const { up, client, gateway } = await scene(t, [], {
    up: { timeouts: { idle: '2s', connect: '800ms' }, connections: { max: 1 } },
  })
  client.head('POST / HTTP/1.1', 'Host: a', 'Content-Length: 5').send('he')
  const second = await gateway.connect()
  await up.request()
  second.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await second.response()).status, 504)
  t.equal((await client.response()).status, 408)
  t.equal(gateway.endpoint().failures, 0)
})
