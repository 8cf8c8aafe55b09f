// Tests of etcd as a registry: what is read, and a real etcd that is written to, compacted, emptied, frozen and locked.
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { AnswerError } from '../../../src/discovery/ask.ts'
import { etcd, etcdOptions, isNews, parseRange, prefixRange } from '../../../src/discovery/etcd.ts'
import type { DiscoveryProvider, Found } from '../../../src/discovery/provider.ts'
import { NO_CERTIFICATES } from '../../support/certificates.ts'
import { type EtcdServer, startEtcd } from '../../support/etcd-process.ts'
import { eventually, within } from '../../support/within.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const never = () => new AbortController().signal

/** Warnings that a provider wrote. */
const warnings: string[] = []
const log = {
  debug: () => {},
  info: () => {},
  warn: (message: string, fields = {}) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
  error: () => {},
}

async function provider(t: Test, given: Record<string, unknown>): Promise<DiscoveryProvider> {
  const options = etcdOptions.parse(given)
  const made = await etcd.create(options, { name: 'etcd', baseDir: '/', certificates: NO_CERTIFICATES, log })
  t.teardown(() => made.close?.())
  return made
}

const addresses = ({ instances }: Found) => instances.map(({ host, port }) => `${host}:${port}`).sort()

t.test('a prefix becomes a range, whatever its last byte', async t => {
  const end = (bytes: number[]) => [...Buffer.from(prefixRange(Uint8Array.from(bytes)).range_end, 'base64')]
  t.same(end([0x61, 0x2f]), [0x61, 0x30])
  t.same(end([0x61, 0xff]), [0x62])
  t.same(end([0x61, 0xff, 0xff]), [0x62])
  t.same(end([0xff, 0xff]), [0], 'to the end of all keys')
  const bytes = fc.uint8Array({ maxLength: 6 })
  const property = fc.property(bytes, fc.oneof(bytes, fc.constant(Uint8Array.of(0xff, 0xff))), (prefix, rest) => {
    const { key, range_end } = prefixRange(prefix)
    const [first, last] = [Buffer.from(key, 'base64'), Buffer.from(range_end, 'base64')]
    const inside = (one: Uint8Array) =>
      Buffer.compare(one, first) >= 0 && (last.equals(Uint8Array.of(0)) || Buffer.compare(one, last) < 0)
    const starts = (one: Uint8Array) => Buffer.from(one.subarray(0, prefix.length)).equals(prefix)
    return inside(Buffer.concat([prefix, rest])) && (inside(rest) ? starts(rest) : !starts(rest))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }))
})

t.test('values are host:port, our JSON, or that of the Go client', async t => {
  const values = [
    '10.0.0.1:80',
    ' [2001:db8::1]:8080\n',
    '{"address":"10.0.0.2:81","weight":0.5,"labels":{"version":"v2","shard":3,"__proto__":"x"}}',
    '{"address":"10.0.0.3","port":82}',
    '{"Op":0,"Addr":"10.0.0.4:83","Metadata":{"zone":"b","more":[1]},"id":"x"}',
    '{"address":"10.0.0.5","port":70000}',
    '{"address":"10.0.0.6:80","weight":-1}',
    '{"address":"10.0.0.7:80"',
    '{"address":"10.0.0.9:80","labels":["x"]}',
    '{"__proto__":{"address":"10.0.0.8:80"}}',
    'nonsense',
    '',
  ]
  const kvs = values.map((value, i) => ({ key: base64(`/services/a/${i}`), value: base64(value) }))
  const found = parseRange({ header: { revision: '7', cluster_id: '9' }, kvs }, '/services/a/')
  t.same(found.instances, [
    { host: '10.0.0.1', port: 80, weight: 1, labels: {} },
    { host: '2001:db8::1', port: 8080, weight: 1, labels: {} },
    { host: '10.0.0.2', port: 81, weight: 0.5, labels: { version: 'v2', shard: '3' } },
    { host: '10.0.0.3', port: 82, weight: 1, labels: {} },
    { host: '10.0.0.4', port: 83, weight: 1, labels: { zone: 'b' } },
  ])
  t.equal(found.cursor, '7/9')
  t.same(
    found.leftOut.map(text => text.slice(0, 2).trim()),
    ['5', '6', '7', '8', '9', '10', '11'],
  )
  t.same(parseRange({ header: { revision: '7' } }, '/').instances, [], 'a service without keys')
  t.throws(() => parseRange({ header: {}, kvs: [] }, '/'), AnswerError, 'no revision')
  t.throws(() => parseRange({ header: { revision: '7' }, kvs: 'x' }, '/'), AnswerError, 'no list')
})

t.test('whatever comes is read or refused with an AnswerError', async t => {
  const text = fc.oneof(fc.string(), fc.json(), fc.constantFrom('{', '{"address":1}', '10.0.0.1:99999', '__proto__'))
  const pair = fc.oneof(fc.jsonValue(), fc.record({ key: text, value: text.map(base64) }, { requiredKeys: [] }))
  const header = fc.oneof(fc.jsonValue(), fc.record({ revision: fc.oneof(fc.nat(), fc.nat().map(String)) }))
  const answer = fc.oneof(fc.jsonValue(), fc.record({ header, kvs: fc.oneof(fc.jsonValue(), fc.array(pair)) }))
  const message = fc.oneof(answer, fc.record({ result: fc.object(), error: fc.jsonValue() }, { requiredKeys: [] }))
  const refuses = (read: () => unknown) => {
    try {
      read()
    } catch (error) {
      if (!(error instanceof AnswerError)) throw error
    }
  }
  const property = fc.property(answer, message, (range, news) => {
    refuses(() => {
      for (const { host, port, weight } of parseRange(range, '/services/').instances) {
        if (host === '' || !(port >= 1 && port <= 65535) || !(Number.isFinite(weight) && weight >= 0))
          throw new Error('an instance that is none')
      }
    })
    refuses(() => isNews(news, '7/9'))
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }))
})

t.test('what a watch says is news or not', async t => {
  const header = { revision: '7', cluster_id: '9' }
  t.equal(isNews({ result: { header, created: true } }, '7/9'), false)
  t.equal(isNews({ result: { header } }, '7/9'), false, 'progress')
  t.equal(isNews({ result: { header, events: [{}] } }, '7/9'), true)
  t.equal(isNews({ result: { header, canceled: true, compact_revision: '8' } }, '7/9'), true)
  t.equal(isNews({ result: { header: { ...header, revision: '6' }, created: true } }, '7/9'), true, 'begun anew')
  t.equal(isNews({ result: { header: { ...header, cluster_id: '8' }, created: true } }, '7/9'), true, 'another etcd')
  t.throws(() => isNews({ result: { header, canceled: true, cancel_reason: 'no right' } }, '7/9'), /no right/)
  t.throws(() => isNews({ error: { message: 'leader lost' } }, '7/9'), /leader lost/)
})

t.test('options are refused that cannot work', async t => {
  t.throws(() => etcdOptions.parse({ address: 'ftp://a' }))
  t.throws(() => etcdOptions.parse({ address: 'http://a', user: 'u' }), /password/)
  t.throws(() => etcdOptions.parse({ address: 'https://a', tls: { cert: 'a.pem' } }), /cert and key/)
  t.throws(() => etcdOptions.parse({ address: 'http://a', prefx: '/' }))
  t.same(etcdOptions.parse({ address: 'http://a:2379' }).address, ['http://a:2379'])
})

/** A provider and an etcd that knows one instance of `a`, and the answer about it. */
async function begin(t: Test): Promise<{ etcd: EtcdServer; asked: DiscoveryProvider; first: Found }> {
  const server = await startEtcd(t)
  await server.put('/services/a/1', '10.0.0.1:80')
  const asked = await provider(t, { address: server.url })
  const first = await asked.poll('a', null, never())
  t.same(addresses(first), ['10.0.0.1:80'])
  return { etcd: server, asked, first }
}

/** The answer after `change`, which has to come within a second of it. */
async function after(asked: DiscoveryProvider, found: Found, change: () => Promise<unknown>): Promise<Found> {
  const next = asked.poll('a', found.cursor, never())
  await change()
  return within(1000, next, () => 'the change is not seen')
}

t.test('what is put, deleted and expires is seen within a second', async t => {
  const { etcd, asked, first } = await begin(t)
  const two = await after(asked, first, () => etcd.put('/services/a/2', '{"address":"10.0.0.2:80","weight":2}'))
  t.same(addresses(two), ['10.0.0.1:80', '10.0.0.2:80'])
  // What came between two polls is no less seen.
  await etcd.put('/services/a/3', '10.0.0.3:80')
  const three = await within(1000, asked.poll('a', two.cursor, never()), () => 'the past is not seen')
  t.same(addresses(three), ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80'])
  const fewer = await after(asked, three, () => etcd.remove('/services/a/2'))
  t.same(addresses(fewer), ['10.0.0.1:80', '10.0.0.3:80'])
  const leased = await after(asked, fewer, async () => etcd.put('/services/a/4', '10.0.0.4:80', await etcd.lease(1)))
  t.equal(leased.instances.length, 3)
  const expired = await within(5000, asked.poll('a', leased.cursor, never()), () => 'the lease does not end')
  t.same(addresses(expired), ['10.0.0.1:80', '10.0.0.3:80'])
  t.same((await asked.poll('b', null, never())).instances, [], 'another service')
})

t.test('keys of other services end no wait', async t => {
  const { etcd, asked, first } = await begin(t)
  const next = asked.poll('a', first.cursor, never())
  await etcd.put('/services/ab/1', '10.0.0.9:80')
  await etcd.put('/services/a', '10.0.0.9:80')
  await etcd.put('/services/a/2', '10.0.0.2:80')
  const found = await next
  t.same(addresses(found), ['10.0.0.1:80', '10.0.0.2:80'])
  t.equal(found.cursor!.split('/')[0], String(await etcd.revision()), 'one answer, of the last write')
})

t.test('what cannot be read is left out, and said once', async t => {
  const { etcd, asked, first } = await begin(t)
  warnings.length = 0
  const found = await after(asked, first, () => etcd.put('/services/a/2', 'nonsense'))
  t.same(addresses(found), ['10.0.0.1:80'])
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.1:80'])
  t.equal(warnings.length, 1)
  t.match(warnings[0], /cannot be read.*"registry":"etcd","service":"a","count":1,"leftOut":"2 has no port/)
})

t.test('a revision that was compacted away is read anew', async t => {
  const { etcd, asked, first } = await begin(t)
  for (let i = 0; i < 5; i++) await etcd.put('/services/a/2', `10.0.0.${i + 10}:80`)
  await etcd.compact(await etcd.revision())
  const found = await within(1000, asked.poll('a', first.cursor, never()), () => 'compaction is not noticed')
  t.same(addresses(found), ['10.0.0.14:80', '10.0.0.1:80'].sort())
})

t.test('an etcd that begins anew is noticed, though its revisions are lower', async t => {
  const { etcd, asked } = await begin(t)
  for (let i = 0; i < 5; i++) await etcd.put('/elsewhere', String(i))
  const late = await asked.poll('a', null, never())
  const waiting = asked.poll('a', late.cursor, never())
  const broken = t.rejects(waiting, 'a connection that breaks is a failure')
  await etcd.restartEmpty()
  await broken
  await etcd.put('/services/a/1', '10.0.0.5:80')
  const found = await within(1000, asked.poll('a', late.cursor, never()), () => 'the new etcd is not noticed')
  t.same(addresses(found), ['10.0.0.5:80'])
  t.not(found.cursor, late.cursor)
})

t.test('an etcd that stands still keeps nobody who wants to go', async t => {
  const { etcd, asked, first } = await begin(t)
  const waits = new AbortController()
  const waiting = t.rejects(asked.poll('a', first.cursor, waits.signal), { name: 'AbortError' })
  await etcd.freeze()
  const reads = new AbortController()
  const reading = t.rejects(asked.poll('a', null, reads.signal), { name: 'AbortError' })
  waits.abort()
  reads.abort()
  await within(3000, Promise.all([waiting, reading]), () => 'an abort is not heard')
  await t.rejects(asked.poll('a', null, AbortSignal.abort()), { name: 'AbortError' })
  etcd.thaw()
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.1:80'])
})

t.test('a poll leaves nothing behind: no timer, and no connection after close', async t => {
  const { etcd, asked, first } = await begin(t)
  const resources = (kind: string) => process.getActiveResourcesInfo().filter(name => name === kind).length
  const abort = new AbortController()
  const waiting = t.rejects(asked.poll('a', first.cursor, abort.signal))
  abort.abort()
  await waiting
  await after(asked, first, () => etcd.put('/services/a/2', '10.0.0.2:80'))
  asked.close!()
  // The answers of the test's own questions are kept alive by fetch.
  await eventually(
    () => resources('Timeout') === 0,
    () => `timers: ${process.getActiveResourcesInfo()}`,
  )
})

t.test('another member is asked when one does not answer', async t => {
  const server = await startEtcd(t)
  await server.put('/services/a/1', '10.0.0.1:80')
  const asked = await provider(t, { address: ['http://127.0.0.1:1', server.url] })
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.1:80'])
})

t.test('with auth on: a user, a wrong one, none, and a token that ends', async t => {
  const { etcd } = await begin(t)
  const early = await provider(t, { address: etcd.url, user: 'sluice', password: 'a secret' })
  await t.rejects(early.poll('a', null, never()), { message: 'etcd has auth turned off: it takes no `user`' })
  await etcd.turnAuthOn('sluice', 'a secret')
  const asked = await provider(t, { address: etcd.url, user: 'sluice', password: 'a secret' })
  const first = await asked.poll('a', null, never())
  t.same(addresses(first), ['10.0.0.1:80'])
  const two = await after(asked, first, () => etcd.put('/services/a/2', '10.0.0.2:80'))
  t.equal(two.instances.length, 2)

  const nobody = await provider(t, { address: etcd.url })
  await t.rejects(nobody.poll('a', null, never()), { name: 'AnswerError', message: /does it ask for a user/ })
  const wrong = await provider(t, { address: etcd.url, user: 'sluice', password: 'guessed' })
  await t.rejects(wrong.poll('a', null, never()), { message: 'etcd does not know "sluice" with this password' })
  const elsewhere = await provider(t, { address: etcd.url, prefix: '0', user: 'sluice', password: 'a secret' })
  await t.rejects(elsewhere.poll('a', null, never()), { message: /does not let "sluice" read this: answered 403/ })

  // A restart ends all tokens; so does their age.
  await etcd.kill()
  await etcd.start()
  t.equal((await asked.poll('a', null, never())).instances.length, 2, 'a new token is fetched')
  // Every change of users makes tokens old.
  await etcd.changeUsers()
  t.equal((await asked.poll('a', null, never())).instances.length, 2, 'after users changed')
  const third = await asked.poll('a', null, never())
  await etcd.changeUsers()
  const next = asked.poll('a', third.cursor, never())
  await etcd.put('/services/a/3', '10.0.0.3:80')
  t.equal((await within(2000, next, () => 'no news')).instances.length, 3, 'while watching')
})
