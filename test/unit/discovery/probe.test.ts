// Whether anybody listens: what one connection says, and what it leaves behind.
import { getEventListeners } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { isReachable } from '../../../src/discovery/probe.ts'
import { lookupAllowed } from '../../../src/discovery/target.ts'

const lookup = lookupAllowed(false)

t.test('a probe says who is there, and leaves nothing at its signal', async t => {
  const server = createServer(socket => socket.destroy())
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const { signal } = new AbortController()
  const ask = (host: string, at: number) => isReachable({ host, port: at }, lookup, signal)
  t.equal(await ask('127.0.0.1', port), true)
  t.equal(await ask('localhost', port), true)
  t.equal(await ask('127.0.0.1', 1), false)
  t.equal(await ask('nobody.invalid', 80), false)
  t.same(getEventListeners(signal, 'abort'), [])
})

t.test('an abort ends it', async t => {
  const abort = new AbortController()
  // Never says what the name means.
  const waiting = isReachable({ host: 'a.test', port: 80 }, () => {}, abort.signal)
  abort.abort()
  t.equal(await waiting, false)
  t.same(getEventListeners(abort.signal, 'abort'), [])
  t.equal(await isReachable({ host: '127.0.0.1', port: 1 }, lookup, abort.signal), false)
})
