// The end of the command: signals, the grace, what becomes of connections, and the exit codes.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { sluice, startChild } from '../support/child-gateway.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { makeReloading } from '../support/reloading-gateway.ts'
import { eventually, within } from '../support/within.ts'

t.jobs = 3

const CONFIG = (upstream: RawUpstream, grace = '20s') => `
listeners:
  - { name: web, port: 0 }
admin: { port: 0 }
shutdown: { grace: ${grace} }
upstreams:
  up: { endpoints: ["${upstream.address}"] }
routes:
  - { name: all, match: { path: /* }, upstream: up }
`

async function refused(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise(resolve => {
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal}: what is under way finishes, idle clients are closed, exit 0`, async t => {
    const upstream = await RawUpstream.start(t)
    upstream.onRequest = () => {}
    const gateway = await startChild(t, CONFIG(upstream))
    const slow = await RawClient.connect(t, gateway.port)
    slow.head('GET /slow HTTP/1.1', 'Host: a')
    const request = await upstream.request(0)
    const idle = await RawClient.connect(t, gateway.port)
    idle.head('GET /nothing%00 HTTP/1.1', 'Host: a')
    const untouched = await RawClient.connect(t, gateway.port)
    t.equal((await gateway.page('/readyz')).status, 200)

    gateway.process.kill(signal)
    t.equal(await untouched.closed, 'fin', 'an idle client is closed')
    await eventually(
      () => idle.ended !== null,
      () => 'the keep-alive client is open',
    )
    const ready = await gateway.page('/readyz')
    t.equal(ready.status, 503)
    t.same(ready.body, { ready: false, lastReload: null })
    t.equal((await gateway.page('/healthz')).status, 200, 'alive all the same')
    t.ok(await refused(gateway.port), 'no new connections')

    request.reply('200 OK', 'late but whole')
    const response = await slow.response()
    t.equal(response.text, 'late but whole')
    t.equal(response.get('connection'), 'close')
    t.same(await gateway.process.exit(), { code: 0, signal: null })
  })
}

t.test('past the grace all is closed, and the exit is 0', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const gateway = await startChild(t, CONFIG(upstream, '300ms'))
  const slow = await RawClient.connect(t, gateway.port)
  slow.head('GET /never HTTP/1.1', 'Host: a')
  const { peer } = await upstream.request(0)
  const begun = performance.now()
  gateway.process.kill('SIGTERM')
  t.same(await gateway.process.exit(), { code: 0, signal: null })
  const took = performance.now() - begun
  t.ok(took >= 250, `${took} ms`)
  await slow.closed
  t.equal(slow.received, 0, 'no half answer')
  await peer.closed
})

t.test('a second signal ends at once', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const gateway = await startChild(t, CONFIG(upstream))
  const slow = await RawClient.connect(t, gateway.port)
  slow.head('GET /never HTTP/1.1', 'Host: a')
  await upstream.request(0)
  gateway.process.kill('SIGTERM')
  while ((await gateway.page('/readyz')).status !== 503);
  gateway.process.kill('SIGINT')
  // Half of the grace: whoever waits for the end of that is late.
  t.same(await gateway.process.exit(10_000), { code: 0, signal: null })
  await slow.closed
})

t.test('an answer that streams finishes too', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const gateway = await startChild(t, CONFIG(upstream))
  const client = await RawClient.connect(t, gateway.port)
  client.head('GET /stream HTTP/1.1', 'Host: a')
  const { peer } = await upstream.request(0)
  peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n')
  await client.until('one')
  gateway.process.kill('SIGTERM')
  while ((await gateway.page('/readyz')).status !== 503);
  peer.write('3\r\ntwo\r\n0\r\n\r\n')
  t.equal((await client.response()).text, 'onetwo')
  t.equal(await client.closed, 'fin')
  t.same(await gateway.process.exit(), { code: 0, signal: null })
})

t.test('a removed listener finishes its requests before the end too', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const text = CONFIG(upstream)
  const gateway = await startChild(t, text)
  const client = await RawClient.connect(t, gateway.port)
  client.head('GET /slow HTTP/1.1', 'Host: a')
  const request = await upstream.request(0)
  t.ok((await gateway.reload(text.replace('name: web', 'name: other'))).ok)
  gateway.process.kill('SIGTERM')
  while ((await gateway.page('/readyz')).status !== 503);
  request.reply('200 OK', 'whole')
  t.equal((await client.response()).text, 'whole')
  t.same(await gateway.process.exit(), { code: 0, signal: null })
})

t.test('exit codes', async t => {
  const exits = async (args: readonly string[]) => {
    const process = sluice(t, args)
    const { code } = await process.exit(30_000)
    return { code, err: process.err }
  }
  const folder = t.testdir({
    'faulty.yaml':
      'listeners: [{ name: web, port: 0 }]\nroutes: [{ name: a, match: { path: /*, hots: b }, upstream: nobody }]\n',
  })
  const [faulty, usage] = await Promise.all([exits(['start', '-c', join(folder, 'faulty.yaml')]), exits(['begin'])])
  t.equal(faulty.code, 1)
  t.match(faulty.err, /faulty\.yaml:2:\d+ routes\[0\]/)
  t.notMatch(faulty.err, /^\s+at /m, 'no stack')
  t.equal(usage.code, 2)
  t.match(usage.err, 'there is no command "begin"')
})

t.test('a signal before it listens ends it at once, in good order', async t => {
  const folder = t.testdir({
    'gateway.yaml': 'admin: off\nlisteners: [{ name: web, port: 0 }]\nplugins: [./slow.js]\nroutes: []\n',
    'slow.js': "process.stderr.write('loading\\n')\nawait new Promise(done => setTimeout(done, 60_000))\n",
  })
  const process = sluice(t, ['start', '-c', join(folder, 'gateway.yaml')])
  await eventually(
    () => process.err.includes('loading'),
    () => `it did not begin: ${process.err}`,
    20_000,
  )
  process.kill('SIGTERM')
  t.same(await process.exit(), { code: 0, signal: null })
})

/** A registry that takes connections and says nothing; `asked` resolves with the first. */
async function silentRegistry(t: Test): Promise<{ address: string; asked: Promise<unknown> }> {
  const server = createTcpServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: once(server, 'connection') }
}

t.test('a reload that waits for a registry keeps no signal waiting', async t => {
  const upstream = await RawUpstream.start(t)
  const gateway = await startChild(t, CONFIG(upstream))
  const { address, asked } = await silentRegistry(t)
  gateway.write(
    `${CONFIG(upstream)}
discovery: { reg: { kind: consul, address: "${address}", timeout: 60s } }
`.replace(/endpoints: .*\]/, 'discover: { from: reg, service: orders }'),
  )
  await asked
  gateway.process.kill('SIGTERM')
  t.same(await gateway.process.exit(), { code: 0, signal: null })
  t.notOk(
    gateway.process.log.some(({ msg }) => msg.includes('faulty')),
    'nothing is wrong with the file',
  )
})

t.test('a stop while a start waits for a registry', async t => {
  const { address, asked } = await silentRegistry(t)
  const made = makeReloading(
    t,
    `
listeners: [{ name: web, port: 0 }]
admin: off
discovery: { reg: { kind: consul, address: "${address}", timeout: 60s } }
upstreams: { up: { discover: { from: reg, service: orders } } }
routes: [{ name: all, match: { path: /* }, upstream: up }]
`,
  )
  const started = made.gateway.start()
  await asked
  await within(10_000, made.gateway.stop(), () => 'it waits for the registry')
  await started
  t.ok(await refused(made.port))
})

async function taken(t: Test): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port
}

t.test('a port in use: 3, with the listener and what to do', async t => {
  const port = await taken(t)
  const folder = t.testdir({
    'web.yaml': `listeners: [{ name: web, port: ${port} }]\nadmin: off\nroutes: []\n`,
    'admin.yaml': `listeners: [{ name: web, port: 0 }]\nadmin: { port: ${port} }\nroutes: []\n`,
  })
  const web = sluice(t, ['start', '-c', join(folder, 'web.yaml')])
  const admin = sluice(t, ['start', '-c', join(folder, 'admin.yaml')])
  t.same(await web.exit(30_000), { code: 3, signal: null })
  t.equal(
    web.err,
    `sluice: listener web cannot listen on 127.0.0.1:${port}: the port is in use; stop what listens there or take another port (0 takes any free one): change ${join(folder, 'web.yaml')}:1:32\n`,
  )
  t.equal(web.out, '')
  t.same(await admin.exit(30_000), { code: 3, signal: null })
  t.match(admin.err, `sluice: the admin pages cannot listen on 127.0.0.1:${port}: the port is in use`)
  t.equal(admin.out, '')
})

for (const [how, body, crash] of [
  ['an exception that nobody caught: logged, and exit 4', "setImmediate(() => { throw new Error('boom') })", true],
  ['a rejection that nobody handled: logged, and no more', "Promise.reject(new Error('boom'))", false],
] as const) {
  t.test(how, async t => {
    const folder = t.testdir({
      'crash.mjs': `import { definePlugin, z } from 'sluice'
export default definePlugin({
  name: 'crash', description: 'Crashes.', options: z.strictObject({}),
  create: () => ({ onRequest() { ${body} } }),
})
`,
      'gateway.yaml': `listeners: [{ name: web, port: 0 }]
admin: off
routes: [{ name: all, match: { path: /* }, plugins: [./crash.mjs], respond: { status: 200, body: hi } }]
`,
    })
    const process = sluice(t, ['start', '-c', join(folder, 'gateway.yaml')])
    await process.printed('listener web')
    const port = Number(/:(\d+) \(native\)/.exec(process.out)![1])
    const client = await RawClient.connect(t, port)
    client.head('GET / HTTP/1.1', 'Host: a')
    if (crash) t.same(await process.exit(), { code: 4, signal: null })
    else {
      t.equal((await client.response()).status, 200)
      client.head('GET / HTTP/1.1', 'Host: a')
      t.equal((await client.response()).status, 200)
    }
    const told = () => process.log.find(entry => entry.msg.includes(crash ? 'crashed' : 'rejected'))
    // The log comes on another way than the answers.
    await eventually(
      () => told() !== undefined,
      () => 'nothing is logged',
    )
    t.match(told(), { level: 50, error: /Error: boom[\s\S]*crash\.mjs/ })
  })
}

t.test('no garbage of a client ends it', async t => {
  const upstream = await RawUpstream.start(t)
  const gateway = await startChild(t, CONFIG(upstream))
  const garbage: (string | Buffer)[] = [
    Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919) & 255)),
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET / HTTP/1.1\r\n__proto__: 1\r\nconstructor: 2\r\nHost: a\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n',
    `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n`,
    '\r\n'.repeat(10_000),
    '\0'.repeat(10_000),
  ]
  for (const bytes of garbage) {
    for (const leave of ['end', 'reset', 'destroy'] as const) {
      const client = await RawClient.connect(t, gateway.port)
      client.send(bytes)
      // Some of it is a request whose end is still to come: nothing is said to that.
      if (leave === 'end')
        await Promise.race([client.closed, client.until(text => text.length > 0, 300).catch(() => {})])
      client[leave]()
    }
  }
  // To the admin port too.
  for (const bytes of garbage) {
    const client = await RawClient.connect(t, gateway.adminPort)
    client.send(bytes)
    client.destroy()
  }
  const client = await RawClient.connect(t, gateway.port)
  client.head('GET / HTTP/1.1', 'Host: a')
  t.equal((await client.response()).status, 200)
  t.equal(gateway.process.ended, null)
  t.same(
    gateway.process.log.filter(entry => entry.level >= 50),
    [],
    'and nothing of it is an error of ours',
  )
})

for (const engine of ['native', 'uws']) {
  t.test(`${engine}: clients that reset amid an answer made at once do not end it`, async t => {
    const gateway = await startChild(
      t,
      `
listeners: [{ name: web, port: 0, engine: ${engine} }]
admin: { port: 0 }
routes: [{ name: all, match: { path: /* }, respond: { status: 200, body: ${'x'.repeat(5000)} } }]
`,
    )
    // Several in one read: what the first of them wrote has met the reset when the others write.
    const requests = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(15)
    const rude = () =>
      new Promise(done => {
        const socket = connect(gateway.port, '127.0.0.1', () => socket.write(requests, () => socket.resetAndDestroy()))
        socket.on('error', () => {}).on('close', done)
      })
    for (let i = 0; i < 50 && gateway.process.ended === null; i++) await Promise.all(Array.from({ length: 20 }, rude))
    t.equal(gateway.process.ended, null, gateway.process.err.slice(-300))
    const client = await RawClient.connect(t, gateway.port)
    t.equal((await client.head('GET / HTTP/1.1', 'Host: a').response()).status, 200)
  })
}
