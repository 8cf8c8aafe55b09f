// Patterns and conditions as they are read from the file: what they mean and which cannot be.
import t from 'tap'
import { cookieValue, cookieValues } from '../../../src/http/cookie.ts'
import { hostKey } from '../../../src/http/host.ts'
import { queryValue, queryValues } from '../../../src/http/query.ts'
import { Condition, parseHost, parsePath } from '../../../src/route/match.ts'

t.test('path patterns', async t => {
  t.match(parsePath('/'), { segments: [''], exact: '/', star: false, shape: '/' })
  t.match(parsePath('/*'), { segments: [], exact: null, star: true, shape: '/*' })
  t.match(parsePath('/a/b'), { segments: ['a', 'b'], exact: '/a/b', shape: '/a/b' })
  t.match(parsePath('/a/:id/b/*'), {
    segments: ['a', null, 'b'],
    names: ['id'],
    exact: null,
    star: true,
    shape: '/a/:/b/*',
  })
  t.equal(parsePath('/caf\u00e9/\u{1f600}').exact, '/caf%C3%A9/%F0%9F%98%80', 'text past ASCII is escaped')
  t.equal(parsePath('/%63af%c3%a9').exact, '/caf%C3%A9', 'escapes are normalised')
  t.equal(parsePath('/a%2fb').exact, '/a%2Fb', 'for listeners that keep it')
  for (const braced of ['{id}', '{id+}', '{*id}', '{id:[0-9]+}', '{id...}']) {
    const message = `\`${braced}\`: a parameter is written :id, and the rest of a path *`
    t.throws(() => parsePath(`/users/${braced}`), { message })
  }
  t.equal(parsePath('/a/{b}c/%7Bd%7D').exact, '/a/{b}c/%7Bd%7D', 'braces that are no parameter')
  t.equal(parsePath('/v1/users:batch').exact, '/v1/users:batch', 'a colon inside a segment is text')
  const faults = [
    '',
    'a',
    '*',
    '/a*',
    '/*/a',
    '/a/**',
    '/:',
    '/:1',
    '/:a-b',
    '/:a.json',
    '/:a/:a',
    '/a/./b',
    '/a/..',
    '/a b',
  ]
  for (const text of [...faults, '/a?b', '/a#b', '/a\\b', '/%zz', '/%00', '/%5c', '/..;', '/\ud800']) {
    t.throws(() => parsePath(text), { name: 'PatternError' }, JSON.stringify(text))
  }
})

t.test('host patterns', async t => {
  t.same(parseHost('*'), { kind: 2, name: '' })
  t.same(parseHost('*.Example.com.'), { kind: 1, name: 'example.com' })
  t.same(parseHost('API.example.com'), { kind: 0, name: 'api.example.com' })
  t.same(parseHost('localhost'), { kind: 0, name: 'localhost' })
  t.same(parseHost('a_b.internal'), { kind: 0, name: 'a_b.internal' })
  t.same(parseHost('::0:1'), { kind: 0, name: '[::1]' }, 'IPv6 in the form that clients send')
  t.same(parseHost('[2001:DB8::1]'), { kind: 0, name: '[2001:db8::1]' })
  const faults = [
    '',
    '.',
    '*.',
    'a..b',
    '-a',
    'a.*.b',
    '*a.b',
    '**.b',
    'a.b:80',
    '[::1]:80',
    '[::1',
    'a b',
    'a/b',
    'b\u00fccher.test',
    'u@h',
  ]
  for (const text of faults) t.throws(() => parseHost(text), { name: 'PatternError' }, JSON.stringify(text))
})

t.test('the host of a request', async t => {
  const cases = {
    'a.test': 'a.test',
    'A.Test:80': 'a.test',
    'a.test.': 'a.test',
    'a.test.:8080': 'a.test',
    '[::1]:80': '[::1]',
    '[2001:DB8::1]': '[2001:db8::1]',
    '[0:0:0:0:0:0:0:1]:80': '[::1]',
    '[::0001]': '[::1]',
    '[v1.A]': '[v1.a]',
    '%61dmin.A%2Dtest%2e:80': 'admin.a-test',
    'a%2Fb%zz%4': 'a%2fb%zz%4',
    '[::1': '[::1',
    '.': '.',
    '': '',
    ':80': '',
  }
  for (const [host, key] of Object.entries(cases)) t.equal(hostKey(host), key, `${host} is ${key}`)
})

t.test('a pattern costs no more than its length', async t => {
  const names = Array.from({ length: 100_000 }, (_, i) => `p${i}`)
  const begun = performance.now()
  t.equal(parsePath(names.map(name => `/:${name}`).join('')).names.length, names.length)
  t.ok(performance.now() - begun < 5_000)
})

t.test('conditions that cannot be', async t => {
  t.throws(() => new Condition('header', 'x', '~('), { name: 'PatternError', message: /regular expression/ })
  t.throws(() => new Condition('header', 'x y', '1'), { name: 'PatternError', message: /no header name/ })
  t.throws(() => new Condition('cookie', 'a=b', '1'), { name: 'PatternError', message: /no cookie name/ })
  t.throws(() => new Condition('header', 'Host', '1'), { name: 'PatternError', message: /match\.host/ })
  for (const name of ['Transfer-Encoding', 'Keep-Alive', 'Proxy-Authorization', 'HTTP2-Settings'])
    t.throws(() => new Condition('header', name, 'present'), { name: 'PatternError', message: /never reach/ })
  for (const value of ['a\nb', 'a\r', '\0', '日本', ' a', 'a\t'])
    t.throws(() => new Condition('header', 'x', value), { name: 'PatternError', message: /no header has such a value/ })
  t.doesNotThrow(() => new Condition('query', 'x', '日本'))
})

t.test('query values', async t => {
  t.equal(queryValue('a=1&b=2&a=3', 'a'), '1')
  t.same(queryValues('a=1&b=2&a=3&a', 'a'), ['1', '3', ''])
  t.equal(queryValue('', 'a'), undefined)
  t.equal(queryValue('aa=1&=2&&a', 'a'), '')
  t.equal(queryValue('b=a=1', 'a'), undefined)
  t.equal(queryValue('a=b=c', 'a'), 'b=c')
  t.equal(queryValue('%61+b=c+d%2B%C3%A9', 'a b'), 'c d+\u00e9')
  t.equal(queryValue('a=%zz+1', 'a'), '%zz 1', 'what is no escape stays as sent')
  t.equal(queryValue('a=1', '__proto__'), undefined)
  t.equal(queryValue('__proto__=1', '__proto__'), '1')
})

t.test('cookies', async t => {
  t.equal(cookieValue(['cookie', 'a=1; b=2; a=3'], 'a'), '1')
  t.same(cookieValues(['cookie', 'a=1; b=2', 'x', 'a=9', 'cookie', 'a=3'], 'a'), ['1', '3'])
  t.equal(cookieValue(['cookie', 'ba=1;a="2" ;c=3'], 'a'), '2')
  t.equal(cookieValue(['cookie', 'a=b=c'], 'a'), 'b=c')
  t.equal(cookieValue(['cookie', 'a; b=a=1; A=1'], 'a'), undefined)
  t.equal(cookieValue(['cookie', 'a='], 'a'), '')
  t.equal(cookieValue(['cookie', 'b=1; ;;', 'set-cookie', 'a=1'], 'a'), undefined)
  t.equal(cookieValue([], '__proto__'), undefined)
})
