// Networks: what is one, and the trie against a naive matcher that compares whole numbers.
import fc from 'fast-check'
import t from 'tap'
import { addressBytes, CidrSet, parseCidr } from '../../../src/http/cidr.ts'

t.test('addresses', async t => {
  const six = (...groups: number[]) => Uint8Array.from(groups.flatMap(group => [group >> 8, group & 255]))
  for (const [text, bytes] of [
    ['1.2.3.4', Uint8Array.of(1, 2, 3, 4)],
    ['::', six(0, 0, 0, 0, 0, 0, 0, 0)],
    ['::1', six(0, 0, 0, 0, 0, 0, 0, 1)],
    ['1::', six(1, 0, 0, 0, 0, 0, 0, 0)],
    ['2001:DB8::a:0:b', six(0x2001, 0xdb8, 0, 0, 0, 0xa, 0, 0xb)],
    ['1:2:3:4:5:6:7:8', six(1, 2, 3, 4, 5, 6, 7, 8)],
    ['64:ff9b::1.2.3.4', six(0x64, 0xff9b, 0, 0, 0, 0, 0x102, 0x304)],
    ['fe80::1%eth0', six(0xfe80, 0, 0, 0, 0, 0, 0, 1)],
    ['::ffff:1.2.3.4', Uint8Array.of(1, 2, 3, 4)],
    ['::FFFF:102:304', Uint8Array.of(1, 2, 3, 4)],
    ['0:0:0:0:0:ffff:255.255.255.255', Uint8Array.of(255, 255, 255, 255)],
  ] as const) {
    t.same(addressBytes(text), bytes, text)
  }
  for (const bad of [
    '',
    'a',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4/8',
    '1:2',
    ':::',
    '1::2::3',
    '[::1]',
    ' ::1',
    '::1 ',
  ]) {
    t.equal(addressBytes(bad), null, JSON.stringify(bad))
  }
})

t.test('networks', async t => {
  for (const [text, bits] of [
    ['10.0.0.0/8', 8],
    ['1.2.3.4', 32],
    ['0.0.0.0/0', 0],
    ['::/0', 0],
    ['::1', 128],
    ['2001:db8::/32', 32],
    ['::ffff:10.0.0.0/104', 8],
    ['::ffff:0:0/96', 0],
  ] as const) {
    t.equal(parseCidr(text)?.bits, bits, text)
  }
  for (const bad of [
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/00',
    '::/129',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/a',
    '/8',
    'a/8',
    '10.0.0.0/8/8',
    '::ffff:10.0.0.0/95',
    '10.0.0.0/ 8',
    'fe80::1%eth0',
    'fe80::%1/64',
  ]) {
    t.equal(parseCidr(bad), null, bad)
    t.throws(() => new CidrSet([bad]), TypeError)
  }
})

t.test('membership', async t => {
  const set = new CidrSet(['10.0.0.0/8', '192.168.1.7', '2001:db8::/32', '::ffff:172.16.0.0/108'])
  for (const inside of [
    '10.0.0.0',
    '10.255.255.255',
    '::ffff:10.1.2.3',
    '192.168.1.7',
    '2001:db8:ffff::1',
    '172.31.0.1',
  ]) {
    t.ok(set.has(inside), inside)
  }
  for (const outside of [
    '11.0.0.0',
    '9.255.255.255',
    '192.168.1.6',
    '2001:db9::',
    '172.32.0.0',
    '::a00:0',
    '',
    'x',
    'unix',
  ]) {
    t.notOk(set.has(outside), outside)
  }
  t.notOk(new CidrSet([]).has('1.2.3.4'), 'nothing lies in no network')
  const all = new CidrSet(['0.0.0.0/0'])
  t.ok(all.has('8.8.8.8'))
  t.notOk(all.has('::1'), 'all of IPv4 is nothing of IPv6')
  t.ok(new CidrSet(['10.1.2.3/8']).has('10.9.9.9'), 'bits behind the prefix do not count')
})

/** Family and number of an address that `write4` or `write6` wrote. */
interface Number_ {
  readonly six: boolean
  readonly value: bigint
}
const write4 = (value: bigint) => [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 255n).join('.')
const write6 = (value: bigint, short: boolean) => {
  const text = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 65_535n).toString(16)).join(':')
  return short ? text.replace(/(?:^|:)0(?::0)+(?::|$)/, '::') : text
}

t.test('the trie says what comparing numbers says', async t => {
  // Few bits vary, so that networks nest and addresses hit.
  const four = fc.tuple(fc.nat(3), fc.nat(3)).map(([a, b]) => (BigInt(a) << 30n) | (BigInt(b) << 3n))
  const six = fc
    .tuple(fc.nat(3), fc.nat(3), fc.nat(3))
    .map(([a, b, c]) => (BigInt(a) << 126n) | (BigInt(b) << 63n) | BigInt(c))
  const address = fc.oneof(
    four.map((value): Number_ => ({ six: false, value })),
    six.filter(value => value >> 32n !== 0xffffn).map((value): Number_ => ({ six: true, value })),
  )
  const network = fc.tuple(address, fc.nat(128)).map(([at, bits]) => ({ ...at, bits: at.six ? bits : bits % 33 }))
  let inside = 0
  fc.assert(
    fc.property(
      fc.array(network, { maxLength: 8 }),
      fc.array(address, { minLength: 1, maxLength: 20 }),
      fc.boolean(),
      (networks, addresses, short) => {
        const set = new CidrSet(
          networks.map(({ six, value, bits }) => `${six ? write6(value, short) : write4(value)}/${bits}`),
        )
        return addresses.every(({ six, value }) => {
          const naive = networks.some(
            net =>
              net.six === six &&
              value >> BigInt((six ? 128 : 32) - net.bits) === net.value >> BigInt((six ? 128 : 32) - net.bits),
          )
          if (naive) inside++
          const text = six ? write6(value, short) : write4(value)
          return set.has(text) === naive && (six || set.has(`::ffff:${text}`) === naive)
        })
      },
    ),
    { numRuns: 3000 },
  )
  t.ok(inside > 3000, `${inside} addresses lay inside`)
})
