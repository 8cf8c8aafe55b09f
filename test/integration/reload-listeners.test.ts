// Ports that change hands at a reload: another host, another engine, the admin pages, and what happens when it fails.
import { once } from 'node:events'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { freePort } from '../support/free-port.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { type ReloadingGateway, startReloading } from '../support/reloading-gateway.ts'

/** Listeners as they stand in the file, the admin pages, and a route to an upstream. */
function text(listeners: readonly string[], admin: string, upstream: RawUpstream): string {
  return `listeners:
${listeners.map(listener => `  - { ${listener} }`).join('\n')}
admin: ${admin}
shutdown: { grace: 1s }
upstreams: { up: { endpoints: ["${upstream.address}"] } }
routes: [{ name: all, upstream: up }, { name: here, match: { path: /here }, respond: { status: 200, body: here } }]
`
}

async function start(t: Test, listeners: readonly string[], admin = 'off') {
  const upstream = await RawUpstream.start(t)
  upstream.onRequest = () => {}
  const g = await startReloading(t, text(listeners, admin, upstream))
  return { g, upstream, reload: (next: readonly string[], to = 'off') => g.reload(text(next, to, upstream)) }
}

async function ask(t: Test, port: number, path = '/here') {
  const client = await RawClient.connect(t, port)
  const response = await client.head(`GET ${path} HTTP/1.1`, 'Host: a', 'Connection: close').response()
  client.destroy()
  return response
}

/** A request that is under way: its upstream has it and has not answered. */
async function underWay(t: Test, port: number, upstream: RawUpstream, nth: number) {
  const client = await RawClient.connect(t, port)
  client.head('GET /slow HTTP/1.1', 'Host: a')
  const request = await upstream.request(nth)
  return async () => {
    request.reply('200 OK', `answer ${nth}`)
    return (await client.response()).text
  }
}

const engineOf = (g: ReloadingGateway) => g.gateway.listeners[0]!.engine.split(' ')[0]

t.test('another host and another engine on the same port: requests under way finish, new ones come in', async t => {
  const port = await freePort()
  const { g, upstream, reload } = await start(t, [`name: web, port: ${port}`])
  const steps = ['host: 0.0.0.0', 'engine: uws', 'engine: uws, host: 0.0.0.0', 'engine: native']
  const finish: (() => Promise<string>)[] = []
  for (const [i, step] of steps.entries()) {
    finish.push(await underWay(t, port, upstream, i))
    const [before] = g.gateway.listeners
    t.ok(await reload([`name: web, port: ${port}, ${step}`]), `${step} ${g.faults.join()}`)
    t.not(g.gateway.listeners[0], before, 'opened anew')
    t.equal(engineOf(g), step.includes('uws') ? 'uws' : 'native')
    t.equal((await ask(t, port)).text, 'here', step)
  }
  for (const [i, answer] of finish.entries()) t.equal(await answer(), `answer ${i}`)
})

t.test('a port goes from a listener to the admin pages, and back; two swap theirs', async t => {
  const [first, second] = [await freePort(), await freePort()]
  const { g, upstream, reload } = await start(t, [`name: a, port: ${first}`, `name: b, port: ${second}`])
  const finish = await underWay(t, second, upstream, 0)
  t.ok(await reload([`name: a, port: ${first}`], `{ port: ${second} }`), g.faults.join())
  t.equal((await ask(t, second, '/healthz')).status, 200)
  t.equal(await finish(), 'answer 0')
  t.ok(await reload([`name: a, port: ${second}`], `{ port: ${first} }`), g.faults.join())
  t.equal((await ask(t, first, '/healthz')).status, 200)
  t.equal((await ask(t, second)).text, 'here')
  t.ok(await reload([`name: a, port: ${second}`, `name: b, port: ${first}`]), g.faults.join())
  t.equal((await ask(t, first)).text, 'here')
})

t.test('the log says where the admin pages went', async t => {
  const { g, reload } = await start(t, ['name: a, port: 0'])
  const told = () =>
    g.log.filter(({ message }) => message === 'the admin pages were opened').map(({ fields }) => fields)
  t.ok(await reload(['name: a, port: 0'], '{ port: 0 }'), g.faults.join())
  t.same(told(), [{ host: '127.0.0.1', port: g.gateway.adminPort }])
  t.equal((await ask(t, g.gateway.adminPort, '/healthz')).status, 200)
  t.ok(await reload(['name: a, port: 0'], `{ port: ${g.gateway.adminPort} }`), g.faults.join())
  t.equal(told().length, 1, 'they stayed')
})

t.test('port 0, then the port that it came to: nothing is opened', async t => {
  const { g, reload } = await start(t, ['name: a, port: 0'], '{ port: 0 }')
  const [before] = g.gateway.listeners
  const admin = g.gateway.adminPort
  t.ok(await reload([`name: a, port: ${before!.port}`], `{ port: ${admin} }`), g.faults.join())
  t.equal(g.gateway.listeners[0], before)
  t.equal((await ask(t, admin, '/healthz')).status, 200)
  // Whoever names a port gets it before those that take any.
  const { port } = before!
  t.ok(await reload(['name: a, port: 0', `name: b, port: ${port}`]), g.faults.join())
  t.equal(g.gateway.listeners[1], before)
  t.not(g.gateway.listeners[0]!.port, port)
})

t.test('a port that cannot be taken: the old listeners and the old file go on', async t => {
  const [first, second] = [await freePort(), await freePort()]
  // It keeps 0.0.0.0 from being open on that port, and 127.0.0.1 not.
  const other = createServer().listen(first, '127.0.0.2')
  await once(other, 'listening')
  t.teardown(() => void other.close())
  const { g, upstream, reload } = await start(t, [`name: a, port: ${first}`], `{ port: ${second} }`)
  const before = [...g.gateway.listeners]
  const finish = await underWay(t, first, upstream, 0)
  t.notOk(await reload([`name: b, port: ${second}`, `name: a, port: ${first}, host: 0.0.0.0`]))
  t.match(g.faults, [
    /gateway\.yaml:3:22 listeners\[1\]\.port: listener a cannot listen on 0\.0\.0\.0:\d+: the port is in use; .*\(SLUICE_CONFIG_INVALID\)$/,
  ])
  t.same(g.gateway.listeners, before)
  t.equal((await ask(t, first)).text, 'here')
  t.equal((await ask(t, second, '/healthz')).status, 200, 'the admin pages have their port again')
  t.equal(await finish(), 'answer 0')
  t.notOk(await reload([`name: a, port: ${first}, host: 0.0.0.0, engine: uws`]))
  t.match(g.faults, [/the port is in use/])
  t.equal((await ask(t, first)).text, 'here')
  t.notOk(await reload([`name: b, port: ${second}`], `{ port: ${first}, host: 0.0.0.0 }`))
  t.match(g.faults, [/gateway\.yaml:3:16 admin\.port: the admin pages cannot listen on 0\.0\.0\.0:\d+: /])
  t.equal((await ask(t, first)).text, 'here')
  t.equal((await ask(t, second, '/healthz')).status, 200)
  t.ok(await reload([`name: a, port: ${first}`], `{ port: ${second} }`), g.faults.join())
  t.same(g.gateway.listeners, before)
})

t.test('a name that comes to no address: nobody makes way', async t => {
  const port = await freePort()
  const { g, reload } = await start(t, [`name: a, port: ${port}`])
  const client = await RawClient.connect(t, port)
  t.notOk(await reload([`name: a, port: ${port}, host: nowhere.invalid`]))
  t.match(g.faults, [/listeners\[0\]\.host: listener a cannot listen on nowhere\.invalid:\d+: getaddrinfo/])
  t.equal((await client.head('GET /here HTTP/1.1', 'Host: a').response()).text, 'here')
})

t.test('a stop while ports change hands', async t => {
  const port = await freePort()
  const { g, reload } = await start(t, [`name: a, port: ${port}`])
  const reloading = reload([`name: a, port: ${port}, host: 0.0.0.0`])
  await g.gateway.stop()
  t.notOk(await reloading)
  await t.rejects(RawClient.connect(t, port))
})

for (const engine of ['native', 'uws']) {
  t.test(`${engine}: clients that connect all the time`, async t => {
    const port = await freePort()
    const { reload } = await start(t, [`name: a, port: ${port}, engine: ${engine}`])
    let stopped = false
    const refused: string[] = []
    let answered = 0
    const client = async () => {
      while (!stopped) {
        try {
          const response = await fetch(`http://127.0.0.1:${port}/here`, { headers: { connection: 'close' } })
          if ((await response.text()) === 'here') answered++
        } catch (error) {
          refused.push(String((error as { cause?: { code?: string } }).cause?.code))
        }
      }
    }
    const clients = [client(), client()]
    for (let i = 0; i < 6; i++) {
      const before = answered
      t.ok(await reload([`name: a, port: ${port}, engine: ${engine}, host: ${i % 2 === 0 ? '0.0.0.0' : '127.0.0.1'}`]))
      while (answered < before + 20) await new Promise(resolve => setImmediate(resolve))
    }
    stopped = true
    await Promise.all(clients)
    // At most who was about to be accepted as the ports changed hands.
    t.ok(refused.length <= 12, `${refused.length} of ${answered} were refused: ${[...new Set(refused)]}`)
  })
}
