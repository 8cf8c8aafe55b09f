// Tests of ZooKeeper as a registry: what is read, and a real ZooKeeper that is written to, restarted, frozen and locked.
// Over 300 lines because every case begins with the same server, provider and first answer.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { promisify } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { DiscoveryProvider, Found } from '../../../src/discovery/provider.ts'
import { parseChildren, parseConnect, zookeeper, zookeeperOptions } from '../../../src/discovery/zookeeper.ts'
import { NO_CERTIFICATES } from '../../support/certificates.ts'
import { startRelay } from '../../support/relay.ts'
import { ROOT } from '../../support/root.ts'
import { eventually, pause, within } from '../../support/within.ts'
import { SESSION, startZookeeper, type ZookeeperServer } from '../../support/zookeeper-process.ts'

const never = () => new AbortController().signal
const warnings: string[] = []
const log = {
  debug: () => {},
  info: () => {},
  warn: (message: string, fields = {}) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
  error: () => {},
}

async function provider(t: Test, given: Record<string, unknown>): Promise<DiscoveryProvider> {
  const options = zookeeperOptions.parse(given)
  const made = await zookeeper.create(options, { name: 'zookeeper', baseDir: '/', certificates: NO_CERTIFICATES, log })
  t.teardown(() => made.close?.())
  return made
}

const addresses = ({ instances }: Found) => instances.map(({ host, port }) => `${host}:${port}`).sort()

const read = (children: Record<string, string>) =>
  parseChildren(new Map(Object.entries(children).map(([name, data]) => [name, Buffer.from(data)])))

t.test('children are host:port or what Curator writes', async t => {
  const curator = {
    name: 'orders',
    id: 'f1a0',
    address: '10.0.0.2',
    port: 80,
    sslPort: null,
    payload: {
      '@class': 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance',
      name: 'orders',
      metadata: { instance_status: 'UP', weight: '3' },
    },
    registrationTimeUTC: 1700000000000,
    serviceType: 'DYNAMIC',
    uriSpec: { parts: [{ value: 'scheme', variable: true }] },
  }
  const found = read({
    text: ' 10.0.0.1:80\n',
    curator: JSON.stringify(curator),
    secure: JSON.stringify({ address: '10.0.0.3', port: null, sslPort: 443, payload: { version: 'v2' } }),
    both: JSON.stringify({ address: '::1', port: 80, sslPort: 443, weight: 0.5, labels: { a: 'b' } }),
    off: JSON.stringify({ ...curator, enabled: false }),
    paused: JSON.stringify({ ...curator, payload: { metadata: { instance_status: 'OUT_OF_SERVICE' } } }),
    '10.0.0.4:90': '',
    // No status is as good as UP, and what an application's own payload says under that name is its own.
    none: JSON.stringify({ address: '10.0.0.7', port: 92, payload: { metadata: { instance_status: '' } } }),
    own: JSON.stringify({ address: '10.0.0.8', port: 93, payload: { '@class': 'a.B', instance_status: 'GREEN' } }),
    whole: JSON.stringify({ address: '10.0.0.5:91', payload: 'text' }),
    a: '{"address":"10.0.0.6","port":"80"}',
    b: '{"address":"10.0.0.6","port":80,"payload":{"weight":"many"}}',
    c: '{"address":{"__proto__":[]},"port":80}',
    d: '{',
    e: '',
  })
  t.same(found.instances, [
    { host: '10.0.0.1', port: 80, weight: 1, labels: {} },
    { host: '10.0.0.2', port: 80, weight: 3, labels: { instance_status: 'UP', weight: '3' } },
    { host: '10.0.0.3', port: 443, weight: 1, labels: { version: 'v2' } },
    { host: '::1', port: 80, weight: 0.5, labels: { a: 'b' }, ports: { http: 80, https: 443 } },
    { host: '10.0.0.4', port: 90, weight: 1, labels: {} },
    { host: '10.0.0.7', port: 92, weight: 1, labels: { instance_status: '' } },
    { host: '10.0.0.8', port: 93, weight: 1, labels: { instance_status: 'GREEN' } },
    { host: '10.0.0.5', port: 91, weight: 1, labels: {} },
  ])
  t.same(
    found.leftOut.map(text => text.slice(0, 2)),
    ['a ', 'b ', 'c ', 'd ', 'e '],
  )
})

t.test('whatever children hold is read or left out', async t => {
  const facts = fc.record(
    {
      address: fc.oneof(fc.jsonValue(), fc.constant('10.0.0.1')),
      port: fc.oneof(fc.jsonValue(), fc.nat(70_000)),
      sslPort: fc.oneof(fc.jsonValue(), fc.nat(70_000)),
      payload: fc.oneof(fc.jsonValue(), fc.record({ weight: fc.jsonValue(), metadata: fc.jsonValue() })),
      weight: fc.oneof(fc.jsonValue(), fc.double()),
    },
    { requiredKeys: [] },
  )
  const data = fc.oneof(
    fc.uint8Array(),
    fc
      .oneof(
        fc.json(),
        facts.map(one => JSON.stringify(one)),
        fc.constant('{"__proto__":1}'),
      )
      .map(one => Buffer.from(one)),
  )
  const property = fc.property(fc.array(fc.tuple(fc.string(), data)), entries => {
    const children = new Map(entries)
    const { instances, leftOut } = parseChildren(children)
    for (const { host, port, weight } of instances) {
      if (host === '' || !(port >= 1 && port <= 65535) || !(Number.isFinite(weight) && weight >= 0)) return false
    }
    return instances.length + leftOut.length <= children.size
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }))
})

t.test('connect strings', async t => {
  t.same(parseConnect('a:2181,10.0.0.1/x/y'), { servers: ['a:2181', '10.0.0.1'], chroot: '/x/y' })
  t.same(parseConnect('a/'), { servers: ['a'], chroot: '' })
  for (const bad of ['', ',', 'a:b', 'a:70000', 'a:0', 'a:2181,b:00000', 'a//x', 'a/../x', 'a b', 'zk://a'])
    t.equal(parseConnect(bad), null, bad)
  t.throws(() => zookeeperOptions.parse({ address: 'a', password: 'p' }), /belong together/)
  t.throws(() => zookeeperOptions.parse({ address: 'a:b' }), /servers are due/)
  t.throws(() => zookeeperOptions.parse({ address: 'a', prefix: 'services' }), /a path is due/)
})

t.test('without the package the load says what to install', async t => {
  const absent = `export const resolve = (name, context, next) => {
    if (name !== 'node-zookeeper-client') return next(name, context)
    throw Object.assign(new Error('none'), { code: 'ERR_MODULE_NOT_FOUND' })
  }`
  const script = `
    import { register } from 'node:module'
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(absent)}))
    const { zookeeper } = await import('./dist/src/discovery/zookeeper.js')
    await zookeeper.create(zookeeper.options.parse({ address: 'a' }), {}).catch(error => console.log(error.message))`
  const args = ['--input-type=module', '--eval', script]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT })
  t.match(stdout, /kind: zookeeper needs .* npm install node-zookeeper-client\n$/)
})

/** A provider and a ZooKeeper that knows one instance of `a`, and the answer about it. */
async function begin(t: Test): Promise<{ server: ZookeeperServer; asked: DiscoveryProvider; first: Found }> {
  const server = await startZookeeper(t)
  await server.put('/services/a/1', '10.0.0.1:80')
  const asked = await provider(t, { address: server.address })
  const first = await asked.poll('a', null, never())
  t.same(addresses(first), ['10.0.0.1:80'])
  return { server, asked, first }
}

/**
 * The answer that differs from `found`, within a second of `change`. One change may fire several watches, so an answer
 * that is the same may come before.
 */
async function after(asked: DiscoveryProvider, found: Found, change: () => unknown, service = 'a'): Promise<Found> {
  const abort = new AbortController()
  const next = async () => {
    let last = found
    do last = await asked.poll(service, last.cursor, abort.signal)
    while (JSON.stringify(last.instances) === JSON.stringify(found.instances))
    return last
  }
  const changed = next()
  // Whoever awaits it below is late when it fails early.
  changed.catch(() => {})
  await change()
  try {
    return await within(1000, changed, () => 'the change is not seen')
  } finally {
    abort.abort()
  }
}

/** Ask until it works, as the poller does. */
async function again(asked: DiscoveryProvider, ms: number, service = 'a'): Promise<Found> {
  let found: Found | null = null
  let failure: unknown
  await eventually(
    async () => {
      found = await asked.poll(service, null, never()).catch(error => {
        failure = error
        return null
      })
      return found !== null
    },
    () => `it fails on: ${failure}`,
    ms,
  )
  return found!
}

t.test('what is made, changed and removed is seen within a second', async t => {
  const { server, asked, first } = await begin(t)
  const two = await after(asked, first, () => server.put('/services/a/2', '10.0.0.2:80'))
  t.same(addresses(two), ['10.0.0.1:80', '10.0.0.2:80'])
  const changed = await after(asked, two, () => server.put('/services/a/1', '10.0.0.9:80'))
  t.same(addresses(changed), ['10.0.0.2:80', '10.0.0.9:80'])
  // Between two polls, and twice the same node.
  await server.put('/services/a/1', '10.0.0.7:80')
  await server.put('/services/a/1', '10.0.0.8:80')
  const late = await after(asked, changed, () => {})
  t.same(addresses(late), ['10.0.0.2:80', '10.0.0.8:80'])
  let end = () => {}
  const more = await after(asked, late, async () => {
    end = await server.putEphemeral('/services/a/3', '10.0.0.3:80')
  })
  t.equal(more.instances.length, 3)
  const ended = await after(asked, more, () => end())
  t.same(addresses(ended), ['10.0.0.2:80', '10.0.0.8:80'], 'the session of an instance ended')
  const fewer = await after(asked, ended, () => server.remove('/services/a/1'))
  t.same(addresses(fewer), ['10.0.0.2:80'])
  // Of the same name, and another one.
  const anew = await after(asked, fewer, () => server.put('/services/a/1', '10.0.0.5:80'))
  t.same(addresses(anew), ['10.0.0.2:80', '10.0.0.5:80'])
})

t.test('a node that is not there has no instances, and its making is seen', async t => {
  const { server, asked } = await begin(t)
  const none = await asked.poll('b', null, never())
  t.same(none.instances, [])
  const found = await after(asked, none, () => server.put('/services/b/1', '10.0.0.1:80'), 'b')
  t.same(addresses(found), ['10.0.0.1:80'])
  const empty = await after(asked, found, () => server.remove('/services/b/1'), 'b')
  t.same(empty.instances, [])
  await server.remove('/services/b')
  const gone = await asked.poll('b', empty.cursor, never())
  t.same(gone.instances, [])
  const anew = await after(asked, gone, () => server.put('/services/b/2', '10.0.0.2:80'), 'b')
  t.same(addresses(anew), ['10.0.0.2:80'])
  for (const bad of ['../a', 'a//b', '', 'a\u0000']) await t.rejects(asked.poll(bad, null, never()), /is no path/)
})

t.test('a server that restarts is found again, and watched again', async t => {
  const { server, asked, first } = await begin(t)
  const waiting = t.rejects(asked.poll('a', first.cursor, never()), /closed|lost|CONNECTION/)
  await server.kill()
  await within(1000, waiting, () => 'the loss is not noticed')
  await t.rejects(asked.poll('a', null, never()), /ECONNREFUSED/)
  await server.start()
  const found = await again(asked, 5000)
  t.same(addresses(found), ['10.0.0.1:80'])
  const two = await after(asked, found, () => server.put('/services/a/2', '10.0.0.2:80'))
  t.equal(two.instances.length, 2)
  const three = await after(asked, two, () => server.put('/services/a/3', '10.0.0.3:80'))
  t.equal(three.instances.length, 3)
})

t.test('a session that expired is replaced', async t => {
  const { server } = await begin(t)
  const relay = await startRelay(t, server.address)
  const asked = await provider(t, { address: relay.address })
  const first = await asked.poll('a', null, never())
  const lost = asked.poll('a', first.cursor, never())
  lost.catch(() => {})
  const sessions = async () => (await server.say('cons')).split('\n').filter(line => /sid=0x[1-9a-f]/.test(line)).length
  const before = await sessions()
  relay.stall(true)
  await eventually(
    async () => (await sessions()) < before,
    () => 'the session does not expire',
    4 * SESSION,
  )
  relay.stall(false)
  await t.rejects(
    within(5000, lost, () => 'the end of the session is not noticed'),
    /closed|EXPIRED/,
  )
  const found = await again(asked, 5000)
  t.same(addresses(found), ['10.0.0.1:80'])
  const two = await after(asked, found, () => server.put('/services/a/2', '10.0.0.2:80'))
  t.equal(two.instances.length, 2)
})

t.test('a server that stands still keeps nobody, and its connection is given up', async t => {
  const { server, asked, first } = await begin(t)
  const waits = new AbortController()
  const reads = new AbortController()
  const waiting = t.rejects(asked.poll('a', first.cursor, waits.signal), { name: 'AbortError' })
  await server.freeze()
  const reading = t.rejects(asked.poll('a', null, reads.signal), { name: 'AbortError' })
  waits.abort()
  await within(2000, waiting, () => 'an abort is not heard')
  await pause(50)
  reads.abort()
  await within(2000, reading, () => 'an abort is not heard')
  // A ping's answer may have come behind the question on a slow machine: then it is the next in vain that gives it up.
  let failure: unknown
  await eventually(
    async () => {
      failure = await asked.poll('a', null, AbortSignal.timeout(3000)).catch(error => error)
      return (failure as Error).name !== 'TimeoutError'
    },
    () => 'the connection is not given up',
  )
  t.match(failure, { message: /opens no session/ }, 'a new one is tried')
  server.thaw()
  t.same(addresses(await again(asked, 5000)), ['10.0.0.1:80'])
  await t.rejects(asked.poll('a', null, AbortSignal.abort()), { name: 'AbortError' })
})

t.test('waits leave nothing behind: watches stay one a path, and close ends the session', async t => {
  const { server, asked, first } = await begin(t)
  const surprised: string[] = []
  const note = (warning: Error) => void surprised.push(warning.message)
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  for (let i = 0; i < 30; i++) {
    const abort = new AbortController()
    const waiting = t.rejects(asked.poll('a', first.cursor, abort.signal))
    await pause(1)
    abort.abort()
    await waiting
    await asked.poll('a', null, never())
  }
  t.match(await server.say('wchs'), /Total watches:1\b/)
  t.same(surprised, [], 'no warning of leaking listeners')
  const connections = async () =>
    (await server.say('cons')).split('\n').filter(line => /sid=0x[1-9a-f]/.test(line)).length
  await eventually(
    async () => (await connections()) === 1,
    () => 'one session is due',
  )
  asked.close!()
  await eventually(
    async () => (await connections()) === 0,
    () => 'the session stays',
    10_000,
  )
})

t.test('a chroot, and a node for one user alone', async t => {
  const server = await startZookeeper(t)
  await server.put('/company/services/a/1', '10.0.0.1:80')
  await server.put('/company/services/a/2', '10.0.0.2:80', 'sluice:a secret')
  const stranger = await provider(t, { address: `${server.address}/company` })
  await t.rejects(stranger.poll('a', null, never()), { message: 'zookeeper does not let us read /services/a/2' })
  const user = await provider(t, { address: `${server.address}/company`, user: 'sluice', password: 'a secret' })
  const first = await user.poll('a', null, never())
  t.same(addresses(first), ['10.0.0.1:80', '10.0.0.2:80'])
  const next = await after(user, first, () => server.put('/company/services/a/1', '10.0.0.9:80'))
  t.same(addresses(next), ['10.0.0.2:80', '10.0.0.9:80'], 'changes of data are seen under a chroot')
  const fewer = await after(user, next, () => server.remove('/company/services/a/1'))
  t.same(addresses(fewer), ['10.0.0.2:80'])
})

t.test('of several servers one that answers is enough', async t => {
  const { server } = await begin(t)
  for (let i = 0; i < 5; i++) {
    const asked = await provider(t, { address: `127.0.0.1:1,${server.address},127.0.0.1:2` })
    t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.1:80'])
    asked.close!()
  }
})

t.test('a server that speaks nonsense ends a session and nothing else', async t => {
  const sockets = new Set<net.Socket>()
  let answer: (asked: Buffer) => Buffer = () => Buffer.alloc(0)
  const hostile = net.createServer(socket => {
    sockets.add(socket)
    socket.on('data', asked => socket.write(answer(asked)))
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  hostile.listen(0, '127.0.0.1')
  await once(hostile, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    hostile.close()
  })
  const asked = await provider(t, { address: `127.0.0.1:${(hostile.address() as net.AddressInfo).port}` })
  const opened = Buffer.alloc(41)
  opened.writeInt32BE(37, 0)
  opened.writeInt32BE(30_000, 8)
  opened.writeInt32BE(16, 20)
  const fails = async () => {
    const failure = await asked.poll('a', null, never()).then(
      () => null,
      error => error as Error,
    )
    t.match(failure, { name: 'AnswerError' })
    await eventually(
      () => sockets.size === 0,
      () => 'the connection stays',
    )
  }
  for (const bytes of [Buffer.alloc(40), Buffer.alloc(4000, 0x80), Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')]) {
    answer = () => bytes
    await fails()
  }
  for (let i = 0; i < 40; i++) {
    let said = false
    const noise = Buffer.from(Array.from({ length: 64 }, (_, j) => (i * 31 + j * j * 7) & 0xff))
    // A frame of noise after a good greeting: wrong ids, codes nobody knows, lengths that lie.
    noise.writeInt32BE(i < 30 ? 60 : noise.readInt32BE(0), 0)
    if (i < 20) noise.writeInt32BE(0, 4)
    if (i % 3 === 0) noise.writeInt32BE(-1, 4)
    answer = () => {
      if (said) return noise
      said = true
      return opened
    }
    await t.rejects(asked.poll('a', null, AbortSignal.timeout(100)))
  }
})

t.test('what cannot be read is left out, and said once', async t => {
  const { server, asked, first } = await begin(t)
  warnings.length = 0
  const next = asked.poll('a', first.cursor, never())
  await server.put('/services/a/2', 'nonsense')
  t.same(addresses(await within(1000, next, () => 'the change is not seen')), ['10.0.0.1:80'])
  await asked.poll('a', null, never())
  t.equal(warnings.length, 1)
  t.match(warnings[0], /cannot be read.*"registry":"zookeeper","service":"a","count":1,"leftOut":"2 has no port/)
})
