// Attributes, keys and conditions over an exchange.
import t from 'tap'
import { AttributeError, compileAttribute, compileCondition, compileKey } from '../../../src/exchange/attribute.ts'
import { exchange } from '../../support/exchange.ts'
import { requestHead } from '../../support/request-head.ts'

const x = exchange(
  requestHead('GET', 'API.Example:8080', '/a/b?v=2&w=a%20b&empty=&v=3', [
    ...['x-beta', '1', 'cookie', 'cohort=b; s="q"', 'x-beta', '2', 'user-agent', 'curl/8', 'x-empty', ''],
  ]),
)
x.claims = {
  ...{ sub: 'ann', level: 3, admin: true, roles: ['a'], none: null },
  ...{ half: 0.5, last: -(2 ** 53) + 1, rounded: 2 ** 53, huge: Number.POSITIVE_INFINITY },
  ...{ org: { id: 7, unit: { name: 'x' }, 'a.b': 'dots' }, 'org.id.exact': 'named', 'https://id.test/team': 'red' },
}
x.consumer = 'acme'
const six = exchange({ ...requestHead('GET', 'h', '/'), remoteAddress: '2001:db8:1:2:3:4:5:6' })

t.test('attributes', async t => {
  for (const [name, value] of [
    ['client.ip', '127.0.0.1'],
    ['route', 'orders'],
    ['host', 'api.example'],
    ['header.host', 'API.Example:8080'],
    ['path', '/a/b'],
    ['method', 'GET'],
    ['consumer', 'acme'],
    ['header.X-Beta', '1'],
    ['header.x-empty', ''],
    ['header.x-none', undefined],
    ['query.v', '2'],
    ['query.w', 'a b'],
    ['query.empty', ''],
    ['query.x', undefined],
    ['cookie.cohort', 'b'],
    ['cookie.s', 'q'],
    ['cookie.x', undefined],
    ['jwt.sub', 'ann'],
    ['jwt.level', '3'],
    ['jwt.admin', 'true'],
    ['jwt.half', '0.5'],
    ['jwt.last', '-9007199254740991'],
    ['jwt.rounded', undefined],
    ['jwt.huge', undefined],
    ['jwt.roles', undefined],
    ['jwt.none', undefined],
    ['jwt.toString', undefined],
    ['jwt.org', undefined],
    ['jwt.org.id', '7'],
    ['jwt.org.unit.name', 'x'],
    ['jwt.org.a.b', 'dots'],
    ['jwt.org.id.exact', 'named'],
    ['jwt.https://id.test/team', 'red'],
    ['jwt.org.none', undefined],
    ['jwt.org.id.none', undefined],
    ['jwt.sub.length', undefined],
    ['jwt.roles.0', undefined],
    ['jwt.none.x', undefined],
    ['jwt.org.constructor.name', undefined],
    ['jwt.org..id', undefined],
    ['jwt.__proto__', undefined],
  ] as const) {
    t.equal(compileAttribute(name)(x), value, name)
  }
  t.equal(compileAttribute('jwt.sub')(six), undefined, 'nobody has verified a token')
  t.equal(compileAttribute('consumer')(six), undefined)
  t.equal(compileAttribute('client.ip')(six), '2001:db8:1:2::/64', 'what one customer has')
  t.equal(compileAttribute('client.ip', true)(six), '2001:db8:1:2:3:4:5:6')
  for (const bad of [
    '',
    'client',
    'client.port',
    'header.',
    '.x',
    'x.y',
    'Header.a',
    'constructor',
    'path.x',
    'header.a b',
    'cookie.a=b',
    // Hop-by-hop and framing: no plugin sees them.
    'header.content-length',
    'header.Connection',
    'header.te',
    'header.keep-alive',
  ]) {
    t.throws(() => compileAttribute(bad), AttributeError, JSON.stringify(bad))
  }
})

t.test('keys', async t => {
  t.equal(compileKey('method')(x), 'GET')
  t.equal(compileKey('client.ip')(x), '127.0.0.1')
  t.equal(compileKey('header.x-none')(x), '/127.0.0.1', 'a missing attribute falls back to the client')
  t.equal(compileKey('header.x-none+method')(x), '/9:127.0.0.1|3:GET|')
  t.equal(compileKey(' client.ip + route ')(x), '9:127.0.0.1|6:orders|')
  const one = exchange(requestHead('GET', 'h', '/', ['a', 'ab', 'b', 'c']))
  const other = exchange(requestHead('GET', 'h', '/', ['a', 'a', 'b', 'bc']))
  const key = compileKey('header.a+header.b')
  t.not(key(one), key(other), 'borders count')
  for (const name of ['header.k', 'query.k', 'header.k+query.k', 'path+header.k']) {
    const keyOf = compileKey(name)
    const values = ['127.0.0.1', '/127.0.0.1', '//127.0.0.1', '///127.0.0.1', '/', '//', '', '/9:127.0.0.1|']
    const keys = values.map(value => keyOf(exchange(requestHead('GET', 'h', `/?k=${value}`, ['k', value]))))
    keys.push(keyOf(exchange(requestHead('GET', 'h', '/'))))
    t.equal(new Set(keys).size, keys.length, `${name}: no value is another, or the fallback`)
  }
  t.throws(() => compileKey('client.ip+nothing'), AttributeError)
  t.throws(() => compileKey(''), AttributeError)
  t.throws(() => compileKey('path+'), AttributeError)
})

t.test('conditions', async t => {
  for (const [when, holds] of [
    [{}, true],
    [{ method: 'GET' }, true],
    [{ method: 'PURGE' }, false],
    [{ method: '~^get$' }, false],
    [{ host: 'api.example' }, true],
    [{ path: '/a/b' }, true],
    [{ path: '/a' }, false],
    [{ path: '/:b%2F@*' }, false],
    [{ 'header.host': 'API.Example:8080' }, true],
    [{ 'header.x-beta': '1' }, true],
    [{ 'header.x-beta': '2' }, false],
    [{ 'header.x-beta': 'present' }, true],
    [{ 'header.x-empty': 'present' }, true],
    [{ 'header.x-none': 'present' }, false],
    [{ 'header.x-none': 'absent' }, true],
    [{ 'header.x-beta': 'absent' }, false],
    [{ 'header.user-agent': '~^curl/' }, true],
    [{ 'header.user-agent': '~^Curl/' }, false],
    [{ 'header.x-none': '~.*' }, false],
    [{ path: '~^/a', method: 'GET' }, true],
    [{ path: '~^/b', method: 'GET' }, false],
    [{ path: '~^/a', method: 'PUT' }, false],
    [{ 'client.ip': '127.0.0.0/8' }, true],
    [{ 'client.ip': '127.0.0.1' }, true],
    [{ 'client.ip': '::ffff:127.0.0.1' }, true],
    [{ 'client.ip': '10.0.0.0/8' }, false],
    [{ 'client.ip': '~^127' }, true],
  ] as [Record<string, string>, boolean][]) {
    const predicate = compileCondition(when)
    t.equal(predicate(x), holds, JSON.stringify(when))
    t.equal(predicate(x), holds, 'and again')
  }
  t.ok(compileCondition({ 'client.ip': '2001:db8::/32' })(six))
  t.ok(compileCondition({ host: '' })(exchange(requestHead('GET', '', '/'))), 'HTTP/1.0 may come without a host')
  t.notOk(compileCondition({ host: '' })(x))
  t.ok(compileCondition({ 'client.ip': '2001:DB8:1:2:3:4:5:6' })(six), 'however it is written')
  t.throws(() => compileCondition({ nothing: 'x' }), AttributeError)
  t.throws(() => compileCondition({ path: '~(' }), SyntaxError)
  for (const mistyped of [
    ...['127.0.0.1/33', '300.0.0.0/8', '10.0.0/8', 'fe80::/129', '10.0.0.0/8, 11.0.0.0/8', '10.0.0.0/8 ', ''],
    ...['localhost', 'Present', 'fe80::1%eth0', '10.0.0.0/'],
  ])
    t.throws(() => compileCondition({ 'client.ip': mistyped }), AttributeError, JSON.stringify(mistyped))
})

t.test('a condition that can hold for nobody is refused: it would switch off what it stands on', async t => {
  for (const [name, value, said] of [
    ['method', 'get', /capitals/],
    ['method', 'GET, POST', /a method such as GET/],
    ['method', '*', /every method/],
    ['method', 'ANY', /every method/],
    ['method', 'CONNECT', /501/],
    ['path', '/admin/*', /~\^\/admin/],
    ['path', '/users/:id', /an expression/],
    ['path', 'admin', /no request has such a path/],
    ['path', '/a b', /no request has such a path/],
    ['path', '/%61dmin/../x', /it is written \/x/],
    ['host', 'API.Example', /write api\.example/],
    ['host', 'api.example:8080', /write api\.example/],
    ['host', '*.example', /an expression/],
    ['host', 'http://api.example', /no request has such a host/],
    ['header.x', ' a', /blank/],
    ['header.X', 'a\nb', /control/],
    ['header.content-length', 'present', /never there/],
  ] as const)
    t.throws(() => compileCondition({ [name]: value }), { name: 'AttributeError', message: said }, `${name}: ${value}`)
})
