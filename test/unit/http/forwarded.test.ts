// Who the client is behind proxies, what the upstream is told of it, and what a client may not say of itself.
import t from 'tap'
import { CidrSet } from '../../../src/http/cidr.ts'
import { addForwarding, addressKey, addVia, clientAddress, dropClaims } from '../../../src/http/forwarded.ts'
import type { RequestHead } from '../../../src/http/head.ts'
import { requestHead } from '../../support/request-head.ts'

const trusted = new CidrSet(['10.0.0.0/8', 'fd00::/8'])

function from(peer: string, headers: string[], secure = false) {
  const head = requestHead('GET', 'api.example', '/', headers)
  head.remoteAddress = peer
  head.secure = secure
  head.hasUnderscore = headers.some((text, i) => i % 2 === 0 && text.includes('_'))
  return head
}

t.test('the client', async t => {
  const client = (peer: string, ...chains: string[]) =>
    clientAddress(
      from(
        peer,
        chains.flatMap(chain => ['x-forwarded-for', chain]),
      ),
      trusted,
    )
  t.equal(clientAddress(from('10.0.0.1', ['x-forwarded-for', '1.2.3.4']), null), '10.0.0.1', 'nobody is trusted')
  t.equal(client('9.9.9.9', '1.2.3.4'), '9.9.9.9', 'a peer that is not trusted')
  t.equal(client('10.0.0.1'), '10.0.0.1', 'a proxy that tells nothing')
  t.equal(client('10.0.0.1', '1.2.3.4'), '1.2.3.4')
  t.equal(client('10.0.0.1', '6.6.6.6, 1.2.3.4'), '1.2.3.4', 'what the client itself prepended is not believed')
  t.equal(client('10.0.0.1', '6.6.6.6, 1.2.3.4, 10.0.0.2'), '1.2.3.4', 'through a second proxy')
  t.equal(client('10.0.0.1', '6.6.6.6', '1.2.3.4,10.0.0.2'), '1.2.3.4', 'fields count as one list')
  t.equal(client('10.0.0.1', '10.0.0.3, 10.0.0.2'), '10.0.0.3', 'all are proxies: the left-most')
  t.equal(client('10.0.0.1', '1.2.3.4, unknown'), '10.0.0.1', 'an entry that is none ends the search')
  t.equal(client('10.0.0.1', '1.2.3.4, , 10.0.0.2'), '10.0.0.2')
  t.equal(client('10.0.0.1', '1.2.3.4:5678'), '1.2.3.4', 'with a port')
  t.equal(client('10.0.0.1', '[2001:DB8::1]:443'), '2001:db8::1')
  t.equal(client('10.0.0.1', '[2001:db8::1]'), '2001:db8::1')
  t.equal(client('10.0.0.1', '2001:db8::1'), '2001:db8::1')
  t.equal(client('10.0.0.1', '::ffff:1.2.3.4'), '1.2.3.4', 'a mapped one')
  t.equal(client('fd00::1', '1.2.3.4'), '1.2.3.4')
  t.equal(client('10.0.0.1', '1.2.3.4:'), '10.0.0.1')
  t.equal(client('10.0.0.1', '"1.2.3.4"'), '10.0.0.1')
})

t.test('keys of addresses', async t => {
  t.equal(addressKey('1.2.3.4'), '1.2.3.4')
  t.equal(addressKey('2001:db8:1:2:3:4:5:6'), addressKey('2001:DB8:1:2::'))
  t.not(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'))
  t.equal(addressKey('2001:db8:1:2::1'), '2001:db8:1:2::/64')
  t.equal(addressKey('a:b'), 'a:b', 'what is no address is its own key')
  t.equal(addressKey(''), '')
})

/** The two steps as the proxy takes them. */
function forward(head: RequestHead, trusted: CidrSet | null): boolean {
  dropClaims(head, trusted)
  return addForwarding(head)
}

t.test('what an untrusted peer says of itself is replaced', async t => {
  const head = from('9.9.9.9', [
    ...['x-forwarded-for', '6.6.6.6', 'accept', '*/*', 'x_forwarded_for', '6.6.6.6', 'x-real-ip', '6.6.6.6'],
    ...['forwarded', 'for=6.6.6.6', 'x-forwarded-proto', 'https', 'x-forwarded_host', 'evil', 'x-forwarded-port', '1'],
    ...[
      'x-forwarded-server',
      'evil',
      'via',
      '1.0 a',
      'x_other',
      'stays',
      'x_real-ip',
      '6.6.6.6',
      'via',
      '1.1 b',
      'x-b',
      '2',
    ],
  ])
  t.ok(forward(head, trusted))
  t.same(head.headers, [
    ...['accept', '*/*', 'x_other', 'stays', 'x-b', '2', 'x-forwarded-for', '9.9.9.9', 'x-forwarded-proto', 'http'],
    ...['x-forwarded-host', 'api.example', 'via', '1.0 a, 1.1 b, 1.1 sluice'],
  ])
})

t.test('a trusted proxy is believed and appended to', async t => {
  const head = from('10.0.0.1', [
    ...[
      'x-forwarded-for',
      '1.2.3.4',
      'x-forwarded-for',
      '5.6.7.8',
      'x-forwarded-proto',
      'https',
      'x-forwarded-host',
      'shop',
    ],
    ...['forwarded', 'for=1.2.3.4', 'x_forwarded_for', '6.6.6.6'],
  ])
  t.ok(forward(head, trusted))
  t.same(head.headers, [
    ...['x-forwarded-proto', 'https', 'x-forwarded-host', 'shop', 'forwarded', 'for=1.2.3.4'],
    ...['x-forwarded-for', '1.2.3.4, 5.6.7.8, 10.0.0.1', 'via', '1.1 sluice'],
  ])
})

t.test('what it does not tell is told by us', async t => {
  const head = from('10.0.0.1', [], true)
  forward(head, trusted)
  t.same(head.headers, [
    'x-forwarded-for',
    '10.0.0.1',
    'x-forwarded-proto',
    'https',
    'x-forwarded-host',
    'api.example',
    'via',
    '1.1 sluice',
  ])
  const empty = from('10.0.0.1', ['x-forwarded-for', '', 'x-forwarded-proto', '', 'x-forwarded-host', ''], true)
  forward(empty, trusted)
  t.same(empty.headers, head.headers, 'an empty field tells nothing')
  const old = from('9.9.9.9', [])
  old.host = ''
  forward(old, null)
  t.same(
    old.headers,
    ['x-forwarded-for', '9.9.9.9', 'x-forwarded-proto', 'http', 'via', '1.1 sluice'],
    'HTTP/1.0 without a Host',
  )
})

t.test('what a plugin wrote between the two steps stays, whoever the peer is', async t => {
  const head = from('9.9.9.9', ['x-forwarded-user', 'evil', 'x-real-ip', '6.6.6.6', 'x-forwarded-for', '6.6.6.6'])
  dropClaims(head, trusted)
  t.same(head.headers, [])
  head.headers.push('x-forwarded-user', 'ann', 'x-forwarded-proto', 'https', 'x-real-ip', '9.9.9.9')
  t.ok(addForwarding(head))
  t.same(head.headers, [
    ...['x-forwarded-user', 'ann', 'x-forwarded-proto', 'https', 'x-real-ip', '9.9.9.9'],
    ...['x-forwarded-for', '9.9.9.9', 'x-forwarded-host', 'api.example', 'via', '1.1 sluice'],
  ])
})

t.test('an empty value is an empty list', async t => {
  const head = from('10.0.0.1', ['x-forwarded-for', '', 'via', ''])
  t.ok(forward(head, trusted))
  t.match(head.headers.slice(0, 2), ['x-forwarded-for', '10.0.0.1'])
  t.same(head.headers.slice(-2), ['via', '1.1 sluice'])
  const answer = ['via', '']
  addVia(answer)
  t.same(answer, ['via', '1.1 sluice'])
})

t.test('a circle is noticed', async t => {
  const headers: string[] = []
  for (let pass = 1; pass <= 5; pass++) {
    const head = from('9.9.9.9', headers.splice(0))
    t.ok(forward(head, null), `pass ${pass}`)
    headers.push('via', head.headers.at(-1)!)
  }
  t.notOk(forward(from('9.9.9.9', headers), null), 'the sixth time round')
  t.ok(
    forward(from('9.9.9.9', ['via', '1.1 a, 1.1 b, 1.1 c, 1.1 d, 1.1 e, 1.1 f']), null),
    'other proxies do not count',
  )
  const names = ['1.1 sluice-a', '1.1 sluice2', '1.1 sluice.example', '1.1 a (1.1 sluice, 1.1 sluice)', '1.1 sluiceway']
  t.ok(forward(from('9.9.9.9', ['via', [...names, ...names].join(', ')]), null), 'nor what only looks like us')
  const us = Array(5).fill('1.1 sluice').join(', ')
  t.ok(forward(from('9.9.9.9', ['via', `1.1 a (x \\) (${us}), y, ${us})`]), null), 'nor what a comment says')
  for (const open of ['(', '((', '(\\', 'a (b (c)'])
    t.notOk(forward(from('9.9.9.9', ['via', open, 'via', us]), null), `${open} hides nobody`)
})

t.test('a Via that is all parentheses takes no time', async t => {
  for (const piece of ['(\\', '\\(', '(', '()', ')(', '(a)']) {
    const via = piece.repeat(32 * 1024)
    const before = process.cpuUsage()
    t.ok(forward(from('9.9.9.9', ['via', via]), null))
    t.ok(process.cpuUsage(before).user < 1_000_000, piece)
  }
})

t.test("an answer's Via", async t => {
  const none = ['a', '1']
  addVia(none)
  t.same(none, ['a', '1', 'via', '1.1 sluice'])
  const one = ['via', '1.0 x', 'a', '1']
  addVia(one)
  t.same(one, ['via', '1.0 x, 1.1 sluice', 'a', '1'])
})
