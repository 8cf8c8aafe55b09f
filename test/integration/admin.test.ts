// The admin pages: what each shows, what none shows, and how they refuse.
import { writeFileSync } from 'node:fs'
import { type AddressInfo, Server } from 'node:net'
import { dirname, join } from 'node:path'
import { Gauge } from 'prom-client'
import t, { type Test } from 'tap'
import { registry } from '../../src/metrics.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { type ReloadingGateway, startReloading } from '../support/reloading-gateway.ts'

async function start(t: Test): Promise<{ g: ReloadingGateway; upstream: RawUpstream; text: string }> {
  const upstream = await RawUpstream.start(t)
  const text = `listeners: [{ name: web, port: 0 }]
admin: { port: 0 }
shutdown: { grace: 1s }
upstreams:
  up:
    endpoints: [{ address: "${upstream.address}", weight: 2, labels: { version: v2 } }, { address: "127.0.0.1:1", weight: 0 }]
plugins: [request-id]
routes:
  - name: all
    match: { path: /* }
    upstream: up
    plugins:
      - headers: { request: { set: { authorization: "Bearer s3cret-token", x-plain: shown } } }
  - { name: hello, match: { host: "*.example.com", path: /hello, methods: [GET] }, respond: { status: 200, body: hi } }
`
  return { g: await startReloading(t, text), upstream, text }
}

async function page(g: ReloadingGateway, path: string, init: RequestInit = {}) {
  const response = await fetch(`http://127.0.0.1:${g.gateway.adminPort}${path}`, {
    ...init,
    headers: { connection: 'close' },
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

t.test('every page that / names is there, as JSON that no cache keeps', async t => {
  const { g } = await start(t)
  const { pages } = JSON.parse((await page(g, '/')).text) as { pages: string[] }
  t.same([...pages].sort(), ['/config', '/healthz', '/metrics', '/readyz', '/routes', '/upstreams'])
  for (const path of pages) {
    const { status, headers, text } = await page(g, path)
    t.equal(status, 200, path)
    if (path === '/metrics') t.match(headers.get('content-type'), /^text\/plain/)
    else {
      t.equal(headers.get('content-type'), 'application/json')
      t.equal(headers.get('cache-control'), 'no-store')
      t.doesNotThrow(() => JSON.parse(text))
    }
    const head = await page(g, path, { method: 'HEAD' })
    t.same([head.status, head.text], [200, ''], `HEAD ${path}`)
  }
  t.same(JSON.parse((await page(g, '/healthz')).text), { status: 'ok' })
  t.same(JSON.parse((await page(g, '/readyz?verbose')).text), { ready: true, lastReload: null })
})

t.test('404 and 405', async t => {
  const { g } = await start(t)
  const nowhere = await page(g, '/secret')
  t.equal(nowhere.status, 404)
  t.notMatch(nowhere.text, 'secret', 'the path is not repeated')
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
    const refused = await page(g, '/readyz', { method })
    t.same([refused.status, refused.headers.get('allow')], [405, 'GET, HEAD'], method)
  }
  for (const path of ['/../config', '//config', '/config/', '/__proto__', '/constructor']) {
    const client = await RawClient.connect(t, g.gateway.adminPort)
    t.equal((await client.head(`GET ${path} HTTP/1.1`, 'Host: a').response()).status, 404, path)
  }
})

t.test('/config is what was written, without secrets, and what is in force', async t => {
  const { g, text } = await start(t)
  const shown = await page(g, '/config')
  t.notMatch(shown.text, 's3cret-token')
  const config = JSON.parse(shown.text)
  t.same(config.routes[0].plugins, [
    { headers: { request: { set: { authorization: '[redacted]', 'x-plain': 'shown' } } } },
  ])
  t.equal(config.upstreams.up.endpoints[1].address, '127.0.0.1:1')
  t.ok(await g.reload(text.replace('name: hello', 'name: hullo')))
  t.equal(JSON.parse((await page(g, '/config')).text).routes[1].name, 'hullo')
  t.notOk(await g.reload(text.replace('name: hello', 'nam: hullo')))
  t.equal(JSON.parse((await page(g, '/config')).text).routes[1].name, 'hullo', 'a faulty file is not in force')
})

t.test('/routes in the order in which they are tried, with their plugins', async t => {
  const { g } = await start(t)
  const routes = JSON.parse((await page(g, '/routes')).text)
  t.same(
    routes.map((one: { route: string; plugins: string[] }) => [one.route, one.plugins]),
    [
      ['hello', ['request-id']],
      ['all', ['request-id', 'headers']],
    ],
  )
})

t.test('what /config hides, no other page shows: /routes, /upstreams and the faults in /readyz', async t => {
  const upstream = await RawUpstream.start(t)
  const text = `listeners: [{ name: web, port: 0 }]
admin: { port: 0 }
upstreams:
  up: { endpoints: [{ address: "${upstream.address}", labels: { edge: "\${MY_SECRET}", token: leak-1, zone: b } }] }
routes:
  - name: a
    match:
      host: ["API.example.com", "\${MY_SECRET}.example.com"]
      path: ["/a", "/hook/\${MY_SECRET}"]
      headers: { X-Edge: "\${MY_SECRET}", Authorization: present, x-plain: shown }
      query: { k: "\${MY_SECRET}", sig: leak-2 }
      cookies: { session: leak-3, cohort: beta }
    upstream: up
  - { name: b, match: { path: /b }, redirect: { to: "https://leak-4@h.example/?token=leak-5" } }
  - { name: c, match: { path: /c }, redirect: { to: "https://h.example/\${MY_SECRET}", status: 302 } }
`
  const g = await startReloading(t, text, { env: { MY_SECRET: 'leak-0', DB_PASS: 'leak-9' } })
  for (const path of ['/config', '/routes', '/upstreams']) t.notMatch((await page(g, path)).text, /leak-/, path)
  const routes = JSON.parse((await page(g, '/routes')).text)
  const row = (host: string, path: string) =>
    routes.find((one: Record<string, string>) => one.host === host && one.path === path)
  t.match(row('api.example.com', '/a'), {
    conditions: [
      'header x-edge=[redacted]',
      'header authorization=present',
      'header x-plain=shown',
      'query k=[redacted]',
      'query sig=[redacted]',
      'cookie session=[redacted]',
      'cookie cohort=beta',
    ],
    to: 'up',
  })
  t.ok(row('[redacted]', '[redacted]'))
  t.equal(row('*', '/b').to, 'redirect 308 https://[redacted]@h.example/?token=[redacted]')
  t.equal(row('*', '/c').to, 'redirect 302 [redacted]')
  const [{ endpoints }] = JSON.parse((await page(g, '/upstreams')).text)
  t.match(endpoints[0], {
    address: upstream.address,
    labels: { edge: '[redacted]', token: '[redacted]', zone: 'b' },
  })
  const faulty = text
    .replace('upstream: up', `upstream: "\${DB_PASS}"`)
    .replace('x-plain: shown', `"x plain": "\${DB_PASS}"`)
  t.notOk(await g.reload(faulty))
  const faults: string[] = JSON.parse((await page(g, '/readyz')).text).lastReload.faults
  t.match(faults, [/match\.headers/, /routes\[0\]\.upstream: there is no upstream \[redacted\]; known: up/])
  t.notMatch(faults.join(), /leak-/)
  t.notMatch(JSON.stringify(g.log), /leak-/)
})

t.test('/upstreams counts what is under way, and what was', async t => {
  const { g, upstream } = await start(t)
  upstream.onRequest = () => {}
  const shown = async () => JSON.parse((await page(g, '/upstreams')).text)[0]
  t.match(await shown(), {
    name: 'up',
    scheme: 'http',
    balance: 'round-robin',
    endpoints: [
      {
        address: upstream.address,
        weight: 2,
        labels: { version: 'v2' },
        source: 'static',
        inFlight: 0,
        requests: 0,
        failures: 0,
        connections: { open: 0, idle: 0, waiting: 0 },
      },
      { address: '127.0.0.1:1', weight: 0, labels: {} },
    ],
  })
  const client = await RawClient.connect(t, g.port)
  client.head('GET / HTTP/1.1', 'Host: a')
  const request = await upstream.request(0)
  t.match((await shown()).endpoints[0], { inFlight: 1, requests: 1, connections: { open: 1, idle: 0 } })
  request.reply('500 Oops', 'no')
  t.equal((await client.response()).status, 500)
  t.match((await shown()).endpoints[0], { inFlight: 0, requests: 1, failures: 1, connections: { open: 1, idle: 1 } })
})

t.test('/metrics: reloads, and a collector that fails is no end of the process', async t => {
  const { g, text } = await start(t)
  const value = async (line: string) => {
    const found = (await page(g, '/metrics')).text.split('\n').find(one => one.startsWith(`${line} `))
    return Number(found?.split(' ')[1] ?? 0)
  }
  const good = await value('sluice_config_reloads_total{result="success"}')
  const bad = await value('sluice_config_reloads_total{result="faulty"}')
  t.ok(await g.reload(text))
  t.equal(await value('sluice_config_reloads_total{result="success"}'), good + 1)
  t.equal(await value('sluice_config_last_reload_success'), 1)
  t.notOk(await g.reload('routes: ['))
  t.equal(await value('sluice_config_reloads_total{result="faulty"}'), bad + 1)
  t.equal(await value('sluice_config_last_reload_success'), 0)
  t.ok(await g.reload(text))
  t.equal(await value('sluice_config_last_reload_success'), 1)

  const broken = new Gauge({
    name: 'broken',
    help: 'Throws.',
    registers: [registry],
    collect() {
      throw new Error('no number today')
    },
  })
  t.teardown(() => registry.removeSingleMetric('broken'))
  t.equal((await page(g, '/metrics')).status, 500)
  t.ok(broken)
})

t.test('a plugin whose facts are no JSON takes no page and no gateway with it', async t => {
  const { g, text } = await start(t)
  const folder = dirname(g.file)
  for (const [i, facts] of [
    'const a = {}; a.a = a; return a',
    'return { n: 1n }',
    "return { toJSON() { throw new Error('no') } }",
  ].entries()) {
    writeFileSync(
      join(folder, `odd${i}.mjs`),
      `import { definePlugin, z } from 'sluice'
export default definePlugin({ name: 'odd', description: 'O.', options: z.strictObject({}), create: () => ({
  inspect() { const facts = () => { ${facts} }; return { upstreams: { up: facts() }, routes: { all: facts() } } },
}) })`,
    )
    t.ok(await g.reload(text.replace('[request-id]', `[./odd${i}.mjs]`)), facts)
    for (const path of ['/upstreams', '/routes']) t.equal((await page(g, path)).status, 200, `${path} ${facts}`)
  }
})

t.test('a connection that cannot be accepted costs no other', async t => {
  const servers = new Set<Server>()
  const { listen } = Server.prototype
  t.teardown(() => {
    Server.prototype.listen = listen
  })
  Server.prototype.listen = function (this: Server, ...to: unknown[]) {
    servers.add(this)
    return Reflect.apply(listen, this, to) as Server
  }
  const { g } = await start(t)
  const ports = [g.port, g.gateway.adminPort]
  const ours = [...servers].filter(server => ports.includes((server.address() as AddressInfo).port))
  t.equal(ours.length, 2, 'the listener and the admin pages')
  // As Node does when the system refuses, say for want of memory.
  const refused = Object.assign(new Error('accept ENOMEM'), { code: 'ENOMEM', syscall: 'accept' })
  for (const server of ours) t.doesNotThrow(() => server.emit('error', refused))
  t.equal((await page(g, '/healthz')).status, 200)
})
