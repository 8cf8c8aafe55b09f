// Which route wins: each rule of docs/configuration.md by example, then the whole table against a naive matcher.
// Over 300 lines because the naive matcher, and the table of examples it is held to, belong together.
import fc from 'fast-check'
import t from 'tap'
import type { RequestHead } from '../../../src/http/head.ts'
import { conflicts } from '../../../src/route/entry.ts'
import type { MatchOptions } from '../../../src/route/match.ts'
import { type RouteTable, RouteTableBuilder } from '../../../src/route/table.ts'
import { requestHead } from '../../support/request-head.ts'

function table(routes: Record<string, Partial<MatchOptions>>): RouteTable<string> {
  const builder = new RouteTableBuilder<string>()
  Object.entries(routes).forEach(([name, match], order) => {
    builder.add({ host: ['*'], path: ['/*'], ...match }, name, order)
  })
  return builder.build()
}

/** Name of the route for a GET of a path on a host. */
function winner(routes: RouteTable<string>, target: string, host = 'a.test', headers: string[] = []): string | null {
  return routes.findEntry(requestHead('GET', host, target, headers))?.route ?? null
}

t.test('hosts', async t => {
  const routes = table({
    any: {},
    wildcard: { host: ['*.example.com'] },
    exact: { host: ['api.example.com'] },
    six: { host: ['[::1]', '2001:db8:0::1'] },
    four: { host: ['127.0.0.1'] },
  })
  const cases = {
    'api.example.com': 'exact',
    'API.Example.COM:8443': 'exact',
    'api.example.com.': 'exact',
    'api.example.com.:80': 'exact',
    'www.example.com': 'wildcard',
    'a.b.example.com': 'any',
    'example.com': 'any',
    '.example.com': 'any',
    'api.example.com.evil.test': 'any',
    '[::1]': 'six',
    '[::1]:8080': 'six',
    '[2001:db8::1]': 'six',
    '127.0.0.1:80': 'four',
    '': 'any',
    ':80': 'any',
    __proto__: 'any',
  }
  for (const [host, route] of Object.entries(cases))
    t.equal(winner(routes, '/', host), route, `${host} goes to ${route}`)
})

t.test('a better host without a matching route leaves it to the next', async t => {
  const routes = table({
    exact: { host: ['api.example.com'], path: ['/a/*'], headers: { 'x-beta': '1' } },
    wildcard: { host: ['*.example.com'], path: ['/a/b', '/c'] },
    any: { path: ['/a/b/c', '/a/b'] },
  })
  t.equal(
    winner(routes, '/a/b', 'api.example.com', ['x-beta', '1']),
    'exact',
    'however specific the paths of the others',
  )
  t.equal(winner(routes, '/a/b', 'api.example.com'), 'wildcard')
  t.equal(winner(routes, '/a/b/c', 'api.example.com'), 'any')
  t.equal(winner(routes, '/d', 'api.example.com'), null)
})

t.test('path patterns', async t => {
  const routes = table({
    star: { path: ['/a/*'] },
    exact: { path: ['/a/b'] },
    param: { path: ['/a/:id'] },
    deep: { path: ['/a/:id/c/*'] },
    literal: { path: ['/a/x/*'] },
    slash: { path: ['/s/'] },
    empty: { path: ['/e//f', '/e//*'] },
    utf8: { path: ['/café/%7euser/:x'] },
  })
  const cases = {
    '/a': 'star',
    '/a/': 'star',
    '/ab': null,
    '/a../b': null,
    '/A': null,
    '/a/b': 'exact',
    '/a/b/': 'star',
    '/a/z': 'param',
    '/a/z/': 'star',
    '/a/z/c': 'deep',
    '/a/z/c/d/e': 'deep',
    '/a/x': 'literal',
    '/a/x/c/d': 'literal',
    '/s': null,
    '/s/': 'slash',
    '/e//f': 'empty',
    '/e//g': 'empty',
    '/e/f': null,
    '/caf%C3%A9/~user/1': 'utf8',
    '/': null,
    '/__proto__': null,
    '/constructor': null,
  }
  for (const [path, route] of Object.entries(cases)) t.equal(winner(routes, path), route, `${path} goes to ${route}`)
})

t.test('a literal beats a parameter beats a star, from the left, and each steps back for the next', async t => {
  const routes = table({
    star: { path: ['/*'] },
    params: { path: ['/:a/:b'] },
    first: { path: ['/a/:b'] },
    second: { path: ['/:a/b'] },
    both: { path: ['/a/b'], headers: { x: '1' } },
    far: { path: ['/a/c/d'] },
  })
  t.equal(winner(routes, '/a/b', 'h', ['x', '1']), 'both')
  t.equal(winner(routes, '/a/b'), 'first', 'the exact path asks for a header')
  t.equal(winner(routes, '/z/b'), 'second')
  t.equal(winner(routes, '/z/z'), 'params')
  t.equal(winner(routes, '/a/c'), 'first', 'a literal that leads nowhere is left again')
  t.equal(winner(routes, '/a/'), 'star', 'a parameter is never empty')
  t.equal(winner(routes, '/a/c/e'), 'star')
})

t.test('OPTIONS * goes only to a route for any path', async t => {
  t.equal(table({ any: {} }).findEntry(requestHead('OPTIONS', 'h', '*'))?.route, 'any')
  const others = table({ root: { path: ['/', '//*', '//:a', '/:a'] } })
  t.equal(others.findEntry(requestHead('OPTIONS', 'h', '*')), null)
  t.equal(others.allow(requestHead('OPTIONS', 'h', '*')), null)
})

t.test('on the same path more conditions win, then their kind, then the order written', async t => {
  const conditions = {
    none: {},
    cookie: { cookies: { c: '1' } },
    query: { query: { q: '1' } },
    header: { headers: { h: '1' } },
    method: { methods: ['GET', 'POST'] },
    cookies: { cookies: { c: '1', d: '2' } },
    later: { headers: { k: '1' } },
    three: { methods: ['GET'], query: { q: '1' }, cookies: { c: '1' } },
  }
  const routes = table(conditions)
  const cookie = ['cookie', 'c=1; d=2']
  t.equal(winner(routes, '/'), 'method')
  t.equal(winner(routes, '/?q=1', 'h', ['h', '1', ...cookie]), 'three')
  t.equal(winner(routes, '/', 'h', ['h', '1', 'k', '1', ...cookie]), 'cookies')
  t.equal(winner(routes, '/', 'h', ['h', '1', 'k', '1']), 'method')
  const put = (target: string, headers: string[] = []) =>
    routes.findEntry(requestHead('PUT', 'h', target, headers))?.route
  t.equal(put('/?q=1', ['k', '1', 'h', '1', 'cookie', 'c=1']), 'header', 'written before later')
  t.equal(put('/?q=1', ['cookie', 'c=1']), 'query')
  t.equal(put('/', ['cookie', 'c=1']), 'cookie')
  t.equal(put('/'), 'none')
})

t.test('conditions', async t => {
  const holds = (match: Partial<MatchOptions>, target: string, headers: string[] = []) =>
    winner(table({ it: match }), target, 'h', headers) === 'it'
  t.ok(holds({ headers: { 'X-Beta': '1' } }, '/', ['x-beta', '1']), 'header names are without case')
  t.notOk(holds({ headers: { 'x-beta': '1' } }, '/', ['x-beta', '11']))
  t.ok(holds({ headers: { x: 'b' } }, '/', ['x', 'a', 'x', 'b']), 'one of several fields is enough')
  t.notOk(holds({ headers: { x: 'b' } }, '/', ['y', 'b']))
  t.ok(holds({ headers: { x: 'present' } }, '/', ['x', '']))
  t.notOk(holds({ headers: { x: 'present' } }, '/'))
  t.ok(holds({ headers: { x: 'absent' } }, '/', ['y', 'x']))
  t.notOk(holds({ headers: { x: 'absent' } }, '/', ['x', 'absent']))
  t.ok(holds({ headers: { 'user-agent': '~^curl/' } }, '/', ['user-agent', 'curl/8']))
  t.notOk(holds({ headers: { 'user-agent': '~^curl/' } }, '/', ['user-agent', 'not curl/8']))
  t.notOk(holds({ headers: { x: '~.*' } }, '/'), 'an absent field has no text to find anything in')
  t.ok(holds({ headers: { __proto__x: 'absent' } }, '/'))
  t.ok(holds({ query: { v: '2' } }, '/?a=1&v=2'))
  t.ok(holds({ query: { v: '2' } }, '/?v=1&v=2'), 'one of several is enough')
  t.ok(holds({ query: { 'a b': 'c d' } }, '/?a+b=c%20d'))
  t.notOk(holds({ query: { v: '2' } }, '/?w=2&vv=2'))
  t.ok(holds({ query: { v: 'present' } }, '/?v'))
  t.ok(holds({ query: { v: 'absent' } }, '/?w=v'))
  t.ok(holds({ query: { constructor: 'absent' } }, '/'))
  t.ok(holds({ cookies: { cohort: 'beta' } }, '/', ['cookie', 'a=b; cohort=beta']))
  t.ok(holds({ cookies: { cohort: 'beta' } }, '/', ['cookie', 'a=b', 'cookie', 'cohort="beta"']))
  t.notOk(holds({ cookies: { cohort: 'beta' } }, '/', ['cookie', 'Cohort=beta; xcohort=beta']))
  t.ok(holds({ cookies: { cohort: 'absent' } }, '/', ['cookie', 'cohort']))
})

t.test('405: the methods that would have done', async t => {
  const routes = table({
    read: { path: ['/a/*'], methods: ['GET'] },
    write: { path: ['/a/b'], methods: ['PUT', 'DELETE'] },
    beta: { path: ['/a/b'], methods: ['PATCH'], headers: { beta: '1' } },
    host: { host: ['api.test'], path: ['/a/:id'], methods: ['POST', 'GET'] },
  })
  const allow = (path: string, host = 'h', headers: string[] = []) => {
    const head = requestHead('HEAD', host, path, headers)
    t.equal(routes.findEntry(head), null, 'GET does not stand for HEAD')
    return routes.allow(head)
  }
  t.same(allow('/a/b'), ['DELETE', 'GET', 'PUT'])
  t.same(allow('/a/b', 'h', ['beta', '1']), ['DELETE', 'GET', 'PATCH', 'PUT'])
  t.same(allow('/a/b', 'api.test'), ['DELETE', 'GET', 'POST', 'PUT'])
  t.same(allow('/a'), ['GET'])
  t.equal(allow('/b'), null)
})

t.test('what was found names its pattern', async t => {
  const routes = table({ many: { host: ['a.test', 'b.test'], path: ['/a/:x', '/b/*'] } })
  for (const host of ['a.test', 'b.test']) {
    t.match(routes.findEntry(requestHead('GET', host, '/a/1')), {
      patternIndex: 0,
      pattern: { text: '/a/:x' },
      host: { name: host },
    })
    t.match(routes.findEntry(requestHead('GET', host, '/b')), { patternIndex: 1, pattern: { text: '/b/*' } })
  }
})

t.test('many routes that differ in the value of a field', async t => {
  const tenants: Record<string, Partial<MatchOptions>> = {
    rest: {},
    debug: { headers: { debug: 'present', tenant: 'present' } },
  }
  for (let i = 0; i < 1_000; i++) tenants[`t${i}`] = { headers: { tenant: `${i}` }, methods: ['GET'] }
  tenants['special'] = { headers: { tenant: '7' }, methods: ['GET'], query: { v: '2' } }
  const routes = table(tenants)
  t.equal(winner(routes, '/', 'h', ['tenant', '7']), 't7')
  t.equal(winner(routes, '/?v=2', 'h', ['tenant', '7']), 'special')
  t.equal(
    winner(routes, '/', 'h', ['tenant', '999', 'tenant', '7']),
    't7',
    'the order written decides, not the order sent',
  )
  t.equal(winner(routes, '/', 'h', ['tenant', 'x']), 'rest')
  t.equal(winner(routes, '/', 'h', ['tenant', '8', 'debug', '']), 't8', 'as many conditions: one on methods goes first')
  t.equal(routes.findEntry(requestHead('PUT', 'h', '/', ['tenant', '8', 'debug', '']))?.route, 'debug')
  const strict = table(Object.fromEntries(Object.entries(tenants).filter(([name]) => name !== 'rest')))
  t.same(strict.allow(requestHead('PUT', 'h', '/', ['tenant', '5'])), ['GET'])
  t.equal(strict.allow(requestHead('PUT', 'h', '/', ['tenant', 'x'])), null)
})

t.test('listed in the order in which they are tried', async t => {
  const routes = table({
    any: {},
    param: { path: ['/:a'] },
    exact: { path: ['/a'] },
    get: { path: ['/a'], methods: ['GET'] },
    wildcard: { host: ['*.test'] },
    host: { host: ['a.test'], path: ['/b/*', '/b'] },
  })
  t.same(
    routes.listing().map(entry => `${entry.route} ${entry.pattern.text}`),
    ['host /b', 'host /b/*', 'wildcard /*', 'get /a', 'exact /a', 'param /:a', 'any /*'],
  )
})

t.test('routes that can never be told apart', async t => {
  const of = (...matches: Partial<MatchOptions>[]) =>
    conflicts(matches.map((match, index) => ({ match: { host: ['*'], path: ['/*'], ...match }, index })))
  t.same(of({}, {}), [[0, 1]])
  t.same(
    of({}, {}, {}),
    [
      [0, 1],
      [0, 2],
    ],
    'each with the one that wins',
  )
  t.same(of({ path: ['/:a/b'] }, { path: ['/:x/b'] }), [[0, 1]], 'names of parameters do not matter')
  t.same(of({ path: ['/a%41'] }, { path: ['/aA'] }), [[0, 1]], 'nor the spelling')
  t.same(of({ host: ['A.test'] }, { host: ['b.test', 'a.test.'] }), [[0, 1]])
  t.same(of({ path: ['/a', '/b'] }, { path: ['/b', '/c'] }, { path: ['/c', '/a'] }), [
    [0, 1],
    [1, 2],
    [0, 2],
  ])
  t.same(of({ methods: ['GET', 'PUT'] }, { methods: ['PUT', 'GET', 'GET'] }), [[0, 1]])
  t.same(of({ headers: { A: '1', b: '2' } }, { headers: { B: '2', a: '1' } }), [[0, 1]])
  t.same(of({ path: ['/a', '/a'] }), [], 'a route is no rival of its own')
  t.same(of({ methods: ['GET'] }, { methods: ['GET', 'PUT'] }), [])
  t.same(of({ query: { a: '1' } }, { cookies: { a: '1' } }, { headers: { a: '1' } }, {}), [])
  t.same(of({ path: ['/a'] }, { path: ['/a/'] }, { path: ['/a/*'] }, { path: ['/a/:b'] }), [])
  t.same(of({ host: ['*.test'] }, { host: ['test'] }, {}), [])
})

// Small alphabets, so that patterns collide and requests find something.
const segment = fc.constantFrom('a', 'b', 'a', ':x', ':y', '')
const pattern = fc
  .tuple(fc.array(segment, { maxLength: 4 }), fc.boolean())
  .map(([segments, star]) => [
    ...segments.map((text, i) => (text.startsWith(':') ? `:${'pqrs'[i]}` : text)),
    ...(star ? ['*'] : []),
  ])
  .map(segments => `/${segments.join('/')}`)
const host = fc.constantFrom('*', '*', '*.t', 'a.t', 'b.t', '*.a.t', 't')
const one = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: 1, maxLength: 2 })
const expectation = fc.constantFrom('1', '2', 'present', 'absent', '~^1')
const fields = fc.dictionary(fc.constantFrom('f', 'g'), expectation, { maxKeys: 2 })
const optional = <T>(value: fc.Arbitrary<T>) =>
  fc.oneof({ arbitrary: fc.constant(undefined), weight: 3 }, { arbitrary: value, weight: 1 })
const match: fc.Arbitrary<MatchOptions> = fc.record({
  host: one(host),
  path: one(pattern),
  methods: optional(one(fc.constantFrom('GET', 'PUT', 'HEAD'))),
  headers: optional(fields),
  query: optional(fields),
  cookies: optional(fields),
})
const pairs = fc.array(fc.tuple(fc.constantFrom('f', 'g'), fc.constantFrom('1', '2', '11')), { maxLength: 2 })
const asked = fc
  .record({
    method: fc.constantFrom('GET', 'PUT', 'HEAD', 'POST'),
    host: fc.constantFrom('a.t', 'b.t:80', 'A.T', 'c.a.t', 't', 'x'),
    path: fc
      .array(fc.constantFrom('a', 'b', 'c', ''), { minLength: 1, maxLength: 5 })
      .map(segments => `/${segments.join('/')}`),
    headers: pairs,
    query: pairs,
    cookies: pairs,
  })
  .map(({ method, host, path, headers, query, cookies }) => {
    const cookie = cookies.map(pair => pair.join('=')).join('; ')
    const fields = [...headers.flat(), ...(cookie === '' ? [] : ['cookie', cookie])]
    return requestHead(method, host, `${path}?${query.map(pair => pair.join('=')).join('&')}`, fields)
  })

t.test('the table decides as a naive matcher does', async t => {
  let found = 0
  let refused = 0
  fc.assert(
    fc.property(
      fc.array(match, { maxLength: 30 }),
      fc.array(asked, { minLength: 5, maxLength: 10 }),
      (matches, heads) => {
        const builder = new RouteTableBuilder<number>()
        matches.forEach((match, order) => {
          builder.add(match, order, order)
        })
        const routes = builder.build()
        for (const head of heads) {
          const expected = naiveWinner(matches, head)
          const entry = routes.findEntry(head)
          if ((entry?.route ?? null) !== expected) return false
          if (entry !== null) {
            found++
            if (!pathMatches(entry.pattern.text, head.path)) return false
            continue
          }
          const methods = new Set(matches.flatMap(match => match.methods ?? []))
          const would = [...methods].filter(method => naiveWinner(matches, { ...head, method }) !== null).sort()
          const allow = routes.allow(head)
          if (JSON.stringify(allow ?? []) !== JSON.stringify(would) || allow?.length === 0) return false
          if (allow !== null) refused++
        }
        return true
      },
    ),
    { numRuns: 3_000 },
  )
  t.ok(found > 5_000, `${found} requests found a route`)
  t.ok(refused > 100, `${refused} were refused for their method`)
})

t.test('an index over field values decides as asking one by one', async t => {
  const tenant = fc.record({
    host: fc.constant(['*']),
    path: fc.constant(['/*']),
    methods: optional(fc.constant(['GET'])),
    headers: optional(
      fc.record({ f: fc.integer({ min: 0, max: 30 }).map(String), g: expectation }, { requiredKeys: [] }),
    ),
    query: optional(fc.record({ f: fc.integer({ min: 0, max: 30 }).map(String) })),
  })
  const numbers = fc.array(fc.integer({ min: 0, max: 30 }).map(String), { maxLength: 3 })
  let indexed = 0
  fc.assert(
    fc.property(
      fc.array(tenant, { minLength: 20, maxLength: 80 }),
      fc.array(fc.tuple(numbers, numbers), { minLength: 5 }),
      (matches, sent) => {
        const builder = new RouteTableBuilder<number>()
        matches.forEach((match, order) => {
          builder.add(match, order, order)
        })
        const routes = builder.build()
        return sent.every(([headers, query]) => {
          const fields = headers.flatMap(value => ['f', value])
          const head = requestHead('GET', 'h', `/?${query.map(value => `f=${value}`).join('&')}`, fields)
          const found = routes.findEntry(head)
          if (found !== null && found.conditions.length > 0) indexed++
          return (found?.route ?? null) === naiveWinner(matches, head)
        })
      },
    ),
    { numRuns: 1_000 },
  )
  t.ok(indexed > 1_000, `${indexed} requests were told apart by a value`)
})

/** The order of docs/configuration.md written down as a text per candidate; the least wins. */
function naiveWinner(matches: readonly MatchOptions[], head: RequestHead): number | null {
  let best: { key: string; order: number } | null = null
  matches.forEach((match, order) => {
    if (match.methods !== undefined && !match.methods.includes(head.method)) return
    const cookies = (head.headers[head.headers.indexOf('cookie') + 1] ?? '').split('; ').map(pair => pair.split('='))
    const sent = head.headers.flatMap((name, i) => (i % 2 === 0 ? [[name, head.headers[i + 1]!]] : []))
    if (!fieldsHold(match.headers, sent)) return
    if (!fieldsHold(match.query, [...new URLSearchParams(head.query)])) return
    if (!fieldsHold(match.cookies, head.headers.includes('cookie') ? cookies : [])) return
    const counts = [
      Number(match.methods !== undefined),
      ...[match.headers, match.query, match.cookies].map(f => Object.keys(f ?? {}).length),
    ]
    const total = counts.reduce((sum, count) => sum + count, 0)
    const weights = [total, ...counts].map(count => 900 - count).join(' ')
    for (const host of match.host) {
      const level = hostLevel(host, new URL(`http://${head.host}`).hostname)
      if (level === null) continue
      for (const path of match.path.filter(path => pathMatches(path, head.path))) {
        const kinds = path
          .slice(1)
          .split('/')
          .map(text => (text === '*' ? 3 : text.startsWith(':') ? 2 : 1))
        const exact = kinds.every(kind => kind === 1) ? 0 : 1
        const key = `${level} ${exact} ${kinds.join('')} ${weights} ${String(order).padStart(4, '0')}`
        if (best === null || key < best.key) best = { key, order }
      }
    }
  })
  return (best as { order: number } | null)?.order ?? null
}

function hostLevel(pattern: string, host: string): number | null {
  if (pattern === '*') return 2
  if (pattern.startsWith('*.')) return host.split('.').slice(1).join('.') === pattern.slice(2) ? 1 : null
  return host === pattern ? 0 : null
}

function pathMatches(pattern: string, path: string): boolean {
  const source = pattern.replace(/\/:\w+/g, '/[^/]+').replace(/\/\*$/, '(?:/.*)?')
  return new RegExp(`^${source}$`).test(path)
}

function fieldsHold(expected: Readonly<Record<string, string>> | undefined, sent: string[][]): boolean {
  return Object.entries(expected ?? {}).every(([name, expectation]) => {
    const values = sent.filter(([field]) => field === name).map(([, value]) => value!)
    if (expectation === 'absent') return values.length === 0
    if (expectation === 'present') return values.length > 0
    if (expectation.startsWith('~')) return values.some(value => new RegExp(expectation.slice(1)).test(value))
    return values.includes(expectation)
  })
}
