// One entry under `routes:`: its defaults, and the fault that each mistake gives.
import t from 'tap'
import { z } from 'zod'
import { routeOptions } from '../../../src/route/options.ts'

t.test('defaults', async t => {
  t.same(routeOptions.parse({ name: 'a', upstream: 'u' }), {
    name: 'a',
    match: { host: ['*'], path: ['/*'] },
    plugins: [],
    upstream: 'u',
    timeout: 30_000,
    retry: { attempts: 1, on: ['connect', 'reset', 502, 503, 504], backoff: 25, maxBackoff: 250, budget: 0.2 },
  })
  t.same(routeOptions.parse({ name: 'a', respond: {} }).respond, { status: 404, body: '', headers: {} })
  t.same(routeOptions.parse({ name: 'a', redirect: { to: '/b' } }).redirect, { to: '/b', status: 308 })
})

t.test('everything said', async t => {
  const route = routeOptions.parse({
    name: 'orders',
    match: {
      host: ['api.example.com', '*.example.com'],
      path: '/orders/:id/*',
      methods: ['GET', 'PROPFIND'],
      headers: { 'X-Beta': '1', 'user-agent': '~^curl/' },
      query: { v: 'present' },
      cookies: { cohort: 'absent' },
    },
    plugins: ['request-id', { jwt: { optional: true } }],
    upstream: 'orders',
    timeout: 'none',
    retry: { attempts: 0, on: [503], budget: '5%' },
    rewrite: { path: '/v2/:id/*', host: 'orders.internal:8080' },
  })
  t.match(route, {
    match: { host: ['api.example.com', '*.example.com'], path: ['/orders/:id/*'], methods: ['GET', 'PROPFIND'] },
    timeout: 'none',
    retry: { attempts: 0, on: [503], backoff: 25, budget: 0.05 },
  })
  t.same(
    route.plugins.map(plugin => plugin.name),
    ['request-id', 'jwt'],
  )
  const answer = { status: 200, body: 'ok', headers: { 'Content-Type': 'text/plain' } }
  t.same(routeOptions.parse({ name: 'a', respond: answer }).respond?.headers, { 'content-type': 'text/plain' })
})

/** Faults as `path: message`, for a route that is sound apart from `wrong`. */
function faults(wrong: Record<string, unknown>): string[] {
  const found = routeOptions.safeParse({ name: 'a', upstream: 'u', ...wrong })
  return found.error?.issues.map(issue => `${issue.path.join('.')}: ${issue.message}`) ?? []
}

t.test('faults', async t => {
  const cases: [wrong: Record<string, unknown>, ...faults: RegExp[]][] = [
    [{ name: '' }, /^name: /],
    [{ upstraem: 'u' }, /upstraem/],
    [{ upstream: undefined }, /^: .*exactly one of upstream, respond and redirect; this one has none/],
    [{ respond: {} }, /^respond: .*has upstream and respond/],
    [{ upstream: undefined, respond: {}, redirect: { to: '/' } }, /^redirect: .*has respond and redirect/],
    [{ upstream: undefined, respond: {}, rewrite: { host: 'h' } }, /^rewrite: rewrite is for routes with an upstream/],
    [{ match: { path: 'a' }, respond: {} }, /^match\.path: a path pattern begins with/, /^respond: /],
    [
      { match: { path: ['/a', '/a*', '/:1'] } },
      /^match\.path\.1: .*last whole segment/,
      /^match\.path\.2: .*whole segment/,
    ],
    // What is wrong with a template by itself is told beside faulty patterns, and for those that are sound the rest.
    [{ match: { path: 'a' }, rewrite: { path: 'x' } }, /^match\.path: /, /^rewrite\.path: a path is due/],
    [
      { match: { path: ['a', '/b'] }, rewrite: { path: '/:id' } },
      /^match\.path\.0: /,
      /^rewrite\.path: .*pattern \/b /,
    ],
    [
      { match: { path: 'a' }, upstream: undefined, redirect: { to: 'https://' } },
      /^match\.path: /,
      /^redirect\.to: behind \/\/ a host is due/,
    ],
    [{ match: { headers: { x: 'a\r\nb' } } }, /^match\.headers\.x: no header has such a value/],
    [{ timeout: 30, rewrite: { path: '/:id' } }, /^timeout: /, /^rewrite\.path: /],
    [{ match: { path: [] } }, /^match\.path: /],
    [{ match: { path: 7 } }, /^match\.path: a path pattern or a list of them is due/],
    [{ match: { host: ['a.b:80'] } }, /^match\.host\.0: a host pattern has no port/],
    [{ match: { methods: [] } }, /^match\.methods: /],
    [{ match: { methods: ['get'] } }, /^match\.methods\.0: .*capitals/],
    [{ match: { methods: ['G T'] } }, /^match\.methods\.0: a method/],
    // As others write "any": tokens like every other, and no request's method.
    [{ match: { methods: ['*'] } }, /^match\.methods\.0: for every method, leave this out/],
    [{ match: { methods: ['ANY'] } }, /^match\.methods\.0: for every method, leave this out/],
    [{ match: { methods: ['GET', 'all'] } }, /^match\.methods\.1: for every method, leave this out/],
    [{ match: { methods: ['CONNECT'] } }, /^match\.methods\.0: CONNECT is answered 501/],
    [{ match: { headers: { x: '~(' } } }, /^match\.headers\.x: .*regular expression/],
    [{ match: { headers: { x: 1 } } }, /^match\.headers\.x: .*quote numbers/],
    [{ match: { headers: { x: '1', X: '2' } } }, /^match\.headers\.X: .*twice/],
    [{ match: { headers: { Host: 'a' } } }, /^match\.headers\.Host: .*match\.host/],
    [{ match: { query: { '': '1' } } }, /^match\.query/],
    [{ timeout: 30 }, /^timeout: a duration with its unit/],
    [{ timeout: '0s' }, /^timeout: /],
    [{ retry: { attempts: 11 } }, /^retry\.attempts: /],
    [{ retry: { on: [500] } }, /^retry\.on\.0: /],
    [{ retry: { backoff: '1s', maxBackoff: '999ms' } }, /^retry\.maxBackoff: must be at least backoff/],
    [{ rewrite: { host: 'a:99999' } }, /^rewrite\.host: a host/],
    [{ rewrite: { host: '[:::]' } }, /^rewrite\.host: a host/],
    [{ rewrite: {} }, /^rewrite: path, host or both/],
    [
      { rewrite: { path: '/*' }, match: { path: ['/a/*', '/b'] } },
      /^rewrite\.path: `\*` is not bound by the path pattern \/b/,
    ],
    [
      { rewrite: { path: '/:id' }, match: { path: ['/:id', '/x/:ID'] } },
      /^rewrite\.path: `:id` is not bound .*\/x\/:ID/,
    ],
    [{ rewrite: { host: 'a b' } }, /^rewrite\.host: /],
    [{ upstream: undefined, redirect: { to: 'https://b.test/:id' } }, /^redirect\.to: `:id` is not bound/],
    [{ upstream: undefined, redirect: { to: '/', status: 304 } }, /^redirect\.status: /],
    [{ upstream: undefined, respond: { status: 101 } }, /^respond\.status: /],
    [{ upstream: undefined, respond: { status: 204, body: 'x' } }, /^respond\.body: .*no body/],
    [{ upstream: undefined, respond: { headers: { 'Content-Length': '1' } } }, /^respond\.headers\.Content-Length: /],
    [{ upstream: undefined, respond: { headers: { host: 'h' } } }, /^respond\.headers\.host: /],
    [{ upstream: undefined, respond: { headers: { x: 'a\r\ny: b' } } }, /^respond\.headers\.x: .*control/],
    [
      { upstream: undefined, respond: { headers: { 'X-A': '1', 'x-a': '\n' } } },
      /^respond\.headers\.x-a: stands twice/,
      /^respond\.headers\.x-a: .*control/,
    ],
  ]
  for (const [wrong, ...expected] of cases) {
    const found = faults(wrong)
    const fits = found.length === expected.length && expected.every(fault => found.some(text => fault.test(text)))
    t.ok(fits, `${JSON.stringify(wrong)} gives ${expected.join(' and ')}`, { found })
  }
})

t.test('as JSON Schema every option is described', async t => {
  interface Node {
    description?: string
    properties?: Record<string, Node>
    anyOf?: Node[]
  }
  const bare: string[] = []
  const visit = (node: Node, path: string) => {
    for (const [name, option] of Object.entries(node.properties ?? {})) {
      if (option.description === undefined) bare.push(`${path}.${name}`)
      visit(option, `${path}.${name}`)
    }
  }
  const schema = z.toJSONSchema(routeOptions, { io: 'input', target: 'draft-7' }) as Node
  visit(schema, 'route')
  t.same(bare, [])
  t.same(schema.properties?.['match']?.properties?.['path']?.anyOf?.length, 2, 'a text or a list, for editors too')
})
