// The keys of jwt over real HTTP: rotation, outages, storms of unknown ids and lies, with hours that pass when told.
// Over 300 lines because every case plays the same kind of server and the same clock.
import { rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import jwt, { createJwt } from '../../plugins/jwt/index.ts'
import { acquireJwks, type JwksObserver, JwksSource, keepFor } from '../../plugins/jwt/jwks.ts'
import { definePlugin, type PluginDefinition } from '../../src/plugin-api.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startGateway } from '../support/gateway.ts'
import { JwksServer } from '../support/jwks-server.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { type Signer, signer, token } from '../support/tokens.ts'
import { eventually, within } from '../support/within.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

interface Line {
  readonly level: string
  readonly message: string
  readonly fields: Record<string, unknown> | undefined
}

class Observer implements JwksObserver {
  readonly lines: Line[] = []
  readonly counts = { jwks_refreshed: 0, jwks_failed: 0 }

  log(level: string, message: string, fields?: Record<string, unknown>): void {
    this.lines.push({ level, message, fields })
  }

  count(event: 'jwks_refreshed' | 'jwks_failed'): void {
    this.counts[event]++
  }

  get fetches(): number {
    return this.counts.jwks_refreshed + this.counts.jwks_failed
  }

  /** Wait for the n-th fetch to be over. */
  fetched(count: number): Promise<void> {
    return eventually(
      () => this.fetches >= count,
      () => `${this.fetches} fetches are over instead of ${count}`,
    )
  }
}

/** A gateway whose jwt has its time from `clock`. */
async function start(t: Test, clock: FakeClock, url: string, options: object = {}) {
  const timed = definePlugin({
    ...jwt,
    name: 'timed',
    create: (given, context) => createJwt(given, context, clock),
  }) as PluginDefinition
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    { up: { endpoints: [up.address] }, plugins: [{ timed: { issuers: [{ jwks: url }], ...options } }] },
    { plugins: [timed] },
  )
  const answer = async (text: string) => {
    const client = await RawClient.connect(t, gateway.port)
    const response = await client.head('GET / HTTP/1.1', 'Host: h.test', `Authorization: Bearer ${text}`).response()
    client.destroy()
    return response
  }
  const status = async (text: string) => (await answer(text)).status
  const facts = () => [...gateway.snapshot.sites.values()][0]!.plugin.inspect!() as { cached: number }
  return { gateway, up, answer, status, facts }
}

/** A token by the fake clock's time. */
function timed(clock: FakeClock, by: Signer, claims: object = {}): string {
  const now = Math.floor(clock.now() / 1000)
  return token(by, { iat: now, exp: now + 100 * 3600, ...claims })
}

const one = signer('ES256', 'one')
const two = signer('ES256', 'two')

t.test('rotation without a failed request', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t, [one.jwk])
  const { status } = await start(t, clock, jwks.url)
  const old = timed(clock, one)
  t.equal(await status(old), 200)
  jwks.serve([one.jwk, two.jwk])
  const fresh = Array.from({ length: 50 }, (_, i) => timed(clock, two, { jti: String(i) }))
  const statuses = await Promise.all([...fresh.map(status), ...fresh.map(() => status(old))])
  t.ok(
    statuses.every(each => each === 200),
    'both keys, from the first request on',
  )
  t.equal(jwks.requests.length, 2, 'fifty waited for one fetch')

  jwks.serve([two.jwk])
  clock.pass(10 * MINUTE)
  await jwks.asked(3)
  await eventually(
    () => clock.pending === 1,
    () => 'the refresh is not over',
  )
  t.equal(await status(old), 401, 'a remembered token leaves with its key')
  t.equal(await status(fresh[0]!), 200, 'the others stay')
})

t.test('a remembered token past its exp', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t, [one.jwk])
  const { status, facts } = await start(t, clock, jwks.url, { leeway: '10s' })
  const brief = timed(clock, one, { exp: Math.floor(clock.now() / 1000) + 60 })
  t.equal(await status(brief), 200)
  t.equal(await status(brief), 200)
  t.match(facts(), { cached: 1 })
  clock.pass(61_000)
  t.equal(await status(brief), 200, 'within the leeway, verified anew')
  t.match(facts(), { cached: 0 }, '… and no longer remembered')
  clock.pass(10_000)
  t.equal(await status(brief), 401)
})

t.test('a storm of unknown ids', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t, [one.jwk])
  const { gateway, status } = await start(t, clock, jwks.url)
  t.equal(await status(timed(clock, one)), 200)
  const template = timed(clock, two).split('.')
  const storm = async (count: number) => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(t, gateway.port)))
    let refused = 0
    await Promise.all(
      clients.map(async (client, c) => {
        for (let i = c; i < count; i += clients.length) {
          const kid = Buffer.from(JSON.stringify({ alg: 'ES256', kid: `${count}-${i}` })).toString('base64url')
          client.head(
            'GET / HTTP/1.1',
            'Host: h.test',
            `Authorization: Bearer ${[kid, ...template.slice(1)].join('.')}`,
          )
          if ((await client.response()).status === 401) refused++
        }
        client.destroy()
      }),
    )
    t.equal(refused, count)
  }
  await storm(10_000)
  t.equal(jwks.requests.length, 2, 'ten thousand led to one fetch')
  clock.pass(29_999)
  await storm(100)
  t.equal(jwks.requests.length, 2)
  clock.pass(1)
  await storm(100)
  t.equal(jwks.requests.length, 3, 'one more after 30 s')
  t.equal(await status(timed(clock, one)), 200, 'the known go on')
})

t.test('outage: the old keys count for a day', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t, [one.jwk])
  const { gateway, status, answer } = await start(t, clock, jwks.url)
  t.equal(await status(timed(clock, one)), 200)
  // The server keeps its port: another test could come to listen there, and serve keys of its own.
  jwks.answer = response => response.destroy()
  /** Let time pass in the steps in which something is due, each to its end. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; ) {
      const step = Math.min(clock.next, left)
      const due = clock.next <= left
      clock.pass(step)
      left -= step
      // More than a thousand times: without a pause between the looks.
      if (due) while (clock.pending !== 1) await new Promise(setImmediate)
    }
  }
  await pass(10 * MINUTE)
  const pauses: number[] = []
  for (let i = 0; i < 8; i++) {
    pauses.push(clock.next)
    await pass(clock.next)
  }
  t.same(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  t.equal(await status(timed(clock, one)), 200, 'a new token of an old key')
  t.equal(await status(timed(clock, two)), 401, 'an unknown key')
  await pass(23 * HOUR)
  t.equal(await status(timed(clock, one)), 200, 'after 23 hours')
  const remembered = timed(clock, one, { jti: 'r' })
  t.equal(await status(remembered), 200)
  await pass(HOUR)
  const late = await answer(timed(clock, one))
  t.equal(late.status, 503, 'after a day nobody can tell')
  t.match(late.text, /SLUICE_STORE_UNAVAILABLE/)
  t.equal(await status(remembered), 503, 'not even of what was remembered')
  const lines = gateway.log.filter(line => line.fields.plugin === 'timed').map(line => `${line.level} ${line.message}`)
  t.same(lines, [
    'warn the keys cannot be fetched',
    'error the keys could not be fetched for a day and no longer count',
  ])

  jwks.serve([two.jwk])
  const asked = jwks.requests.length
  await pass(MINUTE)
  t.equal(jwks.requests.length, asked + 1)
  t.equal(await status(timed(clock, two)), 200, 'healed by itself')
  t.equal(await status(timed(clock, one)), 401)
})

t.test('what is told of a key set shows no parameter of its URL, which may hold a key', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t)
  const { gateway, facts } = await start(t, clock, `${jwks.url}?code=hush`)
  const line = () => gateway.log.find(({ message }) => message === 'the keys cannot be fetched')
  await eventually(
    () => line() !== undefined,
    () => 'no failure is logged',
  )
  t.equal(line()!.fields.url, jwks.url)
  t.same(jwks.requests, ['/jwks.json?code=hush'], 'it is asked for as it stands')
  t.notMatch(JSON.stringify(facts()), /hush/)
})

t.test('keys that were never fetched', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t)
  const { answer, status } = await start(t, clock, jwks.url)
  await eventually(
    () => clock.pending === 1,
    () => 'the first fetch is not over',
  )
  const first = await answer(timed(clock, one))
  t.equal(first.status, 503)
  t.equal(first.get('retry-after'), '1')
  t.equal(first.get('www-authenticate'), '')
  t.equal(await status('x.y.z'), 401, 'what is bad whoever signed it')
  t.equal(jwks.requests.length, 1, 'requests do not fetch')
  clock.pass(-HOUR)
  t.ok(Number((await answer(timed(clock, one))).get('retry-after')) <= 60, 'whatever becomes of the clock')
  clock.pass(HOUR)
  jwks.serve([one.jwk])
  clock.pass(1000)
  await eventually(
    () => clock.pending === 1,
    () => 'the second fetch is not over',
  )
  t.equal(await status(timed(clock, one)), 200)
})

t.test('requests wait for the first fetch', async t => {
  const jwks = await JwksServer.start(t)
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  jwks.answer = async response => {
    await held
    response.end(JSON.stringify({ keys: [one.jwk] }))
  }
  const up = await RawUpstream.start(t)
  const starting = startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [{ jwt: { issuers: [{ jwks: jwks.url }] } }],
  })
  const gateway = await within(10_000, starting, () => 'the start waits for the keys')
  const client = await gateway.connect()
  client.head('GET / HTTP/1.1', 'Host: h.test', `Authorization: Bearer ${token(one)}`)
  await jwks.asked(1)
  t.equal(client.received, 0)
  release()
  t.equal((await client.response()).status, 200)
})

t.test('a client that goes away while its token waits for keys', async t => {
  const jwks = await JwksServer.start(t)
  jwks.answer = () => {}
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [{ jwt: { issuers: [{ jwks: jwks.url }] } }],
  })
  const client = await gateway.connect()
  client.head('GET / HTTP/1.1', 'Host: h.test', `Authorization: Bearer ${token(one)}`)
  await eventually(
    () => gateway.snapshot.inFlight === 1,
    () => 'the request did not come',
  )
  client.reset()
  await gateway.quiet()
  t.equal(up.requests.length, 0)
})

t.test('a key set is asked for as it is; one that comes compressed all the same is told as that', async t => {
  const clock = new FakeClock()
  const observer = new Observer()
  const jwks = await JwksServer.start(t)
  const compressed = gzipSync(JSON.stringify({ keys: [one.jwk] }))
  let heeds = true
  // Without the field any coding would do (RFC 9110 12.5.3).
  jwks.answer = (response, { headers }) => {
    if (heeds && headers['accept-encoding'] === 'identity') response.end(JSON.stringify({ keys: [one.jwk] }))
    else response.writeHead(200, { 'content-encoding': 'gzip' }).end(compressed)
  }
  const source = new JwksSource(jwks.url, clock)
  source.observers.push(observer)
  t.teardown(() => source.close())
  source.start()
  await observer.fetched(1)
  t.equal(source.current?.keys.length, 1)
  heeds = false
  clock.pass(10 * MINUTE)
  await observer.fetched(2)
  t.equal(observer.lines.at(-1)?.fields?.['error'], 'the answer is no JSON, its Content-Encoding is gzip')
})

t.test('lies', async t => {
  const clock = new FakeClock()
  const observer = new Observer()
  const jwks = await JwksServer.start(t, [one.jwk])
  const elsewhere = await JwksServer.start(t, [two.jwk])
  const source = new JwksSource(jwks.url, clock, 1000)
  source.observers.push(observer)
  t.teardown(() => source.close())
  source.start()
  await observer.fetched(1)
  const good = source.current
  t.equal(good?.keys.length, 1)
  const html = '<html><body>Welcome to the hotel</body></html>'
  const lies: Record<string, () => void> = {
    HTML: () => jwks.reply(200, html, { 'content-type': 'text/html' }),
    'HTML with 500': () => jwks.reply(500, html),
    nothing: () => jwks.reply(200, ''),
    '204': () => jwks.reply(204, ''),
    'half a JSON': () => jwks.reply(200, JSON.stringify({ keys: [two.jwk] }).slice(0, -9)),
    null: () => jwks.reply(200, 'null'),
    'a list': () => jwks.reply(200, '[]'),
    'no keys': () => jwks.reply(200, '{"error":"x"}'),
    'keys that are none': () => jwks.reply(200, '{"keys":["a",null]}'),
    'keys as an object': () => jwks.reply(200, '{"keys":{"0":{}}}'),
    'too many keys': () => jwks.reply(200, JSON.stringify({ keys: Array(201).fill(two.jwk) })),
    '10 MB': () => jwks.reply(200, Buffer.alloc(10_000_000, 0x20)),
    'a redirect to another host': () => jwks.reply(302, '', { location: elsewhere.url }),
    'a redirect to itself': () => jwks.reply(307, '', { location: jwks.url }),
    'a broken connection': () => {
      jwks.answer = response => response.socket!.destroy()
    },
    'half an answer': () => {
      jwks.answer = response => {
        response.writeHead(200, { 'content-length': '1000' }).write('{"keys":[')
        setImmediate(() => response.socket!.destroy())
      }
    },
    'no answer': () => {
      jwks.answer = () => {}
    },
    'an answer that drips': () => {
      jwks.answer = response => {
        response.writeHead(200)
        const drip = setInterval(() => response.write(' '), 20)
        response.on('close', () => clearInterval(drip))
      }
    },
    'no HTTP': () => {
      jwks.answer = response => response.socket!.end('SSH-2.0-OpenSSH_9.2\r\n')
    },
  }
  let failed = 0
  for (const [what, lie] of Object.entries(lies)) {
    lie()
    failed++
    clock.pass(clock.next)
    await observer.fetched(1 + failed)
    t.equal(observer.counts.jwks_failed, failed, what)
    t.equal(source.current, good, `${what}: the old keys stay`)
  }
  t.equal(elsewhere.requests.length, 0, 'no redirect was followed')
  t.equal(observer.lines.filter(line => line.level === 'warn').length, 1, 'told once')

  const odd = [null, 'a', 7, [], { kty: 'oct', k: 'AAAA' }, { kty: 'RSA', n: 'x', e: 'AQAB' }, { kty: 'new' }]
  // As some editor wrote it, with a byte order mark.
  jwks.reply(200, `\ufeff${JSON.stringify({ keys: [...odd, { ...two.jwk, use: 'enc' }, one.jwk] })}`)
  clock.pass(clock.next)
  await observer.fetched(2 + failed)
  t.equal(source.current!.keys.length, 1, 'single keys that are no use are left out')
  t.equal(source.current!.keys[0], good!.keys[0], 'the same key is the same object')
  t.match(observer.lines.at(-1), { message: 'some keys are left out' })
  jwks.serve([])
  clock.pass(clock.next)
  await observer.fetched(3 + failed)
  t.same(source.current!.keys, [], 'an issuer may take all of its keys back')
  t.equal(good!.keys[0]!.live, false)
})

t.test('how long an answer is kept', async t => {
  const of = (control?: string, age?: string) => keepFor({ 'cache-control': control, age }) / 1000
  t.equal(of(), 600)
  t.equal(of('public'), 600)
  t.equal(of('public, max-age=1200, must-revalidate'), 1200)
  t.equal(of('Max-Age=1200'), 1200)
  t.equal(of('max-age="1200"'), 1200)
  t.equal(of('max-age=1200', '200'), 1000)
  t.equal(of('s-maxage=9000'), 600, 'not what shared caches are told')
  t.equal(of('max-age=1'), 60)
  t.equal(of('max-age=0'), 60)
  t.equal(of('max-age=-1'), 600)
  t.equal(of('max-age=99999999999999'), 86_400)
  t.equal(of(`max-age=${'9'.repeat(400)}`, '200'), 86_400)
  t.equal(of('max-age=999999999'), 86_400)
  t.equal(of('no-store'), 60)
  t.equal(of('max-age=9000, no-cache'), 60)

  const clock = new FakeClock()
  const observer = new Observer()
  const jwks = await JwksServer.start(t)
  jwks.serve([one.jwk], { 'cache-control': 'public, max-age=3600' })
  const source = new JwksSource(jwks.url, clock)
  source.observers.push(observer)
  t.teardown(() => source.close())
  source.start()
  await observer.fetched(1)
  t.equal(clock.next, HOUR)
})

t.test('one source for all who name its URL', async t => {
  const clock = new FakeClock()
  const [a, b] = [new Observer(), new Observer()]
  const jwks = await JwksServer.start(t, [one.jwk])
  const first = acquireJwks(jwks.url, a, clock)
  const second = acquireJwks(jwks.url, b, clock)
  t.equal(first.source, second.source)
  await a.fetched(1)
  t.equal(b.fetches, 0, 'told to one of them')
  const [key] = first.source.current!.keys
  first.release()
  first.release()
  t.equal(second.source.current!.keys[0], key, 'still there')
  clock.pass(10 * MINUTE)
  await b.fetched(1)
  second.release()
  t.equal(key!.live, false)
  t.equal(clock.pending, 0, 'no timer is left')
  const third = acquireJwks(jwks.url, a, clock)
  t.not(third.source, first.source)
  await a.fetched(2)
  third.release()
})

t.test('closing while a fetch is under way', async t => {
  const clock = new FakeClock()
  const jwks = await JwksServer.start(t)
  jwks.answer = () => {}
  const source = new JwksSource(jwks.url, clock)
  source.start()
  const waiting = source.first!
  await jwks.asked(1)
  source.close()
  await waiting
  t.equal(clock.pending, 0)
  t.equal(source.current, null)
})

t.test('a reload that changes options keeps the keys and fetches nothing', async t => {
  const jwks = await JwksServer.start(t, [one.jwk])
  const config = (leeway: string) =>
    `listeners: [{ name: web, port: 0 }]
admin: off
plugins: [{ jwt: { issuers: [{ jwks: "${jwks.url}" }], leeway: ${leeway} } }]
routes: [{ name: all, match: { path: /* }, respond: { status: 200, body: ok } }]
`
  const g = await startReloading(t, config('30s'))
  const status = async () => {
    const client = await RawClient.connect(t, g.port)
    const { status } = await client.head('GET / HTTP/1.1', 'Host: h', `Authorization: Bearer ${token(one)}`).response()
    client.destroy()
    return status
  }
  t.equal(await status(), 200)
  jwks.answer = response => response.writeHead(500).end()
  for (const leeway of ['10s', '20s', '20s']) {
    t.equal(await g.reload(config(leeway)), true)
    t.equal(await status(), 200)
  }
  t.equal(jwks.requests.length, 1)
})

t.test('a key in a file counts as the file said at the last reload', async t => {
  const up = await RawUpstream.start(t)
  const config = (source: string) => `listeners: [{ name: web, port: 0 }]
admin: off
upstreams: { up: { endpoints: ["${up.address}"] } }
routes: [{ name: all, match: { path: /* }, upstream: up, plugins: [{ jwt: { issuers: [${source}] } }] }]
`
  const pem = ({ publicKey }: Signer) => publicKey.export({ type: 'spki', format: 'pem' })
  const set = ({ jwk }: Signer) => JSON.stringify({ keys: [jwk] })
  const g = await startReloading(t, config(`{ secret: ${'x'.repeat(32)} }`))
  const file = join(dirname(g.file), 'keys')
  const status = async (by: Signer) => {
    const client = await RawClient.connect(t, g.port)
    const { status } = await client.head('GET / HTTP/1.1', 'Host: h', `Authorization: Bearer ${token(by)}`).response()
    client.destroy()
    return status
  }
  for (const [source, write] of [
    ['{ key: keys }', pem],
    ['{ jwksFile: keys }', set],
  ] as const) {
    writeFileSync(file, write(one))
    t.equal(await g.reload(config(source)), true)
    t.same([await status(one), await status(two)], [200, 401], source)
    const plugin = () => [...g.gateway.snapshot.sites.values()][0]!.plugin
    const before = plugin()
    t.equal(await g.gateway.reload(), true)
    t.equal(plugin(), before, 'the same file is no change')
    writeFileSync(file, write(two))
    t.same([await status(one), await status(two)], [200, 401], 'nothing changes by itself')
    t.equal(await g.gateway.reload(), true)
    t.same([await status(one), await status(two)], [401, 200], `${source}, renewed`)
    rmSync(file)
    t.equal(await g.gateway.reload(), false, 'a reload without it is refused')
    t.same([await status(one), await status(two)], [401, 200])
  }
})
