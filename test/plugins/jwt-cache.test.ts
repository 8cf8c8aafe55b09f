// The memory of verified tokens: bounded, exact, and no longer than exp and key; and that a hit is no promise.
import fc from 'fast-check'
import t from 'tap'
import { createJwt } from '../../plugins/jwt/index.ts'
import { Key } from '../../plugins/jwt/keys.ts'
import { options } from '../../plugins/jwt/options.ts'
import { TokenCache, type Verified } from '../../plugins/jwt/token-cache.ts'
import type { PluginContext } from '../../src/plugin-api.ts'
import { exchange } from '../support/exchange.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { requestHead } from '../support/request-head.ts'
import { compact, standard } from '../support/tokens.ts'

const key = () => new Key(Buffer.alloc(32), 'oct')

function verified(by: Key, until = Number.POSITIVE_INFINITY): Verified {
  return { claims: {}, key: by, until, consumer: null, allowed: true, headers: [] }
}

t.test('what is found is what was put there, of that very text', async t => {
  const cache = new TokenCache(10)
  const one = verified(key(), 1000)
  cache.set('header.payload.signature-that-is-longer-than-the-tail', one)
  const text = 'header.payload.signature-that-is-longer-than-the-tail'
  t.equal(cache.get(text, 999), one)
  t.equal(cache.get(`x${text}`, 999), null, 'another text with the same end')
  t.equal(cache.get(text.slice(1), 999), null)
  t.equal(cache.get(text, 1000), null, 'not from exp on')
  t.equal(cache.size, 0, 'and it is gone')
  cache.set(text, one)
  one.key.live = false
  t.equal(cache.get(text, 0), null, 'not without its key')
  t.equal(cache.size, 0)
  cache.set('short', one)
  t.equal(cache.get('', 0), null)
})

t.test('never more than its limit; what is used stays longer', async t => {
  const cache = new TokenCache(100)
  const by = key()
  const hot = 'hot'.padStart(40, 'h')
  cache.set(hot, verified(by))
  for (let i = 0; i < 10_000; i++) {
    cache.set(`${i}`.padStart(40, 'x'), verified(by))
    if (cache.size > 100) t.fail(`${cache.size} entries`)
    if (cache.get(hot, 0) === null) t.fail(`the token in use was dropped at ${i}`)
  }
  t.equal(cache.size, 100)
  const off = new TokenCache(0)
  off.set(hot, verified(by))
  t.equal(off.size, 0)
})

t.test('property: a hit is the last that was put under this text, valid and with its key', async t => {
  const step = fc.record({
    text: fc.integer({ min: 0, max: 12 }),
    until: fc.integer({ min: 0, max: 50 }),
    k: fc.nat(2),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 8 }), fc.nat(60), (steps, limit, drop) => {
      const cache = new TokenCache(limit)
      const keys = [key(), key(), key()]
      const model = new Map<string, Verified>()
      for (const [now, { text: n, until, k }] of steps.entries()) {
        if (now === drop) keys[0]!.live = false
        // Texts of odd numbers share their ends with those of even ones.
        const text = `${n % 2 === 0 ? 'a' : 'b'}${String(n >> 1).padStart(33, 'x')}`
        const found = cache.get(text, now)
        if (found !== null && (found !== model.get(text) || now >= found.until || !found.key.live)) return false
        const put = verified(keys[k]!, until)
        cache.set(text, put)
        model.set(text, put)
        if (cache.size > limit) return false
      }
      return true
    }),
  )
  t.pass()
})

t.test('a hit is at once, a miss is a promise', async t => {
  const clock = new FakeClock()
  const secret = Buffer.alloc(32, 7)
  const events: string[] = []
  const context: PluginContext = {
    route: null,
    baseDir: '/',
    upstreams: new Set(),
    slot: () => {
      throw new Error('no slot is due')
    },
    counter: (event: string) => () => events.push(event),
    log() {},
  } as unknown as PluginContext
  const given = {
    issuers: [{ secret: `base64url:${secret.toString('base64url')}` }],
    forward: { claims: { sub: 'x-user' } },
  }
  const plugin = createJwt(options.parse(given), context, clock)
  t.teardown(() => plugin.close!())
  const text = compact({ alg: 'HS256' }, { ...standard(), roles: [{ a: 1 }] }, 'HS256', secret)
  const request = () => exchange(requestHead('GET', 'h', '/', ['x-user', 'admin', 'authorization', `Bearer ${text}`]))
  const first = request()
  const miss = plugin.onRequest!(first)
  t.ok(miss instanceof Promise)
  t.equal(await miss, undefined)
  const second = request()
  t.equal(plugin.onRequest!(second), undefined)
  for (const x of [first, second]) {
    t.equal(x.consumer, 'user-1')
    t.match(x.claims, { sub: 'user-1' })
    t.same(x.head.headers.slice(-2), ['x-user', 'user-1'])
    t.equal(x.head.headers.filter(name => name === 'x-user').length, 1)
  }
  t.equal(first.claims, second.claims, 'shared')
  const shared = first.claims as { roles: { a: number }[] }
  t.throws(() => shared.roles.push({ a: 2 }), 'and so frozen, all the way down')
  t.throws(() => {
    shared.roles[0]!.a = 2
  })
  t.same(events, ['verified'], 'one signature was checked')
  t.ok(plugin.onRequest!(exchange(requestHead('GET', 'h', '/', []))), 'a refusal is at once too')
})

t.test('a remembered token counts only where it would count unremembered', async t => {
  const up = await RawUpstream.start(t)
  const secret = 's'.repeat(32)
  const text = compact({ alg: 'HS256' }, standard(), 'HS256', Buffer.from(secret))
  const from = ['header.x-token', 'cookie.token', 'query.token', 'header.authorization']
  const requests: [string, number, target?: string][] = [
    [`Authorization: ${text}`, 401],
    [`X-Token: ${text}`, 200],
    [`X-Token: bearer  ${text}`, 200],
    [`Cookie: token=${text}`, 200],
    [`Cookie: token=Bearer ${text}`, 401],
    ['A: b', 200, `/?token=${text}`],
    ['A: b', 401, `/?token=Bearer+${text}`],
    [`Authorization: Bearer ${text}`, 200],
    [`Authorization: Bearer${text}`, 401],
  ]
  for (const cache of [0, 10]) {
    const gateway = await startGateway(t, {
      up: { endpoints: [up.address] },
      plugins: [{ jwt: { issuers: [{ secret }], from, cache } }],
    })
    const client = await gateway.connect()
    for (const round of [1, 2])
      for (const [field, status, target = '/'] of [...requests, ...requests.toReversed()]) {
        const answer = await client.head(`GET ${target} HTTP/1.1`, 'Host: h', field).response()
        t.equal(answer.status, status, `cache ${cache}, round ${round}: ${field.slice(0, 22)} ${target.slice(0, 16)}`)
      }
    t.match([...gateway.snapshot.sites.values()][0]!.plugin.inspect!(), { cached: cache === 0 ? 0 : 1 })
  }
})
