// Reloads: what starts one, what it changes, what it leaves alone, and what a faulty file does not do.
// Over 300 lines because what a reload changes and what it must leave alone are two sides of each case.

import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { startChild } from '../support/child-gateway.ts'
import { type Life, lives } from '../support/counting-plugins.ts'
import { freePort } from '../support/free-port.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { makeReloading, type ReloadingGateway, startReloading } from '../support/reloading-gateway.ts'
import { eventually } from '../support/within.ts'

/** One listener, no admin pages, and these sections. */
const config = (...sections: string[]) =>
  ['listeners: [{ name: web, port: 0 }]', 'admin: off', 'shutdown: { grace: 1s }', ...sections, ''].join('\n')

const answering = (body: string) =>
  config(`routes: [{ name: all, match: { path: /* }, respond: { status: 200, body: ${body} } }]`)

async function ask(t: Test, port: number, path = '/') {
  const client = await RawClient.connect(t, port)
  const response = await client.head(`GET ${path} HTTP/1.1`, 'Host: a', 'Connection: close').response()
  client.destroy()
  return response
}

t.test('a change of the file: written in place, and renamed over', async t => {
  const g = await startReloading(t, answering('one'), { watch: true })
  t.equal((await ask(t, g.port)).text, 'one')
  const port = g.port
  t.match(await g.changed(() => g.write(answering('two'))), { ok: true, faults: [] })
  t.equal((await ask(t, port)).text, 'two')
  t.match(await g.changed(() => g.rename(answering('three'))), { ok: true })
  t.equal((await ask(t, port)).text, 'three')
  t.match(await g.changed(() => g.write('routes: [')), { ok: false })
  t.match(g.faults, [/gateway\.yaml:\d+:\d+ .*SLUICE_CONFIG_SYNTAX/])
  t.equal((await ask(t, port)).text, 'three', 'the old one goes on')
  t.match(await g.changed(() => g.rename(answering('four'))), { ok: true, faults: [] })
  t.equal((await ask(t, port)).text, 'four')
})

t.test('a change between reading the file and watching it is not missed', async t => {
  const folder = t.testdir({ 'gateway.yaml': answering('one') })
  const file = join(folder, 'gateway.yaml')
  // A plugin whose module is loaded in between writes the file: the earliest change after it was read.
  writeFileSync(
    join(folder, 'late.mjs'),
    `import { definePlugin, z } from 'sluice'
import { writeFileSync } from 'node:fs'
export default definePlugin({ name: 'late', description: 'Writes.', options: z.strictObject({}), create() {
  writeFileSync(${JSON.stringify(file)}, ${JSON.stringify(answering('two'))})
  return {}
} })
`,
  )
  const { Gateway } = await import('../../src/gateway.ts')
  const api = await import('../../src/plugin-api.ts')
  const { default: plugins, PLUGINS_URL } = await import('../support/counting-plugins.ts')
  writeFileSync(file, `${answering('one')}plugins: [./late.mjs]\n`)
  const quiet = () => {}
  const gateway = new Gateway({
    file,
    bundled: PLUGINS_URL,
    plugins,
    env: {},
    modules: { sluice: api },
    moduleUrls: { sluice: new URL('../../src/plugin-api.ts', import.meta.url).href },
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  t.teardown(() => gateway.stop())
  await gateway.start()
  await eventually(
    () => gateway.lastReload !== null,
    () => 'no reload',
    60_000,
  )
  t.match(gateway.lastReload, { ok: true, faults: [] })
  t.equal((await ask(t, gateway.listeners[0]!.port)).text, 'two')
})

t.test('SIGHUP, and /readyz tells of the last one', async t => {
  const text = (body: string) => answering(body).replace('admin: off', 'admin: { port: 0 }')
  const g = await startChild(t, text('one'), { WORD: 'first' })
  t.same((await g.page('/readyz')).body, { ready: true, lastReload: null })
  g.process.kill('SIGHUP')
  await eventually(
    () => g.process.log.some(entry => entry.msg === 'configuration reloaded'),
    () => g.process.err,
    60_000,
  )
  t.match((await g.page('/readyz')).body, { ready: true, lastReload: { ok: true, faults: [] } })

  const state = await g.reload(`${text('two')}upstreams: { a: { endpoints: [nowhere] } }\nplugins: [nosuch]\n`)
  t.equal(state.ok, false)
  t.match(state.faults, [
    /gateway\.yaml:5:\d+ upstreams\.a\.endpoints\[0\]: .*SLUICE_CONFIG_INVALID/,
    /gateway\.yaml:6:\d+ plugins\[0\]\.nosuch: .*SLUICE_CONFIG_REFERENCE/,
  ])
  const ready = await g.page('/readyz')
  t.equal(ready.status, 200, 'the old configuration serves: no reason to take the gateway out')
  t.match(ready.body, { ready: true, lastReload: { ok: false, faults: state.faults } })
  await eventually(
    () => g.process.log.at(-1)?.level === 50,
    () => g.process.err,
  )
  t.match(g.process.log.at(-1), { level: 50, faults: state.faults, count: 2 })
  t.equal((await ask(t, g.port)).text, 'one')
  g.process.kill('SIGHUP')
  g.process.kill('SIGHUP')
  await g.reload(text('three'))
  await eventually(
    () => g.process.log.at(-1)?.msg === 'configuration reloaded',
    () => g.process.err,
  )
  t.equal((await ask(t, g.port)).text, 'three')
})

t.test('calls that come during a reload become one more: the last content wins', async t => {
  const g = await startReloading(t, answering('v0'))
  const reloads = Array.from({ length: 20 }, (_, i) => g.reload(answering(`v${i + 1}`)))
  t.same(new Set(await Promise.all(reloads)), new Set([true]))
  t.equal((await ask(t, g.port)).text, 'v20')
  t.ok(g.log.filter(line => line.message === 'configuration reloaded').length <= 2)
})

/** The instances made since, by label. */
function since(from: number): Map<string, Life[]> {
  const found = new Map<string, Life[]>()
  for (const life of lives.slice(from)) found.set(life.label, [...(found.get(life.label) ?? []), life])
  return found
}

t.test('unchanged plugins keep their instance, changed ones are closed once and last', async t => {
  const from = lives.length
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = request => {
    if (!request.target.startsWith('/slow')) request.reply('200 OK', 'ok')
  }
  const text = (everywhere: string, own: string) =>
    config(
      `upstreams: { up: { endpoints: ["${upstream.address}"] } }`,
      `plugins: [${everywhere}]`,
      `routes: [{ name: all, match: { path: /* }, upstream: up, plugins: [${own}] }]`,
    )
  const g = await startReloading(t, text('count-a: { label: a }', 'count-b: { label: b }, count-c: { label: c }'))
  t.equal((await ask(t, g.port)).get('x-count-a'), 'a 1')

  // In flight over two reloads: it began with a, b and c.
  const slow = await RawClient.connect(t, g.port)
  slow.head('GET /slow HTTP/1.1', 'Host: a')
  const request = await upstream.request(1)

  // The order of lines, defaults and the key order change nothing; b changes; c stays.
  t.ok(
    await g.reload(text('count-a: { "label": a }', 'count-c: { label: c }, count-b: { label: b2 }')),
    g.faults.join(),
  )
  t.equal((await ask(t, g.port)).get('x-count-a'), 'a 3', 'a goes on counting')
  t.equal((await ask(t, g.port)).get('x-count-c'), 'c 4')
  // c goes, which the request in flight holds under the snapshot before the last.
  t.ok(await g.reload(text('count-a: { label: a }', 'count-b: { label: b2 }')), g.faults.join())
  t.equal((await ask(t, g.port)).get('x-count-b'), 'b2 3')
  const found = since(from)
  t.same(
    [...found].map(([label, made]) => [label, made.length]),
    [
      ['a', 1],
      ['b', 1],
      ['c', 1],
      ['b2', 1],
    ],
  )
  const [a, b, c] = ['a', 'b', 'c'].map(label => found.get(label)![0]!)
  t.equal(b!.closed, 0, 'b is in use')
  t.equal(c!.closed, 0, 'c is in use')

  request.reply('200 OK', 'late')
  const late = await slow.response()
  t.same([late.get('x-count-a'), late.get('x-count-b'), late.get('x-count-c')], ['a 5', 'b 2', 'c 4'])
  t.match(b, { closed: 1, openAtClose: 0 })
  t.match(c, { closed: 1, openAtClose: 0 })
  t.equal(a!.closed, 0)
  await g.gateway.stop()
  t.same(
    lives.slice(from).map(life => [life.closed, life.openAtClose, life.faults]),
    Array(4).fill([1, 0, []]),
  )
})

t.test('a faulty file leaves plugins alone; off closes one, and its return makes it anew', async t => {
  const from = lives.length
  const text = (entry: string) => `${answering('hi')}plugins: [${entry}]\n`
  const g = await startReloading(t, text('count-a: { label: a }'))
  await ask(t, g.port)
  t.notOk(await g.reload(text('count-a: { label: 1 }')))
  t.notOk(await g.reload(text('count-a: { label: a }, nosuch')))
  t.equal((await ask(t, g.port)).get('x-count-a'), 'a 2')
  t.ok(await g.reload(text('count-a: { label: a, off: true }')), g.faults.join())
  t.equal((await ask(t, g.port)).get('x-count-a'), '')
  t.ok(await g.reload(text('count-a: { label: a, when: { header.x: present } }')), g.faults.join())
  t.equal((await ask(t, g.port)).get('x-count-a'), '')
  t.same(
    lives.slice(from).map(life => [life.requests, life.closed]),
    [
      [2, 1],
      [0, 0],
    ],
  )
})

t.test('an entry that goes off and comes back changes nothing for another of its name', async t => {
  const from = lives.length
  const text = (off: boolean) =>
    `${answering('hi')}plugins: [{ count-a: { label: a, off: ${off} } }, { count-a: { label: b } }]\n`
  const g = await startReloading(t, text(false))
  await ask(t, g.port)
  const second = lives[from + 1]!
  for (const off of [true, false]) {
    t.ok(await g.reload(text(off)), g.faults.join())
    await ask(t, g.port)
  }
  t.match(second, { label: 'b', requests: 3, closed: 0 })
})

t.test('an instance that is cut at the end of the gateway hears of it before it is closed', async t => {
  const from = lives.length
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const g = await startReloading(
    t,
    config(
      `upstreams: { up: { endpoints: ["${upstream.address}"] } }`,
      'routes: [{ name: all, match: { path: /* }, upstream: up, plugins: [count-a] }]',
    ).replace('grace: 1s', 'grace: 10ms'),
  )
  const client = await RawClient.connect(t, g.port)
  client.head('GET / HTTP/1.1', 'Host: a')
  await upstream.request(0)
  await g.gateway.stop()
  t.match(lives[from], { open: 0, closed: 1, openAtClose: 0, faults: [] })
})

t.test('a stop while it starts leaves nothing open, and after a start that failed closes nothing twice', async t => {
  const from = lives.length
  const text = `${answering('hi')}plugins: [count-a]\n`
  const early = makeReloading(t, text)
  const started = early.gateway.start()
  await early.gateway.stop()
  await started
  t.match(lives[from], { closed: 1 })
  const [listener] = early.gateway.listeners
  await t.rejects(ask(t, listener!.port), { code: 'ECONNREFUSED' })
  const { gateway } = makeReloading(t, text)
  await gateway.stop()
  await t.rejects(gateway.start(), /stopped/)

  const taken = createServer()
  taken.listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const failing = makeReloading(t, text.replace('port: 0', `port: ${port}`))
  await t.rejects(failing.gateway.start(), /in use/)
  await failing.gateway.stop()
  taken.close()
  t.same(
    lives.slice(from).map(life => life.closed),
    [1, 1],
  )
})

t.test('endpoints that stay keep their connections and numbers; those that go finish', async t => {
  const [one, two, three] = [await RawUpstream.start(t), await RawUpstream.start(t), await RawUpstream.start(t)]
  for (const upstream of [one!, two!, three!]) {
    upstream.onRequest = request => {
      if (!request.target.startsWith('/slow')) request.reply('200 OK', `${upstream.port}`)
    }
  }
  const text = (endpoints: string, more = '') =>
    config(
      `upstreams: { up: { endpoints: [${endpoints}]${more} } }`,
      'routes: [{ name: all, match: { path: /* }, upstream: up }]',
    )
  const quoted = (upstream: RawUpstream) => `"${upstream.address}"`
  const g = await startReloading(t, text(`${quoted(one!)}, ${quoted(two!)}`))
  for (let i = 0; i < 4; i++) await ask(t, g.port)
  t.same([one!.peers.length, two!.peers.length], [1, 1])
  const up = g.gateway.snapshot.upstreams.get('up')!
  const [endpointOne, endpointTwo] = up.balancer.endpoints
  t.same([endpointOne!.requests, endpointTwo!.requests], [2, 2])

  // One request in flight on each.
  const clients = [await RawClient.connect(t, g.port), await RawClient.connect(t, g.port)]
  for (const client of clients) client.head('GET /slow HTTP/1.1', 'Host: a')
  const requests = [await one!.request(2), await two!.request(2)]
  t.ok(
    await g.reload(text(`{ address: ${quoted(one!)}, weight: 3, labels: { version: v2 } }, ${quoted(three!)}`)),
    g.faults.join(),
  )
  t.equal(g.gateway.snapshot.upstreams.get('up'), up, 'the upstream is the same')
  t.equal(up.balancer.endpoints[0], endpointOne)
  t.match(endpointOne, { weight: 3, labels: { version: 'v2' }, requests: 3, inFlight: 1 })
  for (const request of requests) request.reply('200 OK', 'late')
  for (const client of clients) t.equal((await client.response()).text, 'late')
  await two!.peers[0]!.closed
  t.equal(endpointTwo!.inFlight, 0)

  const seen = new Map<string, number>()
  for (let i = 0; i < 8; i++) {
    const { text } = await ask(t, g.port)
    seen.set(text, (seen.get(text) ?? 0) + 1)
  }
  t.same(
    [...seen].sort(),
    [
      [`${one!.port}`, 6],
      [`${three!.port}`, 2],
    ].sort(),
    'shared by the new weights',
  )
  t.equal(one!.peers.length, 1, 'over the connection from before')

  // Any other option makes the upstream anew; a request in flight finishes on the old one.
  const last = await RawClient.connect(t, g.port)
  last.head('GET /slow HTTP/1.1', 'Host: a')
  await eventually(
    () => one!.requests.length + three!.requests.length === 12,
    () => 'the request',
  )
  const waiting = [...one!.requests, ...three!.requests].find(
    request => request.target === '/slow' && !requests.includes(request),
  )!
  t.ok(await g.reload(text(quoted(one!), ', timeouts: { connect: 1s }')), g.faults.join())
  t.not(g.gateway.snapshot.upstreams.get('up'), up)
  waiting.reply('200 OK', 'late')
  t.equal((await last.response()).text, 'late')
  await waiting.peer.closed
})

t.test('a route of the same name keeps what it has of its retry budget', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = request => {
    // Of those that are tried again, every other one is good.
    const bad = request.target === '/odd' && upstream.requests.length % 2 === 1
    request.reply(bad ? '503 Service Unavailable' : '200 OK')
  }
  const text = (version: number) =>
    config(
      `upstreams: { up: { endpoints: ["${upstream.address}"] } }`,
      'routes:',
      '  - { name: all, match: { path: /* }, upstream: up, retry: { backoff: 0ms, maxBackoff: 0ms } }',
      `  - { name: other, match: { path: /other }, respond: { status: 200, body: "${version}" } }`,
    )
  const g = await startReloading(t, text(1))
  const client = await RawClient.connect(t, g.port)
  const get = async (path: string) => (await client.head(`GET ${path} HTTP/1.1`, 'Host: a').response()).status
  for (let i = 0; i < 60; i++) await get('/')
  t.ok(await g.reload(text(2)), g.faults.join())
  const statuses: number[] = []
  for (let i = 0; i < 8; i++) statuses.push(await get('/odd'))
  t.same(statuses, new Array(8).fill(200), 'a fifth of what came before the reload too')
})

t.test('a removed upstream finishes its request and lets go', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const g = await startReloading(
    t,
    config(
      `upstreams: { up: { endpoints: ["${upstream.address}"] } }`,
      'routes: [{ name: all, match: { path: /* }, upstream: up }]',
    ),
  )
  const client = await RawClient.connect(t, g.port)
  client.head('GET / HTTP/1.1', 'Host: a')
  const request = await upstream.request(0)
  t.ok(await g.reload(answering('new')), g.faults.join())
  t.equal((await ask(t, g.port)).text, 'new')
  request.reply('200 OK', 'late')
  t.equal((await client.response()).text, 'late')
  await request.peer.closed
  // The kept connection is served by the new routes.
  t.equal((await client.head('GET / HTTP/1.1', 'Host: a').response()).text, 'new')
})

t.test('listeners: added, removed, moved, and other limits on an open one', async t => {
  const [first, second, third] = [await freePort(), await freePort(), await freePort()]
  const text = (...listeners: string[]) =>
    answering('hi').replace(/listeners: .*/, `listeners: [${listeners.map(l => `{ ${l} }`).join(', ')}]`)
  const g = await startReloading(t, text(`name: a, port: ${first}`))
  const kept = await RawClient.connect(t, first)
  t.equal((await kept.head('GET / HTTP/1.1', 'Host: a').response()).status, 200)

  t.ok(await g.reload(text(`name: a, port: ${first}`, `name: b, port: ${second}`)), g.faults.join())
  const opened = g.log.find(({ message }) => message === 'a listener was opened')
  t.match(opened?.fields, { listener: 'b', port: second })
  const other = await RawClient.connect(t, second)
  t.equal((await other.head('GET / HTTP/1.1', 'Host: a').response()).status, 200)
  const [a] = g.gateway.listeners

  t.ok(
    await g.reload(text(`name: renamed, port: ${first}, limits: { headerCount: 2 }`, `name: b, port: ${third}`)),
    g.faults.join(),
  )
  t.equal(g.gateway.listeners[0], a, 'not opened anew')
  t.equal(await other.closed, 'fin', 'the idle client of a moved listener is let go')
  await t.rejects(RawClient.connect(t, second), 'nobody listens there')
  t.equal((await ask(t, third)).status, 200)
  const limited = await RawClient.connect(t, first)
  t.equal((await limited.head('GET / HTTP/1.1', 'Host: a', 'A: 1', 'B: 2').response()).status, 431, 'the new limits')
  t.equal(
    (await kept.head('GET / HTTP/1.1', 'Host: a', 'A: 1', 'B: 2').response()).status,
    200,
    'as it was promised to it',
  )

  // The last listener goes on while one that cannot be opened is a fault, and nothing of the file is taken.
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => void taken.close())
  const { port } = taken.address() as { port: number }
  t.notOk(await g.reload(text(`name: a, port: ${first}`, `name: b, port: ${second}`, `name: c, port: ${port}`)))
  t.match(g.faults, [
    new RegExp(
      `gateway\\.yaml:1:\\d+ listeners\\[2\\]\\.port: listener c cannot listen on 127\\.0\\.0\\.1:${port}: the port is in use.*\\(SLUICE_CONFIG_INVALID\\)$`,
    ),
  ])
  await t.rejects(RawClient.connect(t, second), 'what was opened for it is closed')
  t.equal((await ask(t, third)).status, 200)
})

t.test('a certificate that cannot be read is a fault; the old one goes on', async t => {
  const g = await startReloading(t, answering('old'))
  const folder = dirname(g.file)
  const text = (tls: string) =>
    `${answering('new')}upstreams: { up: { endpoints: ["127.0.0.1:1"], scheme: https, tls: ${tls} } }\n`
  t.notOk(await g.reload(text('{ ca: missing.pem }')))
  t.match(g.faults, [/gateway\.yaml:5:\d+ upstreams\.up\.tls\.ca: the file "missing\.pem" cannot be read/])
  mkdirSync(join(folder, 'folder.pem'))
  t.notOk(await g.reload(text('{ ca: folder.pem }')))
  t.equal((await ask(t, g.port)).text, 'old')
})

t.test('admin pages: opened, moved and closed by reloads', async t => {
  const [first, second] = [await freePort(), await freePort()]
  const text = (admin: string) => answering('hi').replace('admin: off', `admin: ${admin}`)
  const g: ReloadingGateway = await startReloading(t, text('off'))
  t.equal(g.gateway.adminPort, 0)
  t.ok(await g.reload(text(`{ port: ${first} }`)), g.faults.join())
  t.equal((await ask(t, first, '/healthz')).status, 200)
  t.ok(await g.reload(text(`{ port: ${second} }`)), g.faults.join())
  t.equal((await ask(t, second, '/healthz')).status, 200)
  await t.rejects(RawClient.connect(t, first))
  t.ok(await g.reload(text('off')), g.faults.join())
  await t.rejects(RawClient.connect(t, second))
})

t.test('no reload keeps a configuration before it, also with a balancer of the user’s own', async t => {
  const text = (port: number) => `
listeners: [{ name: web, port: 0 }]
admin: off
upstreams: { up: { endpoints: ["127.0.0.1:${port}"], balance: ./mine.mjs } }
routes: [{ name: all, match: { path: /* }, upstream: up }]
`
  const made = makeReloading(t, text(1))
  writeFileSync(join(dirname(made.file), 'mine.mjs'), 'export default { create: () => ({ pick: () => null }) }\n')
  await made.gateway.start()
  const before: WeakRef<object>[] = []
  for (let port = 2; port <= 4; port++) {
    before.push(new WeakRef(made.gateway.snapshot))
    t.ok(await made.reload(text(port)), made.faults.join())
  }
  await gone(before)
})

/** Wait until none of these is kept by anybody. */
async function gone(refs: readonly WeakRef<object>[]): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const kept = () => refs.filter(ref => ref.deref() !== undefined).length
  await eventually(
    () => {
      collect()
      return kept() === 0
    },
    () => `${kept()} of ${refs.length} snapshots are kept`,
  )
}

t.test('one long exchange keeps no configuration that came after its own', async t => {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const text = (port: number) =>
    config(
      `upstreams: { up: { endpoints: ["${upstream.address}"] }, other: { endpoints: ["127.0.0.1:${port}"] } }`,
      'routes: [{ name: all, match: { path: /* }, upstream: up }]',
    )
  const g = await startReloading(t, text(1))
  const client = await RawClient.connect(t, g.port)
  client.head('GET / HTTP/1.1', 'Host: a')
  const request = await upstream.request(0)
  const between: WeakRef<object>[] = []
  for (let port = 2; port <= 5; port++) {
    if (port > 2) between.push(new WeakRef(g.gateway.snapshot))
    t.ok(await g.reload(text(port)), g.faults.join())
  }
  await gone(between)
  request.reply('200 OK', 'at last')
  t.equal((await client.response()).text, 'at last')
})
