// Where a registry may send traffic: addresses in every notation, and names by what they resolve to.
import type { LookupAddress } from 'node:dns'
import { connect } from 'node:net'
import t from 'tap'
import { lookupAllowed, targetFault } from '../../../src/discovery/target.ts'
import { parseEndpoint } from '../../../src/http/address.ts'

/** The link-local address of cloud metadata, as IPv6 wraps it. */
const WRAPPED = ['::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '::169.254.169.254', '64:ff9b::a9fe:a9fe', 'fe80::1']

t.test('addresses that lead to no single machine, or to this link', async t => {
  const cases: [string, RegExp][] = [
    ['169.254.169.254', /link-local/],
    ...WRAPPED.map((host): [string, RegExp] => [host, /link-local/]),
    ['febf::1', /link-local/],
    ['0.0.0.0', /unspecified/],
    ['::', /unspecified/],
    ['::ffff:0.0.0.0', /unspecified/],
    ['224.0.0.1', /multicast/],
    ['239.255.255.255', /multicast/],
    ['64:ff9b::e000:1', /multicast/],
    ['ff02::1', /multicast/],
    ['255.255.255.255', /broadcast/],
  ]
  for (const [host, expected] of cases) t.match(targetFault(host, false), expected, host)
  for (const host of ['169.254.169.254', ...WRAPPED]) t.equal(targetFault(host, true), null, `${host} where allowed`)
  for (const host of ['0.0.0.0', '::', 'ff02::1', '255.255.255.255']) t.not(targetFault(host, true), null, host)
  for (const host of [
    '10.0.0.1',
    '127.0.0.1',
    '223.1.1.1',
    '240.0.0.1',
    '::1',
    'fec0::1',
    '2001:db8::1',
    '64:ff9b::a00:1',
  ])
    t.equal(targetFault(host, false), null, host)
})

t.test('what resolvers read as a number is no name', async t => {
  const numbers = [
    '0xa9fea9fe',
    '0xA9FEA9FE',
    '0xa9.0xfe.0xa9.0xfe',
    '0x7f.1',
    '0x',
    '2852039166',
    '0251.0376.0251.0376',
  ]
  for (const host of [...numbers, '169.254.169.254.', '1.2.3', 'a.1', 'a.0x1.', '010.0.0.1'])
    t.match(parseEndpoint(`${host}:80`), /neither a host name nor an IP address/, host)
  for (const host of ['0xa9.example', '1a', '0xg', '10.0.0.1', 'x0x1', '1.2.3.4.example.'])
    t.not(typeof parseEndpoint(`${host}:80`), 'string', host)
})

t.test('a name is refused for what it resolves to', async t => {
  const resolve = (name: string, all: boolean, linkLocal = false) =>
    new Promise<string | LookupAddress[]>((done, fail) => {
      lookupAllowed(linkLocal)(name, { all }, (error, found) => (error === null ? done(found) : fail(error)))
    })
  t.match(await resolve('127.0.0.1', true), [{ address: '127.0.0.1', family: 4 }])
  t.equal(await resolve('127.0.0.1', false), '127.0.0.1')
  t.equal(await resolve('169.254.169.254', false, true), '169.254.169.254')
  await t.rejects(resolve('0xa9fea9fe', true), /^0xa9fea9fe means 169.254.169.254, which is a link-local address/)
  await t.rejects(resolve('fe80::1', false), /link-local/)
  await t.rejects(resolve('name.invalid', true), /getaddrinfo/)
  const socket = connect({ host: '0xa9fea9fe', port: 80, lookup: lookupAllowed(false) })
  const error = await new Promise<Error>(failed => socket.on('error', failed))
  t.match(error.message, /link-local/, 'as connections use it')
})
