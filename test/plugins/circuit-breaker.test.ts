// circuit-breaker in a running gateway: what opens it, its probes under load, and that every permit comes back.
// Over 300 lines because what opens it, what heals it and what gives permits back is watched on one kind of gateway.
import t from 'tap'
import { Call, Guard } from '../../plugins/circuit-breaker/guard.ts'
import { wheel } from '../../src/clock.ts'
import { registry } from '../../src/metrics.ts'
import { definePlugin, PASS_OVER, type Plugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { BreakerGateway, QUICK, Service } from '../support/breaker.ts'
import { startGateway } from '../support/gateway.ts'
import type { RawClient } from '../support/raw-client.ts'
import type { SeenRequest } from '../support/raw-upstream.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { eventually } from '../support/within.ts'

/** Events of the breaker so far, over all gateways of this process. */
async function counted(): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const { labels, value } of (await registry.getSingleMetric('sluice_plugin_events_total')!.get()).values) {
    if (labels['plugin'] !== 'circuit-breaker') continue
    const event = String(labels['event'])
    found[event] = (found[event] ?? 0) + value
  }
  return found
}

t.test('opens, refuses fast, heals by time, ramps up and closes; each move is told once', async t => {
  const before = await counted()
  const up = await Service.start(t)
  const b = await BreakerGateway.start(t, up, { ...QUICK, openFor: '2s', halfOpenCalls: 2, rampUp: '1s' })
  up.status = 500
  t.same(await b.statuses(2), [500, 500])
  const refused = await b.ask()
  t.equal(refused.status, 503)
  t.match(refused.get('retry-after'), /^[23]$/, 'two seconds, give or take a fifth')
  t.equal(refused.get('content-type'), 'application/problem+json')
  t.match(JSON.parse(refused.text), { code: 'SLUICE_BREAKER_OPEN', status: 503 })
  t.equal(up.seen, 2, 'the upstream has its peace')
  t.match(b.facts(), { state: 'open', opened: 1, refused: 1, openUntil: /^20\d\d-/ })

  up.status = 200
  // No traffic: the log must tell by itself.
  await eventually(
    () => b.moves().includes('half-open'),
    () => `only ${b.moves()}`,
  )
  t.same(await b.statuses(2), [200, 200])
  t.match(b.facts(), { state: 'ramp-up' })
  await eventually(
    () => b.moves().includes('closed'),
    () => `only ${b.moves()}`,
  )
  t.same(b.moves(), ['open', 'half-open', 'ramp-up', 'closed'])
  t.match(
    b.g.log.find(line => line.message === 'circuit breaker is open'),
    {
      level: 'warn',
      fields: { plugin: 'circuit-breaker', upstream: 'up', from: 'closed', reason: 'failures', calls: 2, failures: 2 },
    },
  )
  const after = await counted()
  const added = (event: string) => (after[event] ?? 0) - (before[event] ?? 0)
  t.same(['opened', 'half-opened', 'ramped-up', 'closed', 'refused'].map(added), [1, 1, 1, 1, 1])
})

t.test('a timer stands exactly while time can move it', async t => {
  const states: string[] = []
  const rules = { window: 1000, calls: 0, minimumCalls: 1, failureRate: 0.5, slowRate: 1, consecutiveFailures: 0 }
  const guard = new Guard(
    { route: null, upstream: 'up', endpoint: null },
    { ...rules, openFor: 100, halfOpenCalls: 1, rampUp: 100 },
    (_, move) => states.push(move.to),
  )
  const call = new Call()
  await eventually(
    () => wheel.size === 0,
    () => `${wheel.size} timers of others`,
  )
  t.ok(guard.acquire(wheel.time(), call))
  t.equal(wheel.size, 0, 'closed')
  guard.record(wheel.time(), call, true, false)
  t.equal(wheel.size, 1, 'open')
  await eventually(
    () => states.at(-1) === 'half-open',
    () => `only ${states}`,
  )
  t.equal(wheel.size, 0, 'half-open without a probe')
  t.ok(guard.acquire(wheel.time(), call))
  t.equal(wheel.size, 1, 'a probe may be lost')
  guard.release(wheel.time(), call)
  t.equal(wheel.size, 0, 'it is back')
  t.ok(guard.acquire(wheel.time(), call))
  guard.record(wheel.time(), call, false, false)
  t.equal(wheel.size, 1, 'ramp-up')
  await eventually(
    () => states.at(-1) === 'closed',
    () => `only ${states}`,
  )
  t.equal(wheel.size, 0, 'closed again')
  t.ok(guard.acquire(wheel.time(), call))
  guard.record(wheel.time(), call, true, false)
  guard.close()
  t.equal(wheel.size, 0, 'at its end')
  t.same(states, ['open', 'half-open', 'ramp-up', 'closed', 'open'])
})

t.test(
  'what is a failure: statuses, no connection, a reset, a timeout, nonsense, and a body that breaks off',
  async t => {
    const kinds: Record<string, { readonly status: number } | { readonly act: (request: SeenRequest) => void }> = {
      'a status': { status: 503 },
      'a reset': { act: ({ peer }) => peer.socket.resetAndDestroy() },
      'no answer in time': { act: () => {} },
      nonsense: { act: ({ peer }) => peer.write('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n') },
      'half a body': {
        act({ peer }) {
          peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
          peer.socket.end()
        },
      },
    }
    for (const [kind, how] of Object.entries(kinds)) {
      await t.test(kind, async t => {
        const up = await Service.start(t)
        const b = await BreakerGateway.start(t, up, { ...QUICK, failureRate: '100%' }, { route: { timeout: '300ms' } })
        Object.assign(up, how)
        for (let i = 0; i < 2; i++) await b.ask().catch(() => {})
        await b.g.quiet()
        t.same(b.moves(), ['open'])
        t.equal((await b.ask()).status, 503)
        t.equal(up.seen, 2)
      })
    }
    await t.test('no connection', async t => {
      const up = await Service.start(t)
      const b = await BreakerGateway.start(t, up, QUICK)
      await up.upstream.close()
      t.same(await b.statuses(3), [502, 502, 503])
    })
    await t.test('but not another status', async t => {
      const up = await Service.start(t)
      const b = await BreakerGateway.start(t, up, { ...QUICK, statuses: [503] })
      up.status = 500
      t.same(await b.statuses(5), [500, 500, 500, 500, 500])
      t.match(b.facts(), { state: 'closed', calls: 5, failureRate: 0 })
    })
  },
)

t.test('failures in a row, and the last so many calls', async t => {
  const up = await Service.start(t)
  const b = await BreakerGateway.start(t, up, { ...QUICK, minimumCalls: 1000, consecutiveFailures: 3 })
  for (const [status, times] of [
    [500, 2],
    [200, 1],
    [500, 2],
  ] as const) {
    up.status = status
    await b.statuses(times)
  }
  t.same(b.moves(), [])
  t.same(await b.statuses(2), [500, 503])

  const cut = await Service.start(t)
  const d = await BreakerGateway.start(t, cut, { ...QUICK, minimumCalls: 1000, consecutiveFailures: 3 })
  cut.act = ({ peer }) => {
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
    peer.socket.end()
  }
  for (let i = 0; i < 3; i++) {
    await d.ask().catch(() => {})
    await d.g.quiet()
  }
  t.same(d.moves(), ['open'], 'good heads whose bodies break off are failures in a row, too')

  const other = await Service.start(t)
  const c = await BreakerGateway.start(t, other, { calls: 4, failureRate: '75%', openFor: '5m' })
  for (const status of [500, 500, 200, 200, 500, 200, 500]) {
    other.status = status
    await c.ask()
  }
  t.match(c.facts(), { state: 'closed', calls: 4, failureRate: 0.5 })
  other.status = 500
  t.same(await c.statuses(2), [500, 503], '200 500 500 500 is three of four')
})

t.test('slow calls open: by the head of the answer, however long its body takes', async t => {
  const up = await Service.start(t)
  const b = await BreakerGateway.start(t, up, { ...QUICK, slowCall: { over: '700ms', rate: '60%' } })
  const client = await b.g.connect()
  up.act = request => {
    request.peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab')
    setTimeout(() => request.peer.write('cd'), 900)
  }
  t.equal((await client.head('GET / HTTP/1.1', 'Host: a').response()).text, 'abcd')
  up.act = request => {
    setTimeout(() => request.reply('200 OK', 'late'), 900)
  }
  await b.ask()
  t.match(b.facts(), { state: 'closed', calls: 2, slowRate: 0.5, failureRate: 0 })
  await b.ask()
  t.match(b.g.log.at(-1), { message: 'circuit breaker is open', fields: { reason: 'slow calls', calls: 3, slow: 2 } })
})

t.test('half-open lets exactly halfOpenCalls of 1,000 requests through', async t => {
  const up = await Service.start(t)
  const b = await BreakerGateway.start(t, up, { ...QUICK, openFor: '150ms', halfOpenCalls: 7 })
  const clients: RawClient[] = []
  while (clients.length < 1000) clients.push(...(await Promise.all(Array.from({ length: 50 }, () => b.g.connect()))))
  up.status = 500
  await b.statuses(2)
  await b.state('half-open')
  const before = up.seen
  const held: (() => void)[] = []
  up.act = request => {
    held.push(() => request.reply('200 OK', 'healed'))
  }
  const answers = clients.map(client => client.head('GET / HTTP/1.1', 'Host: a').response('GET', 20_000))
  let refused = 0
  for (const answer of answers)
    void answer.then(({ status }) => {
      if (status === 503) refused++
    })
  await eventually(
    () => refused === 993 && up.seen - before >= 7,
    () => `${refused} were refused, ${up.seen - before} went through`,
    20_000,
  )
  t.equal(up.seen - before, 7)
  t.match(b.facts(), { state: 'half-open', probes: 7, inFlight: 7 })
  up.act = null
  up.status = 200
  for (const answer of held) answer()
  const statuses = (await Promise.all(answers)).map(answer => answer.status)
  t.equal(statuses.filter(status => status === 200).length, 7)
  t.match(b.facts(), { state: 'closed', inFlight: 0 })
  t.same(b.moves(), ['open', 'half-open', 'closed'])
  for (const client of clients) client.destroy()
})

t.test('a client that goes away counts for nothing, closed or half-open, and leaves its permit', async t => {
  const up = await Service.start(t)
  const b = await BreakerGateway.start(t, up, { ...QUICK, openFor: '150ms' })
  const leave = async () => {
    const seen = up.seen
    const client = await b.g.connect()
    client.head('GET / HTTP/1.1', 'Host: a')
    await eventually(
      () => up.seen > seen,
      () => 'it did not arrive',
    )
    client.reset()
    await b.g.quiet()
  }
  up.act = () => {}
  for (let i = 0; i < 4; i++) await leave()
  t.match(b.facts(), { state: 'closed', calls: 0, inFlight: 0 })
  up.act = null
  up.status = 500
  await b.statuses(2)
  await b.state('half-open')
  up.act = () => {}
  for (let i = 0; i < 4; i++) {
    await leave()
    t.match(b.facts(), { state: 'half-open', probes: 0, inFlight: 0 })
  }
  up.act = null
  up.status = 200
  t.same(await b.statuses(1), [200])
  t.same(b.moves(), ['open', 'half-open', 'closed'])
})

t.test('a permit comes back when a plugin behind throws or answers, and when a body is refused', async t => {
  let how: 'throw' | 'answer' | 'again' | 'pass' = 'pass'
  const behind: Plugin = {
    onAttempt(x) {
      if (how === 'again' && !x.exhausted) return PASS_OVER
      if (how === 'throw') throw new Error('broken')
      if (how === 'answer') return { status: 418, headers: [], body: null }
    },
  }
  const definition = definePlugin({
    name: 'behind',
    description: 'Breaks in.',
    options: z.strictObject({}),
    create: () => behind,
  }) as PluginDefinition
  const up = await Service.start(t)
  const b = await BreakerGateway.start(
    t,
    up,
    {},
    { route: { plugins: [{ 'circuit-breaker': { ...QUICK, openFor: '150ms' } }, 'behind'] } },
    { plugins: [definition] },
  )
  up.status = 500
  await b.statuses(2)
  await b.state('half-open')
  for (const [kind, status] of [
    ['throw', 500],
    ['answer', 418],
  ] as const) {
    how = kind
    t.same(await b.statuses(3), [status, status, status])
    t.match(b.facts(), { state: 'half-open', probes: 0, inFlight: 0 })
  }
  // The phase runs twice for the one try, which is one probe.
  how = 'again'
  up.status = 404
  t.same(await b.statuses(1), [404])
  t.same(b.moves().slice(-2), ['half-open', 'closed'])
  how = 'pass'
  up.status = 500
  await b.statuses(2)
  await b.state('half-open')
  // A body that turns out malformed on the way is the client's doing.
  up.act = () => {}
  const client = await b.g.connect()
  client.head('POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked').send('zz\r\n')
  t.equal((await client.response()).status, 400)
  t.match(b.facts(), { state: 'half-open', probes: 0, inFlight: 0 })
  up.act = null
  up.status = 200
  t.same(await b.statuses(1), [200])
})

t.test('each try counts, and a retry is refused as soon as it is open', async t => {
  const up = await Service.start(t)
  const b = await BreakerGateway.start(t, up, QUICK, {
    route: { retry: { attempts: 5, on: [503], backoff: '1ms', budget: '100%' } },
  })
  up.status = 503
  const answer = await b.ask()
  t.match(JSON.parse(answer.text), { code: 'SLUICE_BREAKER_OPEN' })
  t.equal(up.seen, 2)
})

t.test('scope endpoint: a bad one is passed over, all bad are refused, and each heals for itself', async t => {
  const good = await Service.start(t)
  const bad = await Service.start(t)
  bad.status = 500
  const b = await BreakerGateway.start(
    t,
    good,
    { ...QUICK, scope: 'endpoint', openFor: '4s' },
    { up: { endpoints: [good.upstream.address, bad.upstream.address] } },
  )
  t.same(await b.statuses(4), [200, 500, 200, 500])
  t.same(await b.statuses(6), [200, 200, 200, 200, 200, 200])
  t.equal(bad.seen, 2)
  const { endpoints } = b.facts()
  t.match(endpoints![bad.upstream.address], { state: 'open', opened: 1 })
  t.match(endpoints![good.upstream.address], { state: 'closed' })
  good.status = 500
  const statuses = await b.statuses(10)
  t.equal(statuses.at(-1), 503, 'no endpoint is left')
  good.status = 200
  bad.status = 200
  await eventually(
    () => b.moves().filter(move => move === 'half-open').length >= 2,
    () => `only ${b.moves()}`,
  )
  t.same(await b.statuses(4), [200, 200, 200, 200])
  t.match(b.all(), [{ state: 'closed' }, { state: 'closed' }])
})

t.test('state survives a reload that leaves the options as they were, and ends with other options', async t => {
  const up = await Service.start(t)
  up.status = 500
  const text = (openFor: string, more = '') => `listeners: [{ name: web, port: 0 }]
admin: { port: 0 }
shutdown: { grace: 1s }
upstreams: { up: { endpoints: ["${up.upstream.address}"] } }
routes:
  - name: all
    match: { path: /* }
    upstream: up
    retry: { attempts: 0 }
    plugins: [{ circuit-breaker: { minimumCalls: 2, openFor: ${openFor} } }]
${more}`
  const g = await startReloading(t, text('5m'))
  const ask = async () => (await fetch(`http://127.0.0.1:${g.port}/`, { headers: { connection: 'close' } })).status
  t.same([await ask(), await ask(), await ask()], [500, 500, 503])
  t.ok(await g.reload(text('5m', '  - { name: more, match: { path: /more }, upstream: up }\n')))
  t.equal(await ask(), 503)
  const page = await fetch(`http://127.0.0.1:${g.gateway.adminPort}/upstreams`, { headers: { connection: 'close' } })
  t.match(await page.json(), [
    {
      name: 'up',
      state: [{ plugin: 'circuit-breaker', route: 'all', scope: 'upstream', state: 'open', opened: 1, refused: 2 }],
    },
  ])
  t.notOk(await g.reload(text('nonsense')))
  t.equal(await ask(), 503, 'a faulty one changes nothing')
  t.ok(await g.reload(text('4m')))
  t.equal(await ask(), 500)
})

t.test('faults at load, each with its place', async t => {
  const fault = async (options: unknown) => {
    const error = await startGateway(t, {
      up: { endpoints: ['127.0.0.1:1'] },
      route: { plugins: [{ 'circuit-breaker': options }] },
    }).then(
      () => 'it started',
      (error: Error) => error.message,
    )
    return /:\d+:\d+ routes\[0\]\.plugins\[0\]\.circuit-breaker\.?(.*) \(SLUICE_CONFIG_\w+\)$/.exec(error)?.[1] ?? error
  }
  t.equal(
    await fault({ fallback: { upstream: 'nowhere' } }),
    'fallback.upstream: there is no upstream "nowhere"; known: up',
  )
  t.equal(
    await fault({ calls: 10, window: '1s' }),
    'calls: there is a window already; the rates are those of one or the other',
  )
  t.equal(await fault({ calls: 10, minimumCalls: 11 }), 'minimumCalls: can never be reached with 10 calls')
  t.match(await fault({ failureRate: '0%' }), /^failureRate: must be more than 0%/)
  t.match(await fault({ failureRate: '101%' }), /^failureRate: must be at most 100%/)
  t.match(await fault({ failureRate: 0.5 }), /^failureRate: a share is due/)
  t.match(await fault({ openFor: '6m' }), /^openFor: must be at most 5m/)
  t.match(await fault({ halfOpenCalls: 0 }), /^halfOpenCalls: must be at least 1/)
  t.match(await fault({ statuses: [200] }), /^statuses\[0\]: must be at least 400/)
  t.match(await fault({ scope: 'host' }), /^scope: /)
  t.match(await fault({ slowCall: { over: '0ms' } }), /^slowCall\.over: must be at least 1ms/)
  t.match(await fault({ fallback: {} }), /^fallback: a fallback has one of/)
  t.match(await fault({ fallback: { status: 200, stale: '5m' } }), /^fallback\.stale: a fallback has one of/)
  t.match(await fault({ fallback: { upstream: 'up', body: 'x' } }), /^fallback\.body: goes with status/)
  t.match(await fault({ fallback: { status: 204, body: 'x' } }), /^fallback\.body: an answer with this status/)
  t.match(
    await fault({ fallback: { status: 200, headers: { 'content-length': '1' } } }),
    /content-length.*gateway itself/,
  )
  t.match(await fault({ fallback: { status: 200, headers: { 'x-a': 'b\nc' } } }), /^fallback\.headers\.x-a: /)
})
