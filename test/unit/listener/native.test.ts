// The native engine against raw sockets, where its timing shows and nowhere above it.
import t from 'tap'
import type { Downstream, Receiver } from '../../../src/http/downstream.ts'
import { listenerOptions } from '../../../src/listener/listener.ts'
import { nativeEngine } from '../../../src/listener/native.ts'
import { RawClient } from '../../support/raw-client.ts'
import { eventually, pause, within } from '../../support/within.ts'

t.test('a client that was held back, and rests after it, has the whole idle time', async t => {
  let got = ''
  let began: (down: Downstream) => void = () => {}
  const held = new Promise<Downstream>(resolve => {
    began = resolve
  })
  const failed: string[] = []
  const receiver: Receiver = {
    receive(_head, down) {
      down.onAbort = error => failed.push(error?.code ?? 'gone')
      down.onChunk = (chunk, last) => {
        got += Buffer.from(chunk).toString('latin1')
        if (!last) {
          down.pause()
          began(down)
          return
        }
        down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: 2 })
        down.write(Buffer.from('ok'))
        down.end(null)
      }
      down.resume()
    },
    refuse() {
      failed.push('refused')
    },
  }
  const options = listenerOptions.parse({ name: 'web', port: 0, timeouts: { idle: '10s' } })
  const listener = await nativeEngine.listen(options, receiver)
  t.teardown(() => listener.destroy())
  const client = await RawClient.connect(t, listener.port)
  client.head('POST / HTTP/1.1', 'Host: h', 'Content-Length: 10')
  client.send('12345')
  const down = await within(3000, held, () => 'no piece of the body came')
  down.resume()
  // Longer than a client that is held back is left alone, much shorter than its idle time.
  await pause(1200)
  t.same(failed, [])
  client.send('67890')
  t.equal((await client.response('POST')).status, 200)
  t.equal(got, '1234567890')
})

t.test('a drain waits a moment for the first request of a client that has just come', async t => {
  const receiver: Receiver = {
    receive(_head, down) {
      down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: 0 })
      down.end(null)
    },
    refuse: () => t.fail('refused'),
  }
  const listener = await nativeEngine.listen(listenerOptions.parse({ name: 'web', port: 0 }), receiver)
  t.teardown(() => listener.destroy())
  const used = await RawClient.connect(t, listener.port)
  t.equal((await used.head('GET / HTTP/1.1', 'Host: h').response()).status, 200)
  const late = await RawClient.connect(t, listener.port)
  const silent = await RawClient.connect(t, listener.port)
  await eventually(
    () => listener.connections === 3,
    () => 'the connections',
  )
  const drained = listener.drain()
  t.equal(await used.closed, 'fin')
  const response = await late.head('GET / HTTP/1.1', 'Host: h').response()
  t.match(response, { status: 200 })
  t.equal(response.get('connection'), 'close')
  t.equal(await silent.closed, 'fin')
  late.destroy()
  await within(3000, drained, () => `${listener.connections} connections are left`)
})
