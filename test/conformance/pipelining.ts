// Requests that a client sends without waiting for answers, on an engine that serves them: which go side by side, in what order
// their answers come, and what becomes of them when one of them ends badly.
import type { Test } from 'tap'
import type { SeenRequest } from '../support/raw-upstream.ts'
import { eventually, pause, within } from '../support/within.ts'
import { chain, type Traits } from './engines.ts'

const get = (path: string, ...fields: string[]) => [`GET ${path} HTTP/1.1`, 'Host: h', ...fields, '', ''].join('\r\n')
const post = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`

/** A chain whose upstream answers when it is told to. */
async function holding(t: Test, engine: Traits, listener = {}) {
  const made = await chain(t, engine, { listener })
  const held = new Map<string, SeenRequest>()
  made.up.onRequest = request => void held.set(request.target, request)
  const arrived = (...targets: string[]) =>
    eventually(
      () => targets.every(target => held.has(target)),
      () => `of ${targets} only ${[...held.keys()]} came`,
    )
  return { ...made, held, arrived }
}

/** Run the cases. */
export async function pipelining(t: Test, engine: Traits): Promise<void> {
  await t.test('safe requests go side by side, and are answered in the order asked', async t => {
    const { client, held, arrived, up } = await holding(t, engine)
    client.send(get('/a') + get('/b').replace('GET', 'HEAD') + get('/c').replace('GET', 'OPTIONS') + get('/d'))
    await arrived('/a', '/b', '/c', '/d')
    t.equal(up.peers.length, 4)
    for (const target of ['/d', '/c', '/b']) held.get(target)!.reply('200 OK', target)
    await pause(20)
    t.equal(client.text, '', 'nothing overtakes')
    held.get('/a')!.reply('200 OK', '/a')
    t.equal((await client.response()).text, '/a')
    t.equal((await client.response('HEAD')).get('content-length'), '2')
    t.equal((await client.response()).text, '/c')
    t.equal((await client.response()).text, '/d')
    t.equal(client.rest, '')
    client.send(get('/e'))
    await arrived('/e')
    held.get('/e')!.reply('200 OK', '/e')
    t.equal((await client.response()).text, '/e')
  })

  await t.test('what is not safe waits for all before it, and all behind it for that', async t => {
    const { client, held, arrived, up } = await holding(t, engine)
    client.send(get('/a') + get('/b') + post('/c', 'x') + get('/d') + get('/e'))
    await arrived('/a', '/b')
    held.get('/b')!.reply('200 OK')
    await pause(20)
    t.equal(up.requests.length, 2)
    held.get('/a')!.reply('200 OK')
    await arrived('/c')
    await pause(20)
    t.equal(up.requests.length, 3)
    held.get('/c')!.reply('200 OK')
    await arrived('/d', '/e')
    for (const target of ['/e', '/d']) held.get(target)!.reply('200 OK', target)
    const bodies: string[] = []
    for (let i = 0; i < 5; i++) bodies.push((await client.response()).text)
    t.strictSame(bodies, ['', '', '', '/d', '/e'])
  })

  await t.test('a safe request with a body waits, and so does one in HTTP/1.0', async t => {
    for (const second of [post('/b', 'x').replace('POST', 'GET'), 'GET /b HTTP/1.0\r\nHost: h\r\n\r\n']) {
      const { client, held, arrived, up } = await holding(t, engine)
      client.send(get('/a') + second)
      await arrived('/a')
      await pause(20)
      t.equal(up.requests.length, 1)
      held.get('/a')!.reply('200 OK')
      await arrived('/b')
      held.get('/b')!.reply('200 OK', 'b')
      await client.response()
      t.equal((await client.response()).text, 'b')
    }
  })

  await t.test('limits.pipelining bounds how many', async t => {
    for (const most of [1, 3]) {
      const { client, held, up } = await holding(t, engine, { limits: { pipelining: most } })
      const count = 20
      for (let i = 0; i < count; i++) client.send(get(`/${i}`))
      for (let i = 0; i < count; i++) {
        await up.request(i)
        const under = Math.min(i + most, count)
        await eventually(
          () => up.requests.length === under,
          () => `${up.requests.length} of ${under} came`,
        )
        held.get(`/${i}`)!.reply('200 OK', `${i}`)
        t.equal((await client.response()).text, `${i}`)
        t.ok(up.requests.length <= i + 1 + most)
      }
      t.equal(up.peers.length, most)
    }
  })

  await t.test('large answers behind a slow one are held back, and arrive whole', async t => {
    const { client, held, arrived, gateway } = await holding(t, engine)
    const large = Buffer.alloc(4 * 1024 * 1024, 'x')
    client.send(get('/a') + get('/b') + get('/c'))
    await arrived('/a', '/b', '/c')
    for (const target of ['/b', '/c']) held.get(target)!.reply('200 OK', large)
    const sockets = ['/b', '/c'].map(target => held.get(target)!.peer.socket)
    await eventually(
      () => sockets.every(socket => socket.writableLength > 0),
      () => 'the upstream was not held back',
    )
    held.get('/a')!.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n')
    await client.until('one')
    held.get('/a')!.peer.write('3\r\ntwo\r\n0\r\n\r\n')
    t.equal((await client.response()).text, 'onetwo')
    t.ok((await client.response('GET', 20_000)).body.equals(large))
    t.ok((await client.response('GET', 20_000)).body.equals(large))
    await gateway.quiet()
  })

  await t.test('answers that stream do so from their turn on', async t => {
    const { client, held, arrived } = await holding(t, engine)
    client.send(get('/a') + get('/b'))
    await arrived('/a', '/b')
    held.get('/b')!.peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n')
    await pause(20)
    t.equal(client.text, '')
    held.get('/a')!.reply('200 OK', 'a')
    await client.until('one')
    held.get('/b')!.peer.write('3\r\ntwo\r\n')
    await client.until('two')
    held.get('/b')!.peer.write('0\r\n\r\n')
    t.equal((await client.response()).text, 'a')
    t.equal((await client.response()).text, 'onetwo')
  })

  await t.test('an answer that breaks off takes those behind it along', async t => {
    const { client, held, arrived, gateway } = await holding(t, engine)
    client.send(get('/a') + get('/b') + get('/c') + get('/d'))
    await arrived('/a', '/b', '/c', '/d')
    held.get('/d')!.reply('200 OK', 'd')
    held.get('/b')!.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345')
    await pause(20)
    held.get('/b')!.peer.socket.destroy()
    await pause(20)
    held.get('/a')!.reply('200 OK', 'a')
    t.equal((await client.response()).text, 'a')
    await client.until('12345')
    await client.closed
    t.match(client.text, /12345$/)
    await held.get('/c')!.peer.closed
    await gateway.quiet()
  })

  await t.test('an answer that closes the connection is the last one', async t => {
    const { client, held, arrived, gateway } = await holding(t, engine)
    // The path is refused, and the connection closed with it.
    client.send(get('/a') + get('/%zz') + get('/c'))
    await arrived('/a')
    await pause(20)
    t.notOk(held.has('/c'))
    held.get('/a')!.reply('200 OK', 'a')
    t.equal((await client.response()).text, 'a')
    t.equal((await client.response()).status, 400)
    t.equal(await client.closed, 'fin')
    t.equal(client.rest, '')
    await gateway.quiet()
  })

  await t.test('a client that goes away takes all of its requests along', async t => {
    for (const leave of ['destroy', 'reset'] as const) {
      const { client, held, arrived, gateway } = await holding(t, engine)
      client.send(get('/a') + get('/b') + get('/c'))
      await arrived('/a', '/b', '/c')
      held.get('/b')!.reply('200 OK', 'b')
      client[leave]()
      await held.get('/c')!.peer.closed
      if (leave === 'reset') await held.get('/a')!.peer.closed
      else held.get('/a')!.reply('200 OK', 'a')
      await gateway.quiet()
    }
  })

  await t.test('a client that resets is missed though more is ahead than is held', async t => {
    const { client, held, arrived, gateway } = await holding(t, engine, { limits: { pipelining: 1 } })
    client.send(get('/a') + get('/b').repeat(5000))
    await arrived('/a')
    await eventually(
      () => client.socket.writableLength === 0,
      () => 'the requests were not sent',
    )
    client.reset()
    await within(2000, held.get('/a')!.peer.closed, () => 'the upstream was not told')
    await gateway.quiet()
  })

  await t.test('a client that sent its FIN gets them all', async t => {
    const { client, held, arrived } = await holding(t, engine)
    client.send(get('/a') + get('/b')).end()
    await arrived('/a', '/b')
    held.get('/b')!.reply('200 OK', 'b')
    held.get('/a')!.reply('200 OK', 'a')
    t.equal((await client.response()).text, 'a')
    t.equal((await client.response()).text, 'b')
    t.equal(await client.closed, 'fin')
  })

  await t.test('a drain answers what was begun, and says so with the last', async t => {
    const { client, held, arrived, gateway } = await holding(t, engine)
    client.send(get('/a') + get('/b'))
    await arrived('/a', '/b')
    const stopped = gateway.gateway.stop()
    held.get('/a')!.reply('200 OK', 'a')
    t.equal((await client.response()).text, 'a')
    held.get('/b')!.reply('200 OK', 'b')
    const last = await client.response()
    t.equal(last.text, 'b')
    t.equal(last.get('connection'), 'close')
    t.equal(await client.closed, 'fin')
    await stopped
  })

  await t.test('a client that asks on and reads nothing is not asked for', async t => {
    const { client, up } = await chain(t, engine)
    const body = 'x'.repeat(12_000)
    up.onRequest = request => request.reply('200 OK', request.target + body)
    client.socket.pause()
    const count = 3000
    for (let i = 0; i < count; i++) client.send(get(`/${i}`))
    let seen = -1
    // It stands still when the sockets between the two are full.
    while (seen !== up.requests.length) {
      seen = up.requests.length
      await pause(300)
    }
    t.ok(seen < count / 2, `${seen} of ${count} were answered into memory`)
    client.socket.resume()
    await eventually(
      () => client.received > count * body.length && up.requests.length === count,
      () => `${up.requests.length} of ${count} were answered, ${client.received} bytes came`,
      20_000,
    )
    await pause(100)
    // Read once and not answer by answer: it is some 40 MB.
    const answered = Array.from(client.text.matchAll(/\r\n\r\n\/(\d+)(x+)/g), ([, at, x]) => `${at} ${x!.length}`)
    t.strictSame(
      answered,
      Array.from({ length: count }, (_, i) => `${i} ${body.length}`),
    )
  })
}
