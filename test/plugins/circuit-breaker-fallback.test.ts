// circuit-breaker's fallbacks through a running gateway: an answer, another upstream, and the last good answer with all that forbids one.
// Over 300 lines because the stale answer, which is most of it, stands beside the fallbacks that it is chosen from.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { StaleAnswers } from '../../plugins/circuit-breaker/stale.ts'
import { definePlugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { BreakerGateway, QUICK, Service } from '../support/breaker.ts'
import { exchange } from '../support/exchange.ts'
import type { GatewayConfig } from '../support/gateway.ts'
import { requestHead } from '../support/request-head.ts'
import { eventually, pause } from '../support/within.ts'

t.test('an answer: status, headers, body; HEAD gets no body', async t => {
  const up = await Service.start(t)
  const headers = { 'content-type': 'application/json', 'x-degraded': 'yes' }
  const b = await BreakerGateway.start(t, up, { ...QUICK, fallback: { status: 203, headers, body: '[]' } })
  up.status = 500
  await b.statuses(2)
  const answer = await b.ask()
  t.match(
    [answer.status, answer.text, answer.get('x-degraded'), answer.get('content-type')],
    [203, '[]', 'yes', /json/],
  )
  const head = await b.ask('/', 'HEAD')
  t.match([head.status, head.text, head.get('content-length')], [203, '', '2'])
  t.equal(up.seen, 2)
})

/** An upstream, one for the fallback, and a gateway with both. */
async function two(t: Test, options: Record<string, unknown>, config: GatewayConfig = {}) {
  const up = await Service.start(t)
  const instead = await Service.start(t)
  instead.body = 'instead'
  const b = await BreakerGateway.start(
    t,
    up,
    { ...QUICK, fallback: { upstream: 'instead' }, ...options },
    { upstreams: { instead: { endpoints: [instead.upstream.address] } }, ...config },
  )
  return { up, instead, b }
}

t.test('another upstream: body and all, with a breaker of its own', async t => {
  const { up, instead, b } = await two(t, {})
  up.status = 500
  await b.statuses(2)
  const client = await b.g.connect()
  client.head('POST /x?y=1 HTTP/1.1', 'Host: a', 'Content-Length: 5').send('hello')
  t.equal((await client.response()).text, 'instead')
  const seen = instead.upstream.requests[0]!
  t.match([seen.method, seen.target, (await seen.whole).toString()], ['POST', '/x?y=1', 'hello'])
  t.equal(up.seen, 2)
  instead.status = 500
  const statuses = await b.statuses(4)
  t.same(statuses.slice(-2), [503, 503])
  t.match(b.facts('instead'), { state: 'open' })
  t.equal(up.seen, 2, 'it does not come back')
})

t.test('another upstream under scope route: the route’s breaker does not judge it', async t => {
  const { up, instead, b } = await two(t, { scope: 'route', openFor: '3s' })
  up.status = 500
  t.same(await b.statuses(4), [500, 500, 200, 200])
  instead.status = 500
  t.same(await b.statuses(4), [500, 500, 500, 500])
  t.match(b.facts('all', 'routes'), { state: 'open', opened: 1 })
  await b.g.quiet()
  up.status = 200
  await eventually(
    () => b.moves().includes('half-open'),
    () => `only ${b.moves()}`,
  )
  t.equal((await b.ask()).text, 'ok')
  t.same(b.moves(), ['open', 'half-open', 'closed'])
})

t.test('another upstream under scope endpoint: when no endpoint is left', async t => {
  const { up, instead, b } = await two(t, { scope: 'endpoint' })
  up.status = 500
  t.same(await b.statuses(4), [500, 500, 200, 200])
  instead.status = 500
  t.same(await b.statuses(3), [500, 500, 503], 'two of its four failed')
})

t.test('two breakers that send a request to each other’s upstream come to an end', async t => {
  const up = await Service.start(t)
  const other = await Service.start(t)
  up.status = 500
  other.status = 500
  const b = await BreakerGateway.start(
    t,
    up,
    {},
    {
      upstreams: { other: { endpoints: [other.upstream.address] } },
      route: {
        plugins: [
          { 'circuit-breaker': { ...QUICK, fallback: { upstream: 'other' } } },
          { 'circuit-breaker': { ...QUICK, fallback: { upstream: 'up' } } },
        ],
      },
    },
  )
  const statuses = await b.statuses(8)
  t.same(statuses.slice(0, 2), [500, 500])
  t.same(statuses.slice(-2), [503, 503])
  t.equal(up.seen + other.seen <= 6, true)
})

/** A breaker with `stale`, whose first answers were these. */
async function stale(t: Test, options: Record<string, unknown> = {}, config: GatewayConfig = {}, more = {}) {
  const up = await Service.start(t)
  const fallback = { stale: '5m', ...options }
  const b = await BreakerGateway.start(t, up, { ...QUICK, minimumCalls: 1, failureRate: '1%', fallback }, config, more)
  return {
    up,
    b,
    /** From now on it is open. */
    fail: async () => {
      up.status = 500
      t.equal((await b.ask('/fails')).status, 500)
    },
  }
}

t.test('stale: the last good answer, with its fields and its Age', async t => {
  const { up, b, fail } = await stale(t)
  up.body = 'first'
  up.fields = ['ETag: "1"', 'Age: 40', 'Content-Type: text/x', 'Host: up']
  const fresh = await b.ask('/a?b=c')
  up.body = 'x'.repeat(100_000)
  await b.ask('/large')
  await fail()
  const answer = await b.ask('/a?b=c')
  t.match([answer.status, answer.text, answer.get('etag'), answer.get('content-type')], [200, 'first', '"1"', 'text/x'])
  t.match(answer.all('age'), [/^4\d$/])
  t.equal(answer.get('via'), fresh.get('via'))
  t.equal((await b.ask('/large')).text, 'x'.repeat(100_000))
  for (const [path, method] of [
    ['/a?b=d', 'GET'],
    ['/a', 'GET'],
    ['/a?b=c', 'POST'],
    ['/a?b=c', 'HEAD'],
  ] as const)
    t.equal((await b.ask(path, method)).status, 503, `${method} ${path}`)
})

t.test('stale: an answer that came chunked announces no trailers', async t => {
  const { up, b, fail } = await stale(t)
  up.act = request =>
    void request.peer.write(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n',
    )
  t.equal((await b.ask('/a')).get('trailer'), 'X-T')
  up.act = null
  await fail()
  const answer = await b.ask('/a')
  t.match([answer.status, answer.text, answer.get('trailer')], [200, 'ok', ''])
})

t.test('stale: the last of several good answers in quick succession', async t => {
  const { up, b, fail } = await stale(t)
  for (const version of ['v1', 'v2', 'v3']) {
    up.body = version
    t.equal((await b.ask('/a')).text, version)
  }
  await fail()
  t.equal((await b.ask('/a')).text, 'v3')
})

t.test('stale: of two answers at once the one that began last stays, whichever ends last', async t => {
  const { up, b, fail } = await stale(t)
  const ends: (() => void)[] = []
  up.act = ({ peer }) => {
    const version = `v${ends.length + 1}`
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
    peer.write(version)
    ends.push(() => peer.write('end'))
  }
  const answers: Promise<unknown>[] = []
  for (const count of [1, 2]) {
    answers.push(b.ask('/a'))
    await eventually(
      () => ends.length === count && b.facts().calls === count,
      () => `${ends.length} arrived`,
    )
    // The clock of the gateway goes by steps of 20 ms.
    await pause(50)
  }
  ends[1]!()
  await answers[1]
  ends[0]!()
  await answers[0]
  up.act = null
  await fail()
  t.equal((await b.ask('/a')).text, 'v2end')
})

t.test('stale: what must not be kept is not', async t => {
  const { up, b, fail } = await stale(t)
  const cases: Record<string, { fields?: string[]; asked?: string[]; status?: number; kept: boolean }> = {
    plain: { kept: true },
    cookie: { fields: ['Set-Cookie: a=b'], kept: false },
    private: { fields: ['Cache-Control: max-age=60, Private'], kept: false },
    'private-field': { fields: ['Cache-Control: private="x-a, x-b"'], kept: false },
    'no-store': { fields: ['Cache-Control: max-age=60', 'Cache-Control: no-store'], kept: false },
    'no-cache': { fields: ['Cache-Control: no-cache'], kept: false },
    'must-revalidate': { fields: ['Cache-Control: must-revalidate'], kept: false },
    'revalidate-fresh': { fields: ['Cache-Control: max-age=60, must-revalidate'], kept: true },
    's-maxage': { fields: ['Cache-Control: s-maxage=0, max-age=60'], kept: false },
    's-maxage-fresh': { fields: ['Cache-Control: s-maxage=60'], kept: true },
    's-maxage-old': { fields: ['Cache-Control: s-maxage=60', 'Age: 60'], kept: false },
    'vary-all': { fields: ['Vary: accept, *'], kept: false },
    created: { status: 201, kept: false },
    partial: { status: 206, kept: false },
    'asked-no-store': { asked: ['Cache-Control: no-store'], kept: false },
    authorization: { asked: ['Authorization: Basic YTpi'], kept: false },
    'authorization-public': { asked: ['Authorization: Basic YTpi'], fields: ['Cache-Control: public'], kept: true },
    'with-cookie': { asked: ['Cookie: session=1'], kept: false },
  }
  for (const [name, { fields = [], asked = [], status = 200 }] of Object.entries(cases)) {
    Object.assign(up, { status, fields })
    await b.ask(`/${name}`, 'GET', ...asked)
  }
  await fail()
  for (const [name, { asked = [], kept }] of Object.entries(cases)) {
    t.equal((await b.ask(`/${name}`)).status, kept ? 200 : 503, name)
    t.equal((await b.ask(`/${name}`, 'GET', ...asked)).status, kept ? 200 : 503, `${name}, asked the same`)
  }
  t.equal((await b.ask('/plain', 'GET', 'Authorization: Basic YTpi')).status, 503, 'a known client is not given it')
  t.equal((await b.ask('/authorization-public', 'GET', 'Cookie: a=b')).status, 200)
})

t.test('stale: an identified client’s answer is its own, whatever it was identified by', async t => {
  const identify = definePlugin({
    name: 'identify',
    description: 'Names the consumer.',
    options: z.strictObject({}),
    create: () => ({
      onRequest(x) {
        const key = x.requestHeader('x-key')
        if (key !== undefined) x.consumer = key
      },
    }),
  }) as PluginDefinition
  const { b, fail } = await stale(t, {}, { plugins: ['identify'] }, { plugins: [identify] })
  await b.ask('/mine', 'GET', 'X-Key: anna')
  await fail()
  for (const key of ['anna', 'bert']) t.equal((await b.ask('/mine', 'GET', `X-Key: ${key}`)).status, 503)
  t.equal((await b.ask('/mine')).status, 503)
})

t.test('stale: what a GET with a body asks for stands in it, and is never answered with something else', async t => {
  const { up, b, fail } = await stale(t)
  const search = async (words: string, framing = `Content-Length: ${words.length}`, body = words) => {
    const client = await b.g.connect()
    const response = await client.head('GET /search HTTP/1.1', 'Host: a', framing).send(body).response()
    client.destroy()
    return response
  }
  up.body = 'cats'
  t.equal((await search('cats')).text, 'cats')
  await fail()
  t.equal((await search('dogs')).status, 503)
  t.equal((await search('dogs', 'Transfer-Encoding: chunked', '4\r\ndogs\r\n0\r\n\r\n')).status, 503)
  t.equal((await b.ask('/search')).status, 503, 'nor is it kept for one without')

  const other = await stale(t)
  other.up.body = 'all'
  await other.b.ask('/search')
  await other.fail()
  t.equal((await other.b.ask('/search')).text, 'all')
  const client = await other.b.g.connect()
  const dogs = client.head('GET /search HTTP/1.1', 'Host: a', 'Content-Length: 4').send('dogs')
  t.equal((await dogs.response()).status, 503)
  client.destroy()
})

t.test('stale: Vary tells requests apart, and a body that breaks off is not kept', async t => {
  const { up, b, fail } = await stale(t)
  up.fields = ['Vary: Accept-Language, X-A']
  up.body = 'deutsch'
  await b.ask('/v', 'GET', 'Accept-Language: de')
  up.fields = []
  up.body = 'whole'
  await b.ask('/cut')
  await fail()
  t.equal((await b.ask('/v', 'GET', 'Accept-Language: de')).text, 'deutsch')
  t.equal((await b.ask('/v', 'GET', 'Accept-Language: fr')).status, 503)
  t.equal((await b.ask('/v', 'GET', 'Accept-Language: de', 'X-A: 1')).status, 503)
  t.equal((await b.ask('/v')).status, 503)
  t.equal((await b.ask('/cut')).text, 'whole')

  const other = await stale(t)
  other.up.act = ({ peer }) => {
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
    peer.socket.end()
  }
  await other.b.ask('/cut').catch(() => {})
  await other.b.g.quiet()
  t.equal((await other.b.ask('/cut')).status, 503)
})

t.test('stale: response plugins run over it once, as over a fresh one', async t => {
  const adds = (name: string) => ({ headers: { response: { add: { [name]: '1' } } } })
  const breaker = { 'circuit-breaker': { ...QUICK, minimumCalls: 1, failureRate: '1%', fallback: { stale: '5m' } } }
  const plugins = [adds('x-before'), breaker, adds('x-behind')]
  const { up, b, fail } = await stale(t, {}, { route: { plugins } })
  up.body = 'kept'
  const fresh = await b.ask('/a')
  await fail()
  const again = await b.ask('/a')
  t.equal(again.text, 'kept')
  for (const name of ['x-before', 'x-behind']) t.same([fresh.all(name), again.all(name)], [['1'], ['1']], name)
})

/** An exchange whose answer is at its head. */
function answered(path: string, body: Buffer, fields: string[] = []) {
  const x = exchange(requestHead('GET', 'h', path))
  x.upstream = { name: 'up' } as never
  x.response = { status: 200, hasDate: false, headers: fields, bodyLength: body.length }
  return x
}

function take(cache: StaleAnswers, path: string, body: Buffer, now: number): boolean {
  const capture = cache.begin(answered(path, body), now)
  if (capture === null || !cache.push(capture, body)) return false
  cache.keep(capture)
  return true
}

t.test('stale: age, entries and bytes are bounded', async t => {
  const cache = new StaleAnswers(10_000, 3, 40_000)
  const body = (n: number) => Buffer.alloc(n, 'x')
  for (const path of ['/a', '/b', '/c', '/d']) t.ok(take(cache, path, body(10), 0))
  t.equal(cache.size, 3)
  const has = (path: string, now = 0) => cache.answer(answered(path, body(0)), now) !== null
  t.same(
    ['/a', '/b', '/c', '/d'].map(path => has(path)),
    [false, true, true, true],
    'the oldest leaves',
  )
  t.same([has('/b', 9999), has('/b', 10_000)], [true, false])
  t.equal(cache.size, 2, 'too old is let go of')

  t.notOk(take(cache, '/large', body(10_001), 0), 'more than a quarter of all')
  for (let i = 0; i < 100; i++) {
    take(cache, `/many${i}`, body(10_000), 0)
    t.ok(cache.used <= 40_000, { diagnostic: false })
  }
  t.ok(has('/many99'))

  // As many at once as may be taken down; those that come to nothing leave nothing.
  const before = cache.used
  const captures = Array.from({ length: 20 }, (_, i) => cache.begin(answered(`/open${i}`, body(0)), 0))
  for (const capture of captures) if (capture !== null) cache.push(capture, body(10_000))
  t.ok(cache.used <= 80_000)
  for (const capture of captures) if (capture !== null) cache.drop(capture)
  t.equal(cache.used, before)

  const kept = cache.size
  for (let i = 0; i < 100; i++) t.ok(take(cache, '/many99', body(i), 0), { diagnostic: false })
  t.equal(cache.size, kept, 'a new answer takes the place of the old one')
  t.ok(cache.used <= before, 'and its memory')
  const { body: last } = cache.answer(answered('/many99', body(0)), 0)!
  t.equal((last as Buffer).buffer.byteLength, 99, 'no slice of memory that it shares with others')
})

t.test('stale: what is kept of a request keeps not all of its head', t => {
  const cache = new StaleAnswers(10_000, 1000, 4_000_000)
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 400; i++) {
    const head = Buffer.from(`/orders/${10_000 + i} gzip, deflate, br${'p'.repeat(200_000)}`).toString('latin1')
    const x = answered(head.substring(0, 13), Buffer.alloc(0), ['vary', 'accept-encoding'])
    x.head.headers.push('accept-encoding', head.substring(14, 31))
    cache.keep(cache.begin(x, 0)!)
  }
  collect()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(cache.size === 400 && grown < 10_000_000, `${cache.size} answers to requests of 80 MB take ${grown} bytes`)
  t.end()
})
