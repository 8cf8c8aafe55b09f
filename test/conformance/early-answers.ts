// Answers that are known before the request's body has come: they must reach the client, whatever becomes of the body.
import type { Test } from 'tap'
import { chain, type Traits } from './engines.ts'

const own = (name: string) => ({
  name,
  match: { path: `/${name}` },
  ...(name === 'respond'
    ? { respond: { status: 200, body: 'own' } }
    : { redirect: { to: 'https://h.test/', status: 308 } }),
})

/** Run the cases for one engine. */
export async function earlyAnswers(t: Test, engine: Traits): Promise<void> {
  await t.test('a client that is still sending much gets its answer', async t => {
    const { gateway, up } = await chain(t, engine, {
      routes: [own('respond'), { name: 'up', match: { path: '/up' }, upstream: 'up' }],
    })
    const length = 10 * 1024 * 1024 + 1
    const chunk = Buffer.alloc(64 * 1024)
    for (const [path, status] of [
      ['up', 413],
      ['none', 404],
      ['respond', 200],
    ] as const) {
      const client = await gateway.connect()
      client.head(`POST /${path} HTTP/1.1`, 'Host: h.test', `Content-Length: ${status === 413 ? length : length - 1}`)
      // Common clients look for an answer only when they have written all; a write that fails is the end for them.
      client.socket.pause()
      let failed = false
      for (let left = length - 1; left > 0 && !failed; left -= chunk.length) {
        failed = (await new Promise(done => client.socket.write(chunk, done))) instanceof Error
      }
      client.socket.resume()
      t.equal(failed, !engine.lingers)
      if (engine.lingers) t.equal((await client.response()).status, status)
      client.destroy()
    }
    t.equal(up.requests.length, 0)
  })

  await t.test('a 304 of the gateway itself names no length', async t => {
    const { client } = await chain(t, engine, {
      routes: [{ name: 'own', match: { path: '/*' }, respond: { status: 304, headers: { etag: '"e"' } } }],
    })
    for (const method of ['GET', 'HEAD']) {
      const answer = await client.head(`${method} / HTTP/1.1`, 'Host: h.test').response(method)
      t.equal(answer.status, 304)
      t.equal(answer.get('content-length'), '')
      t.equal(answer.get('etag'), '"e"')
    }
  })

  await t.test('a broken or too long body in the same read does not take the answer along', async t => {
    const { gateway } = await chain(t, engine, {
      listener: { limits: { body: '100B' } },
      routes: [own('respond'), own('redirect'), { name: 'up', match: { path: '/up' }, upstream: 'empty' }],
      upstreams: { empty: { endpoints: [] } },
    })
    const bodies = ['3\r\nabcXX', `65\r\n${'x'.repeat(101)}\r\n0\r\n\r\n`, '3\r\nab']
    // uws refuses a size that is none with an answer of its own.
    if (engine.name === 'native') bodies.push('zz\r\n')
    for (const [path, status] of [
      ['respond', 200],
      ['redirect', 308],
      ['none', 404],
      ['up', 503],
    ] as const) {
      for (const body of bodies) {
        const client = await gateway.connect()
        client.send(`POST /${path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${body}`)
        const answer = await client.response()
        t.equal(answer.status, status, `${path} ${JSON.stringify(body.slice(0, 10))}`)
        t.equal(answer.get('connection'), 'close')
        t.equal(await client.closed, 'fin')
        t.equal(client.rest, '')
      }
    }
  })
}
