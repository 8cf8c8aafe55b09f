// Options of an upstream: addresses taken apart, and what is wrong with one in plain words.
import fc from 'fast-check'
import t from 'tap'
import { parseEndpoint } from '../../../src/http/address.ts'
import { statusRanges } from '../../../src/upstream/health/options.ts'
import { upstreamOptions } from '../../../src/upstream/options.ts'

t.test('addresses', async t => {
  t.same(parseEndpoint('127.0.0.1:9001'), { address: '127.0.0.1:9001', host: '127.0.0.1', port: 9001 })
  t.same(parseEndpoint('Orders.Internal:80'), { address: 'orders.internal:80', host: 'orders.internal', port: 80 })
  t.same(parseEndpoint('[0:0::1]:65535'), { address: '[::1]:65535', host: '::1', port: 65535 })
  t.same(parseEndpoint('a_b-c.d.:1'), { address: 'a_b-c.d.:1', host: 'a_b-c.d.', port: 1 })
})

t.test('what is none', async t => {
  const cases: [string, RegExp][] = [
    ['http://a:1', /must not have a scheme/],
    ['file:///etc/passwd', /must not have a scheme/],
    ['u:p@a:1', /must not hold credentials/],
    ['a:1/x', /must not have a path/],
    ['a:1?x', /must not have a path/],
    ['a', /has no port/],
    ['[::1]', /has no port/],
    ['', /has no port/],
    [':80', /neither a host name/],
    ['a:', /a port between 1 and 65535/],
    ['a:0', /a port between 1 and 65535/],
    ['a:65536', /a port between 1 and 65535/],
    ['a:-1', /a port between 1 and 65535/],
    ['a:1e3', /a port between 1 and 65535/],
    ['::1:80', /stands in brackets/],
    ['[::g]:80', /not an IPv6 address/],
    ['[fe80::1%eth0]:80', /not an IPv6 address/],
    ['[::1:80', /host:port is due/],
    ['127.1:80', /neither a host name/],
    ['256.0.0.1:80', /neither a host name/],
    ['-a:80', /neither a host name/],
    ['a b:80', /holds a blank or a comma: one address an entry/],
    ['a:80,b:80', /holds a blank or a comma: one address an entry/],
    ['srv1 127.0.0.1:9001 check', /holds a blank or a comma: one address an entry/],
    ['a:80 ', /holds a blank or a comma: one address an entry/],
    ['unix:/run/app.sock', /Unix sockets are not supported/],
    ['/run/app.sock', /Unix sockets are not supported/],
    ['unix:///run/app.sock', /Unix sockets are not supported/],
    ['a..b:80', /neither a host name/],
    ['a\r\nb:80', /one address an entry/],
  ]
  for (const [text, expected] of cases) t.match(parseEndpoint(text), expected, JSON.stringify(text))
})

t.test('an address that passes reads the same again, and holds nothing that could leave its place', async () => {
  const text = fc.oneof(
    fc.string(),
    fc.tuple(fc.domain(), fc.nat(70_000)).map(([host, port]) => `${host}:${port}`),
    fc.tuple(fc.ipV6(), fc.nat(70_000)).map(([host, port]) => `[${host}]:${port}`),
  )
  fc.assert(
    fc.property(text, given => {
      const parsed = parseEndpoint(given)
      if (typeof parsed === 'string') return parsed !== ''
      const again = parseEndpoint(parsed.address)
      return JSON.stringify(again) === JSON.stringify(parsed) && /^[a-z0-9._:[\]-]+$/.test(parsed.address)
    }),
  )
})

t.test('a service is no way out of the path that it becomes part of', async t => {
  const faults = (service: string) =>
    upstreamOptions.safeParse({ discover: { from: 'a', service } }).error?.issues.length
  for (const service of ['..', '.', '../x', 'a/../b']) t.equal(faults(service), 1, service)
  for (const service of ['a', 'a..b', '...', 'shop/orders', '_http._tcp.a.'])
    t.equal(faults(service), undefined, service)
})

t.test('defaults and both forms of an endpoint', async t => {
  t.same(upstreamOptions.parse({ endpoints: ['a:1', { address: 'b:2', weight: 0, labels: { version: 'v2' } }] }), {
    endpoints: [
      { address: 'a:1', host: 'a', port: 1, weight: 1, labels: {} },
      { address: 'b:2', host: 'b', port: 2, weight: 0, labels: { version: 'v2' } },
    ],
    scheme: 'http',
    balance: 'round-robin',
    host: 'pass',
    connections: { max: 256, pending: 1024, idle: 30_000 },
    timeouts: { connect: 5_000, response: 30_000, idle: 60_000 },
    slowStart: 0,
  })
})

t.test('health and its defaults', async t => {
  t.equal(upstreamOptions.parse({ endpoints: [] }).health, undefined)
  t.same(upstreamOptions.parse({ endpoints: [], health: { active: {}, passive: {} } }).health, {
    active: {
      ...{ path: '/healthz', interval: 5_000, timeout: 2_000, expect: '200-399' },
      ...{ healthyAfter: 2, unhealthyAfter: 3 },
    },
    passive: {
      ...{ consecutiveFailures: 5, minRequests: 20, window: 10_000 },
      ...{ ejectFor: 30_000, maxEjectFor: 300_000, maxEjected: 0.5 },
    },
    panicBelow: 0.5,
  })
  t.same(statusRanges('200-399, 404,500 - 503'), [
    [200, 399],
    [404, 404],
    [500, 503],
  ])
  const told = (active: object) =>
    upstreamOptions.safeParse({ endpoints: [], health: { active } }).error?.issues.map(({ message }) => message)
  t.match(told({ expect: 'ok' }), ['statuses are due, such as "200-399" or "200,204"'])
  t.match(told({ expect: '399-200' }), ['a range from a lower to a higher status between 100 and 599 is due'])
  t.match(told({ path: 'healthz' }), ['a path that begins with / is due'])
  t.match(told({ interval: '0s' }), ['must be at least 10ms'])
})

t.test('options that do not go together', async t => {
  const told = (given: object) =>
    upstreamOptions.safeParse({ endpoints: ['a:1'], ...given }).error?.issues.map(({ message }) => message)
  t.same(told({ tls: {} }), ['tls needs `scheme: https`'])
  t.same(told({ scheme: 'https', tls: { cert: 'a' } }), ['cert and key belong together: give both or neither'])
  t.same(told({ endpoints: ['a:1', 'A:1'] }), ['is the same address as endpoints[0]'])
  t.match(told({ balance: 'fastest' }), [/round-robin, .* or a module such as .* is due$/])
  // Each would be the Host that the service sees.
  for (const host of ['$host', 'Pass', 'Endpoint'])
    t.match(told({ host }), [/^pass, endpoint or a literal host is due/], host)
  for (const host of ['paas', 'endpoint1']) t.same(told({ host }), undefined, `${host} may be one`)
  t.match(told({ balance: 'roundrobin' }), [/ is due; did you mean "round-robin"\?$/])
  t.same(told({ hashOn: 'path' }), undefined, 'it waits for ring-hash')
  t.same(told({ balance: 'ring-hash', hashOn: 'path' }), undefined)
  t.same(told({ endpoints: undefined }), ['either endpoints or discover is due'])
  t.same(told({ discover: { from: 'a', service: 'b' } }), ['either endpoints or discover is due'])
  t.match(told({ endpoints: undefined, discover: { from: 'a', service: 'b', port: 70_000 } }), [/65535/])
  for (const host of ['a/b', 'a:99999', 'a:', '[:::]', 'a|b', 'a,b'])
    t.same(told({ host }), ['pass, endpoint or a literal host is due'], host)
  t.same(told({ host: '[::1]:80' }), undefined)
})
