// The exchange: its headers both ways, its ids, its client, and where it may be sent.
import t from 'tap'
import { Slot } from '../../../src/exchange/slot.ts'
import { CidrSet } from '../../../src/http/cidr.ts'
import { passingTrailers } from '../../../src/http/head.ts'
import { createLog } from '../../../src/log.ts'
import { BALANCERS } from '../../../src/upstream/balance/algorithms.ts'
import { Upstream } from '../../../src/upstream/upstream.ts'
import { exchange } from '../../support/exchange.ts'
import { requestHead } from '../../support/request-head.ts'

function withHeaders(headers: string[]) {
  const head = requestHead('GET', 'h', '/', headers)
  head.hasUnderscore = headers.some((text, i) => i % 2 === 0 && text.includes('_'))
  return exchange(head)
}

t.test('request headers', async t => {
  const x = withHeaders(['a', '1', 'x-user-id', 'evil', 'x_user_id', 'evil', 'x-user_id', 'evil', 'b', '2', 'a', '3'])
  t.equal(x.requestHeader('a'), '1')
  t.equal(x.requestHeader('c'), undefined)
  x.setRequestHeader('x-user-id', 'ann')
  t.same(x.head.headers, ['a', '1', 'b', '2', 'a', '3', 'x-user-id', 'ann'], 'its twins go with it')
  x.addRequestHeader('b', '4')
  x.removeRequestHeader('a')
  t.same(x.head.headers, ['b', '2', 'x-user-id', 'ann', 'b', '4'])
  x.removeRequestHeader('nothing')
  t.same(x.head.headers, ['b', '2', 'x-user-id', 'ann', 'b', '4'])
})

t.test('twins go in whatever spelling they are named', async t => {
  for (const name of ['x-user-id', 'x_user_id', 'x-user_id']) {
    const spellings = ['x-user-id', 'x_user_id', 'x-user_id', 'x_user-id'].flatMap(twin => [twin, 'evil'])
    const x = withHeaders(['x-user', '1', ...spellings])
    x.setRequestHeader(name, 'ann')
    t.same(x.head.headers, ['x-user', '1', name, 'ann'])
    const plain = withHeaders(['x-user-id', 'evil', 'x-user', '1'])
    plain.head.bodyLength = -1
    plain.removeRequestHeader(name)
    t.same(plain.head.headers, ['x-user', '1'], 'also where no name in the head has an underscore')
    t.same(passingTrailers(plain.head, ['x-user-id', 'evil', 'x_user_id', 'evil', 'x-b', '1']), ['x-b', '1'])
  }
})

t.test('answer headers', async t => {
  const x = withHeaders([])
  t.equal(x.responseHeader('a'), undefined, 'there is no answer yet')
  x.setResponseHeader('a', '1')
  x.addResponseHeader('a', '1')
  x.removeResponseHeader('a')
  t.equal(x.response, null)
  x.response = { status: 200, hasDate: true, headers: ['date', 'd', 'a', '1', 'a', '2'], bodyLength: 0 }
  t.equal(x.responseHeader('a'), '1')
  x.setResponseHeader('a', '3')
  x.addResponseHeader('set-cookie', 'x')
  x.addResponseHeader('set-cookie', 'y')
  t.same(x.response.headers, ['date', 'd', 'a', '3', 'set-cookie', 'x', 'set-cookie', 'y'])
  x.removeResponseHeader('date')
  t.notOk(x.response.hasDate, 'the engine will add one')
  x.setResponseHeader('date', 'e')
  t.ok(x.response.hasDate)
})

t.test('what would break a message throws, and nothing is lost', async t => {
  const x = withHeaders(['a', '1'])
  x.response = { status: 200, hasDate: false, headers: ['a', '1'], bodyLength: 0 }
  for (const [name, value] of [
    ...['a\r\nb', 'a b', '', 'A', 'é'].map(name => [name, '1']),
    ...['1\r\nb: 2', '\n', '\0', '\x7f', '\u0100'].map(value => ['a', value]),
    ...['connection', 'content-length', 'transfer-encoding', 'keep-alive', 'upgrade', 'te', 'host', 'trailer'].map(
      name => [name, '1'],
    ),
  ] as [string, string][]) {
    t.throws(() => x.setRequestHeader(name, value), TypeError, JSON.stringify([name, value]))
    t.throws(() => x.addRequestHeader(name, value), TypeError)
    t.throws(() => x.setResponseHeader(name, value), TypeError)
    t.throws(() => x.addResponseHeader(name, value), TypeError)
  }
  t.same(x.head.headers, ['a', '1'])
  t.same(x.response.headers, ['a', '1'])
})

t.test('the client', async t => {
  const head = { ...requestHead('GET', 'h', '/', ['x-forwarded-for', '1.2.3.4']), remoteAddress: '10.0.0.1' }
  const world = { upstreams: new Map(), trusted: new CidrSet(['10.0.0.0/8']) }
  t.equal(exchange(head, world).clientIp, '1.2.3.4')
  t.ok(exchange(head, world).peerTrusted)
  t.equal(exchange(head).clientIp, '10.0.0.1')
  t.notOk(exchange(head).peerTrusted)
})

t.test('another upstream', async t => {
  const options = {
    ...{ scheme: 'http', balance: 'round-robin', host: 'pass', endpoints: [] },
    connections: { max: 1, pending: 1, idle: 1 },
    timeouts: { connect: 1, response: 1, idle: 1 },
    slowStart: 0,
  }
  const parts = {
    resolve: (path: string) => path,
    makeBalancer: BALANCERS.random,
    poller: null,
    previous: null,
    log: createLog('silent'),
  }
  const beta = new Upstream('beta', options as never, parts)
  const x = exchange(requestHead('GET', 'h', '/'), { upstreams: new Map([['beta', beta]]), trusted: null })
  t.notOk(x.routeTo('gamma'))
  t.notOk(x.routeTo('__proto__'))
  t.equal(x.upstream, null)
  t.ok(x.routeTo('beta'))
  t.equal(x.upstream, beta)
})

t.test('slots', async t => {
  const x = withHeaders([])
  const a = new Slot<number>(3)
  const b = new Slot<string>(0)
  t.equal(a.get(x), undefined)
  a.set(x, 5)
  b.set(x, 'y')
  t.equal(a.get(x), 5)
  t.equal(b.get(x), 'y')
  t.equal(a.get(withHeaders([])), undefined, 'another exchange has its own')
})

t.test('request ids', async t => {
  const x = withHeaders([])
  const id = x.requestId
  t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(x.requestId, id, 'the same ever after')
  x.requestId = 'given'
  t.equal(x.requestId, 'given')
})
