// Tests of DNS as a registry: which SRV records count and how much, and a real dnsmasq that knows, refuses and stands still.
import type { RecordWithTtl, SrvRecord } from 'node:dns'
import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { dns, dnsOptions, parseAddresses, parseTargets, pickTargets } from '../../../src/discovery/dns.ts'
import type { DiscoveryProvider } from '../../../src/discovery/provider.ts'
import { NO_CERTIFICATES } from '../../support/certificates.ts'
import { startDnsmasq } from '../../support/dnsmasq-process.ts'
import { eventually, stopwatch, within } from '../../support/within.ts'

const never = () => new AbortController().signal
const warnings: string[] = []
const log = {
  debug: () => {},
  info: () => {},
  warn: (message: string, fields = {}) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
  error: () => {},
}

async function provider(given: Record<string, unknown>): Promise<DiscoveryProvider> {
  return dns.create(dnsOptions.parse(given), { name: 'dns', baseDir: '/', certificates: NO_CERTIFICATES, log })
}

t.test('options: name servers are addresses', async t => {
  const good = ['10.0.0.2', '127.0.0.1:5353', '::1', '[::1]:53']
  t.same(dnsOptions.parse({ servers: good }).servers, good)
  // The first of these would end the process if node:dns were asked.
  for (const bad of ['1.2.3.4:0', '1.2.3.4:99999', 'ns.test', 'a:53', '']) {
    t.throws(() => dnsOptions.parse({ servers: [bad] }), /IP address/, bad)
  }
  t.throws(() => dnsOptions.parse({ type: 'MX' }))
  t.throws(() => dnsOptions.parse({ servers: [] }))
})

t.test('only the lowest priority counts, and the root is no target', async t => {
  const record = (name: string, priority: number, weight = 1, port = 80) => ({ name, priority, weight, port })
  const names = (records: SrvRecord[]) => pickTargets(records).map(({ name }) => name)
  t.same(names([record('c', 2), record('a', 1), record('b', 1)]), ['a', 'b'])
  t.same(names([record('', 0), record('a', 1)]), ['a'])
  t.same(names([record('', 0)]), [])
  t.same(names([]), [])
})

t.test('shares are those of RFC 2782, and the least TTL counts', async t => {
  const target = (name: string, weight: number, port = 80) => ({ name, priority: 1, weight, port })
  const addresses = new Map<string, RecordWithTtl[]>([
    ['a', [{ address: '10.0.0.1', ttl: 30 }]],
    [
      'b',
      [
        { address: '10.0.0.2', ttl: 20 },
        { address: '2001:db8::2', ttl: 40 },
      ],
    ],
    ['c', []],
  ])
  const found = parseTargets(
    [target('a', 0), target('b', 3, 81), target('c', 1), target('d', 1), target('a', 1, 0)],
    addresses,
  )
  t.same(found.instances, [
    { host: '10.0.0.1', port: 80, weight: 1, labels: {} },
    { host: '10.0.0.2', port: 81, weight: 3, labels: {} },
    { host: '2001:db8::2', port: 81, weight: 3, labels: {} },
  ])
  t.equal(found.ttl, 20_000)
  t.same(found.leftOut, ['c:80 has no address', 'd:80 has no address', 'a:0 has no port'])
  t.equal('ttl' in parseTargets([], addresses), false)

  // The draw of the RFC: a number from 0 to the sum of all weights, and the first record whose running sum reaches it,
  // those with weight 0 first.
  const weights = fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 6 })
  const property = fc.property(weights, others => {
    const sum = others.reduce((total, weight) => total + weight, 0)
    const drawn = 1 / (sum + 1)
    const records = [0, ...others].map((weight, i) => target(`n${i}`, weight))
    const known = new Map(records.map(({ name }, i) => [name, [{ address: `10.0.0.${i}`, ttl: 1 }]]))
    const { instances } = parseTargets(records, known)
    const total = instances.reduce((all, { weight }) => all + weight, 0)
    return Math.abs(instances[0]!.weight / total - drawn) < 1e-12
  })
  t.doesNotThrow(() => fc.assert(property))
})

t.test('whatever records come, instances are whole', async t => {
  const port = fc.integer({ min: 0, max: 65535 })
  const name = fc.oneof(fc.constantFrom('', '.', 'a', 'b', '__proto__', 'constructor'), fc.string())
  const record = fc.record({ name, port, priority: port, weight: port })
  const address = fc.record({ address: fc.oneof(fc.ipV4(), fc.ipV6()), ttl: fc.integer({ min: 0, max: 2 ** 31 - 1 }) })
  const known = fc.array(fc.tuple(name, fc.array(address)))
  const property = fc.property(fc.array(record), known, (records, entries) => {
    const targets = pickTargets(records)
    const { instances, ttl } = parseTargets(targets, new Map(entries))
    const least = Math.min(...records.filter(({ name }) => name !== '' && name !== '.').map(({ priority }) => priority))
    return (
      targets.every(({ priority }) => priority === least) &&
      instances.every(({ port, weight }) => port >= 1 && port <= 65535 && weight >= 1) &&
      (instances.length === 0) === (ttl === undefined)
    )
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000 }))
  t.same(parseAddresses([]), { instances: [], leftOut: [] })
})

t.test('A and AAAA records with their TTL', async t => {
  const lines = ['a.test,10.0.0.1,30', 'a.test,10.0.0.2,20', 'a.test,2001:db8::1,40', 'six.test,2001:db8::2,60']
  const server = await startDnsmasq(t, ...lines.map(line => `host-record=${line}`))
  const both = await provider({ servers: [server.address] })
  const instance = (host: string) => ({ host, port: 0, weight: 1, labels: {} })
  const found = await both.poll('a.test', null, never())
  t.same(
    [...found.instances].sort((a, b) => (a.host < b.host ? -1 : 1)),
    ['10.0.0.1', '10.0.0.2', '2001:db8::1'].map(instance),
  )
  t.equal(found.ttl, 20_000)
  t.equal(found.cursor, null)
  t.same(await both.poll('six.test', null, never()), {
    instances: [instance('2001:db8::2')],
    cursor: null,
    ttl: 60_000,
  })
  const four = await provider({ servers: [server.address], type: 'A' })
  t.equal((await four.poll('a.test.', null, never())).instances.length, 2)
  t.same(await four.poll('six.test', null, never()), { instances: [], cursor: null }, 'no data')
  const six = await provider({ servers: [server.address], type: 'AAAA' })
  t.same((await six.poll('a.test', null, never())).instances, [instance('2001:db8::1')])
  t.same(await both.poll('nobody.test', null, never()), { instances: [], cursor: null }, 'no such name')

  await server.know(['host-record=a.test,10.0.0.9,1'])
  t.same(await both.poll('a.test', null, never()), { instances: [instance('10.0.0.9')], cursor: null, ttl: 1000 })
})

t.test('SRV records: the lowest priority, weights, ports, targets at the same servers', async t => {
  warnings.length = 0
  const server = await startDnsmasq(
    t,
    ...['one.test,10.0.0.1,30', 'two.test,10.0.0.2,25', 'two.test,2001:db8::2,25'].map(line => `host-record=${line}`),
    'srv-host=_http._tcp.a.test,one.test,8080,1,5',
    'srv-host=_http._tcp.a.test,two.test,8081,1,0',
    'srv-host=_http._tcp.a.test,gone.test,8082,1,1',
    'srv-host=_http._tcp.a.test,spare.test,8083,2,100',
    'srv-host=plain.test,one.test,80,0,0',
    'srv-host=_none._tcp.a.test',
    'srv-host=_bad._tcp.a.test,elsewhere.example,80,0,0',
  )
  const asked = await provider({ servers: [server.address] })
  const found = await asked.poll('_http._tcp.a.test', null, never())
  t.same(
    [...found.instances].sort((a, b) => (a.host < b.host ? -1 : 1)),
    [
      { host: '10.0.0.1', port: 8080, weight: 5, labels: {} },
      { host: '10.0.0.2', port: 8081, weight: 1, labels: {} },
      { host: '2001:db8::2', port: 8081, weight: 1, labels: {} },
    ],
  )
  t.equal(found.ttl, 25_000)
  t.match(warnings, [/gone\.test:8082 has no address/])
  t.same((await asked.poll('_none._tcp.a.test', null, never())).instances, [], 'the root is no target')
  t.same((await asked.poll('_nothing._tcp.a.test', null, never())).instances, [])
  await t.rejects(
    asked.poll('_bad._tcp.a.test', null, never()),
    { code: 'EREFUSED' },
    'a target that cannot be asked for',
  )
  const srv = await provider({ servers: [server.address], type: 'SRV' })
  t.same((await srv.poll('plain.test', null, never())).instances, [
    { host: '10.0.0.1', port: 80, weight: 1, labels: {} },
  ])
})

t.test('a server that refuses, that is dead, and names that are none', async t => {
  const server = await startDnsmasq(t, 'host-record=a.test,10.0.0.1')
  const asked = await provider({ servers: [server.address] })
  await t.rejects(asked.poll('a.example', null, never()), { code: 'EREFUSED' })
  for (const bad of [
    '',
    'a..test',
    'a b',
    'a\u0000.test',
    `${'a'.repeat(64)}.test`,
    `${'a.'.repeat(130)}test`,
    '10.0.0.1:80',
  ]) {
    await t.rejects(asked.poll(bad, null, never()), { name: 'AnswerError', message: /is no name of DNS/ }, bad)
  }
  const two = await provider({ servers: ['127.0.0.1:1', server.address] })
  t.equal((await two.poll('a.test', null, never())).instances.length, 1, 'the next server is asked')
  const other = await startDnsmasq(
    t,
    'local=/example/',
    'host-record=a.example,10.0.0.2',
    'srv-host=_http._tcp.example,a.example,80,0,1',
  )
  const three = await provider({ servers: ['127.0.0.1:1', server.address, other.address] })
  for (const name of ['a.example', '_http._tcp.example'])
    t.match((await three.poll(name, null, never())).instances, [{ host: '10.0.0.2' }], 'it is also where one refuses')
  await t.rejects(three.poll('b.other', null, never()), { code: 'EREFUSED' }, 'all of them refuse')
  await server.kill()
  await t.rejects(asked.poll('a.test', null, never()), { code: 'ECONNREFUSED' })
})

t.test('a server that stands still: an abort is heard and leaves no socket, else time ends it', async t => {
  const server = await startDnsmasq(t, 'host-record=a.test,10.0.0.1')
  const asked = await provider({ servers: [server.address] })
  // The resolver's sockets are no resources that Node tells of.
  const files = () => readdirSync('/dev/fd').length
  const before = files()
  await server.freeze()
  const abort = new AbortController()
  const waiting = t.rejects(asked.poll('a.test', null, abort.signal), { name: 'AbortError' })
  await eventually(
    () => files() > before,
    () => 'nothing is asked',
  )
  abort.abort()
  await within(3000, waiting, () => 'an abort is not heard')
  await eventually(
    () => files() <= before,
    () => `${files() - before} sockets are left`,
  )
  const took = stopwatch()
  await t.rejects(asked.poll('a.test', null, never()), { code: 'ETIMEOUT' })
  t.ok(took() < 5000, 'before the usual timeout of a poll')
  server.thaw()
  t.equal((await asked.poll('a.test', null, never())).instances.length, 1)
  await t.rejects(asked.poll('a.test', null, AbortSignal.abort()), { name: 'AbortError' })
})
