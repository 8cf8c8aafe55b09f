// A whole file: every fault at once, each told once and with its exact place; and what comes out when there is none.
// Over 300 lines because much of it is tables of faulty files and the faults that are told.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are YAML
import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { z as old } from 'zod/v3'
import bundled from '../../../plugins/bundled.ts'
import { formatFault } from '../../../src/config/fault.ts'
import { deepFreeze, faultsIn, loadFile, loadText, remedyIn } from '../../../src/config/load.ts'
import { providers } from '../../../src/discovery/providers.ts'
import { Catalog } from '../../../src/pipeline/catalog.ts'
import { definePlugin, type PluginDefinition, PluginOptionsError } from '../../../src/pipeline/plugin.ts'
import { makeCertificates } from '../../support/certificates.ts'

const limit = definePlugin({
  name: 'limit',
  description: 'Limits.',
  options: z.strictObject({
    limit: z.int().min(1).describe('How many.'),
    key: z.string().default('client.ip').describe('By what.'),
    to: z.string().optional().describe('An upstream.'),
  }),
  check({ to }, { upstreams }) {
    if (to === 'boom') throw new Error('a defect\nwith lines')
    if (to !== undefined && !upstreams.has(to)) throw new PluginOptionsError(`there is no upstream ${to}`, ['to'])
  },
  create: () => ({}),
}) as PluginDefinition
const id = definePlugin({
  name: 'id',
  description: 'Ids.',
  options: z.strictObject({}),
  create: () => ({}),
}) as PluginDefinition

const nested = definePlugin({
  name: 'nested',
  description: 'Unions in unions.',
  options: z.strictObject({
    of: z.union([z.union([z.string(), z.number()]), z.array(z.union([z.string(), z.number()]))]).describe('Some.'),
  }),
  create: () => ({}),
}) as PluginDefinition

const context = () => ({ env: { PORT: '8080', API_TOKEN: 'hunter2' }, catalog: new Catalog([limit, id, nested]) })
const faultsOf = async (text: string) => (await loadText(text, 'g.yaml', context())).faults.map(formatFault)
const HEAD = 'listeners: [{ name: web, port: 0 }]\nupstreams: { a: { endpoints: ["127.0.0.1:1"] } }\n'

t.test('all faults of one plugin at once, also those that its check finds', async t => {
  const cases: [string, string[]][] = [
    [
      '{ canary: { label: host, rules: [{ when: {}, to: b }], split: [{ to: c, weight: 1 }, { to: a, weight: 1 }, { to: a, weight: 1 }], sticky: { by: x, fallback: y } } }',
      ['label', 'rules[0].to', 'rules[0].when', 'split[0].to', 'split[2].to', 'sticky.by', 'sticky.fallback'],
    ],
    [
      '{ rate-limit: { store: x, key: y, cost: z, limits: [{ limit: 1, window: 1s, burst: 2 }, { limit: 2, window: 1s }] } }',
      ['cost', 'key', 'limits[0].burst', 'limits[1]', 'store'],
    ],
    [
      '{ circuit-breaker: { window: 1s, calls: 5, minimumCalls: 6, fallback: { upstream: x } } }',
      ['calls', 'fallback.upstream', 'minimumCalls'],
    ],
    [
      '{ headers: { request: { set: { a: "${header.}", b: "${jwt.}" }, remove: [te, host] }, response: { add: { c: "${cookie.}" } } } }',
      ['request.remove[0]', 'request.remove[1]', 'request.set.a', 'request.set.b', 'response.add.c'],
    ],
    [
      "{ cors: { credentials: true, origins: ['null', '~.*'], methods: ['*'], headers: ['*'] } }",
      ['headers[0]', 'methods[0]', 'origins[0]', 'origins[1]'],
    ],
    ['{ ip-filter: { allow: [], deny: [] } }', ['allow', 'deny']],
    [
      '{ jwt: { issuers: [{ issuer: a, key: ./no.pem }, { issuer: b, jwksFile: ./no.json }] } }',
      ['issuers[0].key', 'issuers[1].jwksFile'],
    ],
  ]
  for (const [entry, paths] of cases) {
    const catalog = new Catalog(bundled)
    const { faults } = await loadText(`${HEAD}plugins: [${entry}]\n`, 'g.yaml', { ...context(), catalog })
    const told = faults.map(({ path }) => path.replace(/^plugins\[0\](?:\.[a-z-]+|\["[a-z-]+"\])\./, ''))
    t.same(told.sort(), paths, entry)
  }
})

t.test('a schema of an older zod is told in its own words', async t => {
  const options = old
    .object({
      a: old.string(),
      n: old.number().min(3).default(3),
      u: old.union([old.string(), old.number()]).optional(),
    })
    .strict()
  const older = { name: 'older', description: '', options, create: () => ({}) } as unknown as PluginDefinition
  const catalog = new Catalog([older])
  for (const [given, fault] of [
    ['{ a: x, b: 1 }', "g.yaml:3:20 plugins[0].older: Unrecognized key(s) in object: 'b' (SLUICE_CONFIG_INVALID)"],
    ['{ a: x, u: [1] }', 'g.yaml:3:31 plugins[0].older.u: Invalid input (SLUICE_CONFIG_INVALID)'],
    ['{ a: 1 }', 'g.yaml:3:25 plugins[0].older.a: Expected string, received number (SLUICE_CONFIG_INVALID)'],
    ['{}', 'g.yaml:3:20 plugins[0].older.a: is missing: Required (SLUICE_CONFIG_MISSING)'],
  ] as const) {
    const text = `${HEAD}plugins: [{ older: ${given} }]\nroutes: [{ name: r, match: { path: /* }, upstream: a }]\n`
    t.same((await loadText(text, 'g.yaml', { env: {}, catalog })).faults.map(formatFault), [fault])
  }
})

t.test('one wrong value is one fault, at its place', async t => {
  // Each text follows HEAD, so that its first line is the third of the file.
  const cases: [string, string[]][] = [
    ['routs: []\n', ['3:1 routs: unknown key; did you mean "routes"? (SLUICE_CONFIG_UNKNOWN_KEY)']],
    [
      'shutdown: { grace: 30 }\n',
      ['3:20 shutdown.grace: a duration with its unit is due, such as 250ms, 5s, 1m or 24h (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'shutdown: { grace: 30x }\n',
      ['3:20 shutdown.grace: a duration with its unit is due, such as 250ms, 5s, 1m or 24h (SLUICE_CONFIG_INVALID)'],
    ],
    ['admin: on\n', ['3:8 admin: a map with host and port, or off, is due (SLUICE_CONFIG_INVALID)']],
    ['admin: { port: 99999 }\n', ['3:16 admin.port: must be at most 65535 (SLUICE_CONFIG_INVALID)']],
    ['admin: { port: 99999999999999999999 }\n', ['3:16 admin.port: must be at most 65535 (SLUICE_CONFIG_INVALID)']],
    ['admin: { port: -99999999999999999999 }\n', ['3:16 admin.port: must be at least 0 (SLUICE_CONFIG_INVALID)']],
    ['admin: { prot: 1 }\n', ['3:10 admin.prot: unknown key; did you mean "port"? (SLUICE_CONFIG_UNKNOWN_KEY)']],
    [
      'trustedProxies: [10.0.0.0/8, 10.0.0.0/33, x]\n',
      [
        '3:30 trustedProxies[1]: an IP address or network is due, such as 10.0.0.0/8, 192.0.2.1 or fd00::/8 (SLUICE_CONFIG_INVALID)',
        '3:43 trustedProxies[2]: an IP address or network is due, such as 10.0.0.0/8, 192.0.2.1 or fd00::/8 (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'discovery: { c: { kind: counsel } }\n',
      [
        `3:25 discovery.c.kind: the kind of a registry is one of ${providers.map(({ kind }) => kind).join(', ')}; did you mean "consul"? (SLUICE_CONFIG_INVALID)`,
      ],
    ],
    [
      'stores: { memory: { kind: redis, url: "redis://h" } }\n',
      ['3:11 stores.memory: `memory` exists without being declared; take another name (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'stores: { s: { kind: rediss, url: "redis://h" } }\n',
      ['3:22 stores.s.kind: the kind of a store is redis (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'stores: { s: { knd: redis, url: x, budget: 5, onFailure: deny } }\n',
      [
        '3:16 stores.s.knd: unknown key; did you mean "kind"? (SLUICE_CONFIG_UNKNOWN_KEY)',
        '3:33 stores.s.url: a redis:// or rediss:// address is due, such as redis://127.0.0.1:6379/0, with user:password@ before the host where needed (SLUICE_CONFIG_INVALID)',
        '3:44 stores.s.budget: a duration with its unit is due, such as 250ms, 5s, 1m or 24h (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'discovery: { c: { kind: counsel, address: 5, interval: 1ms, onEmpty: kept } }\n',
      [
        `3:25 discovery.c.kind: the kind of a registry is one of ${providers.map(({ kind }) => kind).join(', ')}; did you mean "consul"? (SLUICE_CONFIG_INVALID)`,
        '3:56 discovery.c.interval: must be at least 100ms (SLUICE_CONFIG_INVALID)',
        '3:70 discovery.c.onEmpty: keep or drop is due, found "kept"; did you mean "keep"? (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'routes: [{ name: "a\\nb", match: { path: /a }, respond: {} }, { name: "", match: { path: /b }, respond: {} }]\n',
      [
        '3:18 routes[0].name: a name must not hold control characters (SLUICE_CONFIG_INVALID)',
        '3:70 routes[1].name: must not be empty (SLUICE_CONFIG_INVALID)',
      ],
    ],
    ['stateDir: ""\n', ['3:11 stateDir: must not be empty (SLUICE_CONFIG_INVALID)']],
    ['stateDir:\n', ['3:1 stateDir: text is due, found nothing (SLUICE_CONFIG_INVALID)']],
    ...[
      'http://h',
      'redis://h/abc',
      'redis://h/-1',
      'redis://h/1/2',
      'redis://h?db=1',
      'redis://',
      'redis://h/0#x',
      // Of an address with credentials, too: what hides those leaves ours alone.
      'redis://u:hunter2@h:99999',
    ].map((url): [string, string[]] => [
      `stores: { s: { kind: redis, url: "${url}" } }\n`,
      [
        '3:34 stores.s.url: a redis:// or rediss:// address is due, such as redis://127.0.0.1:6379/0, with user:password@ before the host where needed (SLUICE_CONFIG_INVALID)',
      ],
    ]),
    ...['redis://user:50%@h', 'redis://u%zz:p@h'].map((url): [string, string[]] => [
      `stores: { s: { kind: redis, url: "${url}" } }\n`,
      ['3:34 stores.s.url: a % in the credentials is written as %25 (SLUICE_CONFIG_INVALID)'],
    ]),
    [
      'stores: { s: { kind: redis, cluster: true, url: "redis://us%40er:50%25@h,redis://:50%@i" } }\n',
      ['3:49 stores.s.url: a % in the credentials is written as %25 (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'plugins:\n  - limt: {}\n',
      ['4:5 plugins[0].limt: there is no plugin "limt"; did you mean "limit"? (SLUICE_CONFIG_REFERENCE)'],
    ],
    [
      'plugins: [zzzzzz]\n',
      ['3:11 plugins[0].zzzzzz: there is no plugin "zzzzzz"; known: limit, id, nested (SLUICE_CONFIG_REFERENCE)'],
    ],
    [
      'plugins: [sunset.ts, ../x.mjs]\n',
      [
        '3:11 plugins[0]["sunset.ts"]: there is no plugin "sunset.ts"; a module of yours begins with ./ (SLUICE_CONFIG_REFERENCE)',
        '3:22 plugins[1]["../x.mjs"]: there is no plugin "../x.mjs"; a module of yours begins with ./ (SLUICE_CONFIG_REFERENCE)',
      ],
    ],
    [
      'plugins:\n  - name: limit\n    limit: 5\n  - name: id\n',
      ['limit', 'id'].map(
        (name, i) =>
          `${[4, 6][i]}:11 plugins[${i}].name: the name of a plugin is the key of its options, as in ${name}: { … } (SLUICE_CONFIG_INVALID)`,
      ),
    ],
    ['plugins:\n  - limit\n', ['4:5 plugins[0].limit.limit: is missing (SLUICE_CONFIG_MISSING)']],
    [
      'plugins:\n  - limit:\n      limit: 0\n',
      ['5:14 plugins[0].limit.limit: must be at least 1 (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'plugins:\n  - limit:\n      limt: 1\n',
      ['5:7 plugins[0].limit.limt: unknown key; did you mean "limit"? (SLUICE_CONFIG_UNKNOWN_KEY)'],
    ],
    [
      'plugins: [{ limit: { limit: 1, to: b } }]\n',
      ['3:36 plugins[0].limit.to: there is no upstream b (SLUICE_CONFIG_PLUGIN)'],
    ],
    [
      'plugins: [{ limit: { limit: 1, to: boom } }]\n',
      ['3:20 plugins[0].limit: the plugin failed while its options were checked: a defect (SLUICE_CONFIG_PLUGIN)'],
    ],
    [
      'plugins: [{ id: { when: { foo: x } } }]\n',
      [
        '3:27 plugins[0].id.when.foo: is no attribute; use client.ip, route, host, path, method, consumer, header.NAME, query.NAME, cookie.NAME or jwt.CLAIM (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'plugins: [{ id: { when: { client.ip: 127.0.0.1/33 } } }]\n',
      [
        '3:38 plugins[0].id.when["client.ip"]: an address, a network such as 10.0.0.0/8, present, absent, or ~ and an expression is due (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'plugins: [{ id: { when: { path: /admin/*, method: get, header.te: x } } }]\n',
      [
        '3:33 plugins[0].id.when.path: a whole path is due, or ~ and an expression, such as ~^/admin(/|$): patterns are for routes (SLUICE_CONFIG_INVALID)',
        '3:51 plugins[0].id.when.method: methods are written in capitals (SLUICE_CONFIG_INVALID)',
        '3:67 plugins[0].id.when["header.te"]: "header.te" is never there: hop-by-hop and framing fields reach no plugin (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'plugins: [{ id: { when: { route: or } } }, { id: { off: true, when: { route: or } } }, { id: { when: { route: ~o } } }]\nroutes: [{ name: r, respond: {} }]\n',
      ['3:34 plugins[0].id.when.route: there is no route "or"; did you mean "r"? (SLUICE_CONFIG_REFERENCE)'],
    ],
    ['plugins: [{ id: { when: { route: r } } }]\nroutes: [{ name: r, respond: {} }]\n', []],
    [
      'plugins: [{ id: {}, limit: { limit: 1 } }]\n',
      [
        '3:21 plugins[0].limit: one plugin an entry is due: a plugin is its name, or { name: { options } }; indent the options of id deeper, or begin another entry (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'plugins: [./gone.ts]\n',
      ['3:11 plugins[0]["./gone.ts"]: there is no file ./gone.ts beside the configuration file (SLUICE_CONFIG_PLUGIN)'],
    ],
    [
      'routes:\n  - name: r\n    upstream: b\n',
      ['5:15 routes[0].upstream: there is no upstream "b"; did you mean "a"? (SLUICE_CONFIG_REFERENCE)'],
    ],
    ['routes:\n  - upstream: a\n', ['4:5 routes[0].name: is missing (SLUICE_CONFIG_MISSING)']],
    [
      'routes:\n  - nmae: r\n    upstream: a\n',
      ['4:5 routes[0].nmae: unknown key; did you mean "name"? (SLUICE_CONFIG_UNKNOWN_KEY)'],
    ],
    [
      'routes:\n  - name: r\n',
      [
        '4:5 routes[0]: a route has exactly one of upstream, respond and redirect; this one has none (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'routes:\n  - { name: r, upstream: a, match: { methods: [get] } }\n',
      ['4:48 routes[0].match.methods[0]: methods are written in capitals (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'routes:\n  - name: r\n    match: { path: /a }\n    upstream: a\n  - name: r\n    match: { path: /b }\n    upstream: a\n',
      ['7:11 routes[1].name: "r" is the name of the route on line 4 already (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'routes:\n  - name: r\n    match: { path: /a }\n    upstream: a\n  - name: s\n    match: { path: /a }\n    respond: {}\n',
      [
        '8:12 routes[1].match: can never be told apart from route "r" on line 4, which comes first (SLUICE_CONFIG_ROUTE_CONFLICT)',
      ],
    ],
    [
      'routes:\n  - name: r\n    respond: { headers: { x-a: "1\\r\\nx-b: 2" } }\n',
      ['5:32 routes[0].respond.headers.x-a: a header value must not hold control characters (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'routes: [{ name: r, upstream: a, retry: { on: ["502"], attempts: 2 } }]\n',
      [
        '3:48 routes[0].retry.on[0]: connect, reset, 502, 503 or 504 is due, found "502"; write 502 without quotes (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'routes: [{ name: r, upstream: a, retry: { backoff: 500ms, maxBackoff: 400ms } }]\n',
      ['3:71 routes[0].retry.maxBackoff: must be at least backoff (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'routes:\n  - &r { name: r, upstream: a, match: { path: /a } }\n  - *r\n',
      [
        '5:5 routes[1].match: can never be told apart from route "r" on line 4, which comes first (SLUICE_CONFIG_ROUTE_CONFLICT)',
        '5:5 routes[1].name: "r" is the name of the route on line 4 already (SLUICE_CONFIG_INVALID)',
      ],
    ],
    ['stateDir: 5\n', ['3:11 stateDir: text is due, found a number; put it in quotes (SLUICE_CONFIG_INVALID)']],
    ['plugins: id\n', ['3:10 plugins: a list of plugins is due (SLUICE_CONFIG_INVALID)']],
    [
      'plugins: [{ nested: { of: [x, null] } }]\n',
      ['3:31 plugins[0].nested.of[1]: text, or a number is due, found nothing (SLUICE_CONFIG_INVALID)'],
    ],
    ['stateDir: []\n', ['3:11 stateDir: text is due, found a list (SLUICE_CONFIG_INVALID)']],
    [
      'routes:\n  - name: r\n    path: /a\n    upstream: a\n',
      ['5:5 routes[0].path: unknown key; it stands under match or rewrite (SLUICE_CONFIG_UNKNOWN_KEY)'],
    ],
  ]
  for (const [text, expected] of cases) {
    t.same(
      await faultsOf(HEAD + text),
      expected.map(line => `g.yaml:${line}`),
      JSON.stringify(text),
    )
  }
})

t.test('a map where a list is due, and a list where a map is, hide nothing', async t => {
  const text = `listeners: [{ name: web, port: 0 }]
upstreams: { a: { endpoints: { address: "127.0.0.1:1" } }, b: [], c: { endpoints: ["c"] } }
routes: [[], { name: r, upstream: x }]
`
  t.match(await faultsOf(text), [
    'g.yaml:2:30 upstreams.a.endpoints: a list of endpoints is due (SLUICE_CONFIG_INVALID)',
    'g.yaml:2:63 upstreams.b: a map is due, found a list (SLUICE_CONFIG_INVALID)',
    /^g\.yaml:2:84 upstreams\.c\.endpoints\[0\]: has no port/,
    'g.yaml:3:10 routes[0]: a map is due, found a list (SLUICE_CONFIG_INVALID)',
    /^g\.yaml:3:35 routes\[1\]\.upstream: there is no upstream "x"/,
  ])
  t.equal((await faultsOf(text)).length, 5)
})

t.test('a misspelt key is one fault, whatever its lack would break', async t => {
  const good = `listeners:
  - name: web
    port: 0
stores: { s: { kind: redis, url: "redis://h" } }
discovery: { c: { kind: consul, address: "http://h" } }
upstreams:
  a: { endpoints: ["127.0.0.1:1"], scheme: https, tls: { verify: false } }
  b: { discover: { from: c, service: s } }
plugins: [{ limit: { limit: 1, to: a, when: { path: /a } } }]
routes:
  - { name: r, upstream: a, match: { path: "/a/:id" }, rewrite: { path: "/:id" } }
  - { name: s, upstream: b }
  - { name: t, match: { path: /t }, redirect: { to: /u } }
`
  t.same(await faultsOf(good), [])
  const keys = [...good.matchAll(/(?<=[{,\n] *(?:- )?)([a-zA-Z]{2,}):(?=[ \n])/g)]
  t.equal(keys.length, 36)
  for (const { 1: key, index } of keys) {
    if (key === undefined || good.startsWith('path: /a }', index)) continue
    const typo = `${key}q`
    const faults = await faultsOf(good.slice(0, index) + typo + good.slice(index + key.length))
    const before = good.slice(0, index).split('\n')
    const place = `g.yaml:${before.length}:${before.at(-1)!.length + 1} `
    t.ok(faults.length === 1 && faults[0]!.startsWith(place), `${typo} at ${place}: ${faults}`)
    t.match(faults[0], new RegExp(`${typo}: .*; did you mean "${key}"\\? \\(SLUICE_CONFIG_`))
  }
})

t.test('what listeners of this version cannot do', async t => {
  t.same(await faultsOf('listeners: [{ name: web, port: 0, tls: { cert: a.pem }, http2: true }]\n'), [
    'g.yaml:1:35 listeners[0].tls: unknown key; this version has no TLS on listeners; end it in front of the gateway (SLUICE_CONFIG_UNKNOWN_KEY)',
    'g.yaml:1:57 listeners[0].http2: unknown key; this version has no HTTP/2 on listeners (SLUICE_CONFIG_UNKNOWN_KEY)',
  ])
})

t.test('faults of listeners', async t => {
  const cases: [string, string[]][] = [
    ['routes: []\n', ['1:1 listeners: is missing: a list of listeners is due (SLUICE_CONFIG_MISSING)']],
    ['listeners: []\n', ['1:12 listeners: at least one listener is due (SLUICE_CONFIG_INVALID)']],
    ['listeners:\n', ['1:1 listeners: a list of listeners is due (SLUICE_CONFIG_INVALID)']],
    ['[]\n', ['1:1 a map is due, found a list (SLUICE_CONFIG_INVALID)']],
    [
      'listeners: [{ name: a, port: "80" }]\n',
      ['1:30 listeners[0].port: a number is due, found text (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'listeners: [{ name: a, port: 1.5 }]\n',
      ['1:30 listeners[0].port: a whole number is due, found 1.5 (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'listeners: [{ name: a, port: 1, engine: nativ }]\n',
      ['1:41 listeners[0].engine: native or uws is due, found "nativ"; did you mean "native"? (SLUICE_CONFIG_INVALID)'],
    ],
    [
      'listeners: [{ name: a, port: 1, limits: { body: 10MB } }]\n',
      [
        '1:49 listeners[0].limits.body: a size with its unit is due, such as 512B, 64KiB or 1MiB, or unlimited (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'listeners:\n  - { name: a, port: 80 }\n  - { name: a, port: 80, host: 127.0.0.1 }\n',
      [
        '3:13 listeners[1].name: "a" is the name of the listener on line 2 already (SLUICE_CONFIG_INVALID)',
        '3:22 listeners[1].port: "127.0.0.1:80" is the address of the listener on line 2 (SLUICE_CONFIG_INVALID)',
      ],
    ],
    [
      'listeners: [{ name: a, port: 9901 }]\n',
      ['1:30 listeners[0].port: "127.0.0.1:9901" is the address of the admin pages (SLUICE_CONFIG_INVALID)'],
    ],
    ...['300.1.1.1', 'http://x', '127.0.0.1:80', '"[::1]"', 'a b', '"127.1"'].map((host): [string, string[]] => [
      `listeners: [{ name: a, port: 0, host: ${host} }]\n`,
      [
        '1:39 listeners[0].host: an address or a host name is due, such as 127.0.0.1, "::" or localhost; the port has its own line (SLUICE_CONFIG_INVALID)',
      ],
    ]),
    [
      'listeners: [{ name: a, port: 1, host: 0.0.0.0 }]\nadmin: { port: 1 }\n',
      [
        '1:30 listeners[0].port: "0.0.0.0:1" cannot be open beside "127.0.0.1:1", the address of the admin pages (SLUICE_CONFIG_INVALID)',
      ],
    ],
  ]
  for (const [text, expected] of cases) {
    t.same(
      await faultsOf(text),
      expected.map(line => `g.yaml:${line}`),
      JSON.stringify(text),
    )
  }
  t.same(await faultsOf('listeners: [{ name: a, port: 0 }, { name: b, port: 0 }]\nadmin: off\n'), [])
  t.same(await faultsOf('listeners: [{ name: a, port: 9901 }]\nadmin: false\n'), [])
})

t.test('two addresses that cannot be open beside each other', async t => {
  const clash = async (...hosts: string[]) => {
    const listeners = hosts.map((host, i) => `  - { name: n${i}, port: 80, host: "${host}" }\n`).join('')
    const faults = await faultsOf(`listeners:\n${listeners}admin: off\n`)
    return faults.map(fault =>
      /listeners\[(\d)\]\.port: .* the address of the listener on line (\d)/.exec(fault)!.slice(1).join(),
    )
  }
  t.same(await clash('127.0.0.1', '0.0.0.0'), ['1,2'])
  t.same(await clash('0.0.0.0', '127.0.0.1'), ['1,2'])
  t.same(await clash('::', '127.0.0.1'), ['1,2'], 'a socket on :: takes IPv4 too')
  t.same(await clash('0.0.0.0', '::'), ['1,2'])
  t.same(await clash('::1', '::'), ['1,2'])
  t.same(await clash('localhost', '::'), ['1,2'])
  t.same(await clash('::1', '0:0::1'), ['1,2'])
  t.same(await clash('::ffff:127.0.0.1', '127.0.0.1'), ['1,2'])
  t.same(await clash('127.0.0.2', '127.0.0.3', '0.0.0.0', '127.0.0.4'), ['2,2', '3,4'])
  t.same(await clash('127.0.0.1', '127.0.0.2', '::1', 'fe80::1%eth0', 'fe80::1%eth1'), [])
  t.same(await clash('0.0.0.0', '::1'), [], 'one family each')
  t.same(await clash('localhost', '127.0.0.1', '0.0.0.0'), ['2,3'], 'what a name comes to is not known here')
  t.match(await faultsOf('listeners: [{ name: a, port: 80, host: "::" }]\nadmin: { port: 80 }\n'), [
    /"\[::\]:80" cannot/,
  ])
})

t.test('what discovery and balancers may get wrong', async t => {
  const text = `listeners: [{ name: web, port: 0 }]
discovery:
  etcd: { kind: etcd, address: "http://127.0.0.1:2379", onEmpty: never, interval: 5, user: a, x: 1 }
upstreams:
  a: { discover: { from: ectd, service: s } }
  b: { discover: { from: etcd } }
  c: { discover: { from: etcd, service: s, port: 70000 } }
  d: { endpoints: ["a:1"], balance: ring-hash, hashOn: user }
  e: { endpoints: ["a:1"], balance: ./none.ts }
  f: { endpoints: ["a:1"], discover: { from: etcd, service: s } }
  g: { scheme: https }
  h: { endpoints: ["a:1"], health: { passive: { ejectFor: 10m, maxEjectFor: 5m }, panicBelow: 120% } }
`
  const faults = (await faultsOf(text)).map(line => line.replace(/ \(SLUICE_CONFIG_\w+\)$/, ''))
  t.match(faults, [
    'g.yaml:3:9 discovery.etcd: user and password belong together: give both or neither',
    'g.yaml:3:66 discovery.etcd.onEmpty: keep or drop is due, found "never"',
    'g.yaml:3:83 discovery.etcd.interval: a duration with its unit is due, such as 250ms, 5s, 1m or 24h',
    'g.yaml:3:95 discovery.etcd.x: unknown key; known: ',
    'g.yaml:5:26 upstreams.a.discover.from: there is no registry "ectd" under discovery; did you mean "etcd"?',
    'g.yaml:6:18 upstreams.b.discover.service: is missing',
    'g.yaml:7:50 upstreams.c.discover.port: must be at most 65535',
    'g.yaml:8:56 upstreams.d.hashOn: "user" is no attribute; use client.ip, route, host, path, method, consumer, header.NAME, query.NAME, cookie.NAME or jwt.CLAIM',
    'g.yaml:9:37 upstreams.e.balance: there is no file ./none.ts beside the configuration file',
    'g.yaml:10:6 upstreams.f: either endpoints or discover is due',
    'g.yaml:11:6 upstreams.g: either endpoints or discover is due',
    'g.yaml:12:77 upstreams.h.health.passive.maxEjectFor: must be at least ejectFor',
    'g.yaml:12:95 upstreams.h.health.panicBelow: must be at most 100%',
  ])
  t.equal(faults.length, 13)
})

t.test('certificate files of registries are held to be some, each told at its place', async t => {
  const { at } = makeCertificates(t, { one: 'DNS:one.test', two: 'DNS:two.test' })
  writeFileSync(at('empty.pem'), '')
  const text = `listeners: [{ name: web, port: 0 }]
discovery:
  a: { kind: consul, tls: { ca: gone.pem } }
  b: { kind: etcd, address: "https://127.0.0.1:1", tls: { ca: empty.pem, cert: one.pem, key: two.key } }
  c: { kind: kubernetes, caFile: one.key }
  d: { kind: kubernetes, address: ["http://a:1", "HTTPS://b:2"], caFile: empty.pem }
  e: { kind: kubernetes, address: "http://127.0.0.1:8001", caFile: gone.pem }
  f: { kind: nacos, address: "http://127.0.0.1:1", tls: { ca: 5, cert: ca.pem } }
  g: { kind: eureka, address: "http://127.0.0.1:1", tls: { ca: ca.pem, cert: one.pem, key: one.key } }
  h: { kind: dns, tls: { ca: gone.pem } }
  i: { kind: __proto, tls: { ca: gone.pem } }
`
  const { faults } = await loadText(text, at('g.yaml'), context())
  t.same(
    faults.map(({ line, column, path, message, code }) => `${line}:${column} ${path}: ${message} (${code})`),
    [
      '3:33 discovery.a.tls.ca: the file "gone.pem" cannot be read (SLUICE_CONFIG_FILE)',
      '4:63 discovery.b.tls.ca: the file "empty.pem" holds no certificate (SLUICE_CONFIG_FILE)',
      '4:94 discovery.b.tls.key: the file "two.key" does not belong to the certificate (SLUICE_CONFIG_FILE)',
      '5:34 discovery.c.caFile: the file "one.key" holds no certificate (SLUICE_CONFIG_FILE)',
      '6:74 discovery.d.caFile: the file "empty.pem" holds no certificate (SLUICE_CONFIG_FILE)',
      '8:57 discovery.f.tls: cert and key belong together: give both or neither (SLUICE_CONFIG_INVALID)',
      '8:63 discovery.f.tls.ca: text is due, found a number; put it in quotes (SLUICE_CONFIG_INVALID)',
      '10:19 discovery.h.tls: unknown key; known: type, servers, kind, interval, timeout, onEmpty, holdFor, maxInstances, linkLocal (SLUICE_CONFIG_UNKNOWN_KEY)',
      '11:14 discovery.i.kind: the kind of a registry is one of consul, dns, etcd, eureka, file, kubernetes, nacos, zookeeper (SLUICE_CONFIG_INVALID)',
    ],
  )
})

t.test('faults of every kind are told in one go, in the order of the file', async t => {
  const text = `listeners:
  - { name: web, port: "80" }
upstreams:
  a:
    endpoints: ["http://127.0.0.1:1", { address: "b:1", wieght: 2 }]
    health: { activ: {} }
    balance: fastest
    tls: { ca: ./gone.pem }
plugins: [{ limit: { limit: 0 } }]
routes:
  - name: r
    match: { path: /a }
    upstream: c
    plugins: [limit]
  - name: s
    match: { path: /a }
    upstream: a
    timeout: 5
`
  t.same(await faultsOf(text), [
    'g.yaml:2:24 listeners[0].port: a number is due, found text (SLUICE_CONFIG_INVALID)',
    "g.yaml:5:17 upstreams.a.endpoints[0]: must not have a scheme (that is the upstream's `scheme`); host:port is due, such as 127.0.0.1:9001, orders.internal:80 or [::1]:9001 (SLUICE_CONFIG_INVALID)",
    'g.yaml:5:57 upstreams.a.endpoints[1].wieght: unknown key; did you mean "weight"? (SLUICE_CONFIG_UNKNOWN_KEY)',
    'g.yaml:6:15 upstreams.a.health.activ: unknown key; did you mean "active"? (SLUICE_CONFIG_UNKNOWN_KEY)',
    'g.yaml:7:14 upstreams.a.balance: round-robin, least-request, peak-ewma, ring-hash, random or a module such as ./sticky.ts is due (SLUICE_CONFIG_INVALID)',
    'g.yaml:8:10 upstreams.a.tls: tls needs `scheme: https` (SLUICE_CONFIG_INVALID)',
    'g.yaml:8:16 upstreams.a.tls.ca: the file "./gone.pem" cannot be read (SLUICE_CONFIG_FILE)',
    'g.yaml:9:29 plugins[0].limit.limit: must be at least 1 (SLUICE_CONFIG_INVALID)',
    'g.yaml:13:15 routes[0].upstream: there is no upstream "c"; did you mean "a"? (SLUICE_CONFIG_REFERENCE)',
    'g.yaml:14:15 routes[0].plugins[0].limit.limit: is missing (SLUICE_CONFIG_MISSING)',
    'g.yaml:16:12 routes[1].match: can never be told apart from route "r" on line 11, which comes first (SLUICE_CONFIG_ROUTE_CONFLICT)',
    'g.yaml:18:14 routes[1].timeout: a duration with its unit (30s) or none is due (SLUICE_CONFIG_INVALID)',
  ])
})

t.test('faults of the text hide none of its meaning, and each value is told once', async t => {
  const text = `listeners:
  - { name: web, port: 0, timeouts: { idle: 60 } }
listeners: []
routs: []
stateDir: \${NOPE_X}
upstreams:
  a: { endpoints: ["127.0.0.1:1"] }
  __proto__: { x: 1 }
routes:
  - { name: r, upstream: nope, timeout: 5 }
  - { name: "\${NOPE_X}", upstream: "\${NOPE_X}", timeout: "\${NOPE_X}", match: { path: "\${NOPE_X}" } }
`
  t.same(await faultsOf(text), [
    'g.yaml:2:45 listeners[0].timeouts.idle: a duration with its unit is due, such as 250ms, 5s, 1m or 24h (SLUICE_CONFIG_INVALID)',
    'g.yaml:3:1 listeners: duplicate key; the first is on line 1 (SLUICE_CONFIG_DUPLICATE_KEY)',
    'g.yaml:4:1 routs: unknown key; did you mean "routes"? (SLUICE_CONFIG_UNKNOWN_KEY)',
    'g.yaml:5:11 stateDir: the environment has no NOPE_X; set it, or write ${NOPE_X:-default} (SLUICE_CONFIG_ENV)',
    'g.yaml:8:3 upstreams.__proto__: this key is not allowed anywhere (SLUICE_CONFIG_FORBIDDEN_KEY)',
    'g.yaml:10:26 routes[0].upstream: there is no upstream "nope"; known: a (SLUICE_CONFIG_REFERENCE)',
    'g.yaml:10:41 routes[0].timeout: a duration with its unit (30s) or none is due (SLUICE_CONFIG_INVALID)',
    ...[
      '11:13 routes[1].name',
      '11:36 routes[1].upstream',
      '11:58 routes[1].timeout',
      '11:86 routes[1].match.path',
    ].map(
      place =>
        `g.yaml:${place}: the environment has no NOPE_X; set it, or write \${NOPE_X:-default} (SLUICE_CONFIG_ENV)`,
    ),
  ])
})

t.test('what a fault of the text leaves open is not told as something else', async t => {
  const gone = 'the environment has no GONE; set it, or write ${GONE:-default} (SLUICE_CONFIG_ENV)'
  // Each text follows HEAD, but for those that begin with listeners.
  const cases: [string, string[]][] = [
    ['admin: ${GONE}\n', [`3:8 admin: ${gone}`]],
    ['admin: { host: "${GONE}", port: 1 }\n', [`3:16 admin.host: ${gone}`]],
    ['trustedProxies: ["${GONE}", 10.0.0.0/8]\n', [`3:18 trustedProxies[0]: ${gone}`]],
    ['plugins: ["${GONE}"]\n', [`3:11 plugins[0]: ${gone}`]],
    ['plugins: [{ limit: "${GONE}" }]\n', [`3:20 plugins[0].limit: ${gone}`]],
    ['plugins: [{ limit: { limit: "${GONE}", to: b } }]\n', [`3:29 plugins[0].limit.limit: ${gone}`]],
    ['plugins: [{ id: { when: { path: "${GONE}" } } }]\n', [`3:33 plugins[0].id.when.path: ${gone}`]],
    ['plugins: [{ id: { off: "${GONE}" } }]\n', [`3:24 plugins[0].id.off: ${gone}`]],
    [
      'routes: [{ name: r, upstream: a, match: { path: ["${GONE}", /a] } }]\n',
      [`3:50 routes[0].match.path[0]: ${gone}`],
    ],
    ['plugins: [{ nested: { of: [x, "${GONE}"] } }]\n', [`3:31 plugins[0].nested.of[1]: ${gone}`]],
    ['stores: { s: { kind: "${GONE}", url: "redis://h" } }\n', [`3:22 stores.s.kind: ${gone}`]],
    ['stores: ${GONE}\nplugins: [{ limit: { limit: 1, to: b } }]\n', [`3:9 stores: ${gone}`]],
    ['"${GONE}": 1\n', ['3:1 ["${GONE}"]: variables stand in values and not in keys (SLUICE_CONFIG_ENV)']],
    ['80: 1\n', ['3:1 a key must be text ("80"); put it in quotes (SLUICE_CONFIG_SYNTAX)']],
    ['shutdown: { grace: .inf }\n', ['3:20 shutdown.grace: a finite number is due (SLUICE_CONFIG_INVALID)']],
    [
      'shutdown: *gone\n',
      [
        '3:11 shutdown: there is no such anchor before this alias; a text that begins with * stands in quotes (SLUICE_CONFIG_SYNTAX)',
      ],
    ],
    [
      'listeners: [{ name: w, port: 80, host: "${GONE}" }, { name: v, port: 80, host: "${GONE}" }]\n',
      [`1:40 listeners[0].host: ${gone}`, `1:80 listeners[1].host: ${gone}`],
    ],
    [
      'listeners: [{ name: w, port: 0 }]\nupstreams: ${GONE}\nroutes: [{ name: r, upstream: b }]\nplugins: [{ limit: { limit: 1, to: b } }]\n',
      [`2:12 upstreams: ${gone}`],
    ],
    [
      'listeners: [{ name: w, port: 0 }]\nupstreams: { a: &a { endpoints: ["a:1"] }, b: { <<: *a, scheme: https }, 80: *a }\nroutes: [{ name: r, upstream: "80" }]\n',
      [
        '2:49 upstreams.b["<<"]: merge keys are not supported; write the options out, or alias a whole value (SLUICE_CONFIG_UNKNOWN_KEY)',
        '2:74 upstreams: a key must be text ("80"); put it in quotes (SLUICE_CONFIG_SYNTAX)',
      ],
    ],
    [
      'upstreams: { b: &b { endpoints: ["b:1"] }, c: { endpoints: ["c:99999"] } }\nroutes: [{ name: r, upstream: b }]\nplugins: &p [id]\nplugins: &p [id]\nroutes: [{ name: s, plugins: *p }]\n',
      [
        '3:1 upstreams: duplicate key; the first is on line 2 (SLUICE_CONFIG_DUPLICATE_KEY)',
        '3:61 upstreams.c.endpoints[0]: a port between 1 and 65535 is due (SLUICE_CONFIG_INVALID)',
        '6:1 plugins: duplicate key; the first is on line 5 (SLUICE_CONFIG_DUPLICATE_KEY)',
        '7:1 routes: duplicate key; the first is on line 4 (SLUICE_CONFIG_DUPLICATE_KEY)',
      ],
    ],
    ['listeners: ${GONE}\n', [`1:12 listeners: ${gone}`]],
  ]
  for (const [text, expected] of cases) {
    t.same(
      await faultsOf(text.startsWith('listeners') ? text : HEAD + text),
      expected.map(line => `g.yaml:${line}`),
      JSON.stringify(text),
    )
  }
})

t.test('no wrong value hides what else is wrong with its neighbours', async t => {
  const text = `listeners: [{ name: w, engine: uws, limits: { headers: 100KiB, pipelining: 2, headerCount: x } }]
upstreams:
  "a b": { endpoints: ["1.2.3.4:99999", "a:1", "a:1"], schme: x }
  b: { timeouts: 5, tls: { cert: 5, verify: x, servername: y }, endpoints: ["a:1"] }
  c: { connections: 5 }
plugins: [{ limit: { limit: 0, when: { path: "~(", foo: x, host: 1 } } }]
routes:
  - { name: r, upstream: b, match: { headers: { x: "~(", "a b": c, n: 1 } }, retry: { on: [x], backoff: 2s, maxBackoff: 1s } }
`
  t.same(
    (await faultsOf(text)).map(line => line.replace(/^g\.yaml:(\S+ \S+(?: b"\]\S*)?): .*$/, '$1')),
    [
      '1:13 listeners[0].port',
      '1:56 listeners[0].limits.headers',
      '1:76 listeners[0].limits.pipelining',
      '1:92 listeners[0].limits.headerCount',
      '3:3 upstreams["a b"]',
      '3:24 upstreams["a b"].endpoints[0]',
      '3:48 upstreams["a b"].endpoints[2]',
      '3:56 upstreams["a b"].schme',
      '4:18 upstreams.b.timeouts',
      '4:26 upstreams.b.tls',
      '4:34 upstreams.b.tls.cert',
      '4:45 upstreams.b.tls.verify',
      '5:6 upstreams.c',
      '5:21 upstreams.c.connections',
      '6:29 plugins[0].limit.limit',
      '6:46 plugins[0].limit.when.path',
      '6:52 plugins[0].limit.when.foo',
      '6:66 plugins[0].limit.when.host',
      '8:52 routes[0].match.headers.x',
      '8:65 routes[0].match.headers["a b"]',
      '8:71 routes[0].match.headers.n',
      '8:92 routes[0].retry.on[0]',
      '8:121 routes[0].retry.maxBackoff',
    ],
  )
  t.match(await faultsOf('*gone\n'), [
    'g.yaml:1:1 there is no such anchor before this alias; a text that begins with * stands in quotes (SLUICE_CONFIG_SYNTAX)',
  ])
})

t.test('nor does one that is a text, but not of the form that is due', async t => {
  const text = `listeners: [{ name: w, port: 1 }]
upstreams:
  a: { slowStart: 5sec }
  b: { host: "x y", tls: { verify: false }, endpoints: ["a:1"] }
  c: { endpoints: ["a:1"], health: { passive: { maxEjected: 101%, ejectFor: 10m, maxEjectFor: 1m } } }
  d: { endpoints: ["a:1"], health: { active: { interval: 1ms, expect: 200-100 } }, scheme: http, tls: {} }
discovery:
  e: { kind: etcd, address: "ftp://h", user: u }
routes:
  - { name: r, match: { path: / }, timeout: 5min }
  - { name: s, match: { path: /s }, upstream: a, retry: { budget: 5, backoff: 2s, maxBackoff: 1s } }
  - { name: t, match: { path: /t, methods: ["p t"] } }
`
  t.same(
    (await faultsOf(text)).map(line => line.replace(/^g\.yaml:\S+ (\S+): .*$/, '$1')),
    [
      'upstreams.a',
      'upstreams.a.slowStart',
      'upstreams.b.host',
      'upstreams.b.tls',
      'upstreams.c.health.passive.maxEjected',
      'upstreams.c.health.passive.maxEjectFor',
      'upstreams.d.health.active.interval',
      'upstreams.d.health.active.expect',
      'upstreams.d.tls',
      'discovery.e',
      'discovery.e.address',
      'routes[0]',
      'routes[0].timeout',
      'routes[1].retry.budget',
      'routes[1].retry.maxBackoff',
      'routes[2]',
      'routes[2].match.methods[0]',
    ],
  )
})

t.test('a good file comes out whole, with defaults, frozen, and shown without secrets', async t => {
  const text = `${HEAD.replace('port: 0', 'port: 8080')}stores: { s: { kind: redis, url: "redis://u:hunter2@h" } }
plugins: [id, { limit: { limit: 5, key: client.ip, when: { path: "~^/a" }, off: false } }]
routes:
  - { name: r, upstream: a, match: { headers: { x: "\${API_TOKEN}" } } }
`
  const { config, shown, faults } = await loadText(text, 'g.yaml', context())
  t.same(faults, [])
  t.match(config, {
    listeners: [{ name: 'web', host: '127.0.0.1', port: 8080, limits: { headers: 16384, body: 10485760 } }],
    admin: { host: '127.0.0.1', port: 9901 },
    shutdown: { grace: 30_000 },
    trustedProxies: [],
    upstreams: { a: { endpoints: [{ address: '127.0.0.1:1', weight: 1 }], connections: { max: 256 } } },
    plugins: [
      { name: 'id', options: {}, when: null, off: false },
      { name: 'limit', options: { limit: 5, key: 'client.ip' }, when: { path: '~^/a' }, off: false },
    ],
    routes: [{ name: 'r', upstream: 'a', timeout: 30_000, retry: { attempts: 1, budget: 0.2 } }],
  })
  t.same(structuredClone(config), JSON.parse(JSON.stringify(config)), 'plain data')
  t.throws(() => Object.assign(config!.routes[0]!.match, { path: [] }), TypeError)
  t.throws(() => (config!.routes as unknown[]).push(1), TypeError)
  t.notMatch(shown!, /hunter2/)
  t.match(JSON.parse(shown!), {
    stores: { s: { url: 'redis://[redacted]@h' } },
    plugins: ['id', { limit: { key: 'client.ip' } }],
  })
})

t.test('a maximum that nobody set rises with its minimum', async t => {
  const text = `listeners: [{ name: web, port: 0 }]
upstreams:
  a: { endpoints: ["127.0.0.1:1"], health: { passive: { ejectFor: 10m } } }
  b: { endpoints: ["127.0.0.1:1"], health: { passive: {} } }
routes:
  - { name: r, upstream: a, retry: { backoff: 500ms } }
  - { name: s, upstream: b, match: { path: /s } }
`
  const { config, faults } = await loadText(text, 'g.yaml', context())
  t.same(faults, [])
  const passive = [config?.upstreams.a, config?.upstreams.b].map(upstream => upstream?.health?.passive)
  t.match(passive, [
    { ejectFor: 600_000, maxEjectFor: 600_000 },
    { ejectFor: 30_000, maxEjectFor: 300_000 },
  ])
  t.match(
    config?.routes.map(({ retry }) => retry),
    [
      { backoff: 500, maxBackoff: 500 },
      { backoff: 25, maxBackoff: 250 },
    ],
  )
})

t.test('what comes from the environment in quotes is a number where nothing else is due', async t => {
  const text = `listeners: [{ name: web, port: "\${PORT}" }]
admin: { port: "\${ADMIN:-0}" }
upstreams: { a: { endpoints: [ { address: "h:1", weight: '\${PORT}' } ] } }
routes: [{ name: a, upstream: a, plugins: [ { limit: { limit: "\${PORT}" } } ], timeout: "\${TIME}" }]
`
  const { config, faults } = await loadText(text, 'g.yaml', { ...context(), env: { PORT: '80', TIME: '5s' } })
  t.same(faults, [])
  t.match(config, {
    listeners: [{ port: 80 }],
    admin: { port: 0 },
    upstreams: { a: { endpoints: [{ weight: 80 }] } },
    routes: [{ plugins: [{ options: { limit: 80 } }], timeout: 5000 }],
  })
  for (const PORT of ['+80', '080', '8e1', '0x50', '80.0'])
    t.match((await loadText(text, 'g.yaml', { ...context(), env: { PORT, TIME: '5s' } })).config, config!, PORT)
  const bad = await loadText(text, 'g.yaml', { ...context(), env: { PORT: '8x', TIME: '5s' } })
  t.match(bad.faults.map(formatFault), [/port: a number is due/, /weight: a number is due/, /limit: a number is due/])
  const more = `listeners: [{ name: web, port: 0 }]
admin: "\${OFF}"
discovery: { c: { kind: consul, address: "http://127.0.0.1:1" } }
upstreams: { a: { discover: { from: c, service: s, port: "\${PORT}" } }, b: { discover: { from: c, service: s, port: "\${NAME}" } } }
plugins: [{ limit: { limit: x, off: "\${TRUE}" } }, { any: { cost: "\${PORT}", by: "\${PORT}" } }]
routes:
  - { name: r, match: { path: /r }, redirect: { to: /x, status: "\${S302}" } }
  - { name: s, upstream: a, retry: { on: ["\${E502}", "\${RESET}"] } }
`
  const any = definePlugin({
    name: 'any',
    description: 'Unions.',
    options: z.strictObject({
      cost: z.union([z.int(), z.string().regex(/^\D/)]).describe('A number, or a text that is none.'),
      by: z.union([z.string(), z.number()]).describe('Either.'),
    }),
    create: () => ({}),
  }) as PluginDefinition
  const env = { OFF: 'off', PORT: '80', NAME: 'http', TRUE: 'true', S302: '302', E502: '502', RESET: 'reset' }
  const unions = await loadText(more, 'g.yaml', { env, catalog: new Catalog([limit, any]) })
  t.same(unions.faults.map(formatFault), [])
  t.match(unions.config, {
    admin: null,
    upstreams: { a: { discover: { port: 80 } }, b: { discover: { port: 'http' } } },
    plugins: [{ off: true }, { options: { cost: 80, by: '80' } }],
    routes: [{ redirect: { status: 302 } }, { retry: { on: [502, 'reset'] } }],
  })
  t.match(
    (await loadText(more, 'g.yaml', { env: { ...env, S302: '305' }, catalog: new Catalog([limit, any]) })).faults,
    [{ message: /^301, 302, 303, 307 or 308 is due, found/ }],
  )
  // What stands there itself is text.
  const own = await loadText('listeners: [{ name: web, port: "80" }]', 'g.yaml', context())
  t.match(own.faults.map(formatFault), [/port: .*number/])
})

t.test('what comes from the environment is text where nothing else is due', async t => {
  const text = `listeners: [{ name: web, port: 0 }]
stateDir: \${DIGITS}
admin:
  port: \${DIGITS}
discovery:
  c:
    kind: consul
    address: http://127.0.0.1:8500
    token: &t \${DIGITS}
    datacenter: *t
upstreams:
  a:
    discover:
      from: c
      service: \${DIGITS}
      port: \${DIGITS}
plugins:
  - limit:
      limit: \${DIGITS}
      key: \${DIGITS}
      when:
        query.x: \${FLAG}
routes:
  - name: \${FLAG}
    upstream: a
    plugins:
      - limit: { limit: 1 }
      - limit:
          limit: 1
          key: \${FLAG}
    match:
      headers:
        x: \${DIGITS}
    timeout: \${NONE:-none}
`
  const { config, faults } = await loadText(text, 'g.yaml', { ...context(), env: { DIGITS: '0123', FLAG: 'true' } })
  t.same(faults, [])
  t.match(config, {
    stateDir: '0123',
    admin: { port: 123 },
    discovery: { c: { token: '0123', datacenter: '0123' } },
    upstreams: { a: { discover: { service: '0123', port: 123 } } },
    plugins: [{ options: { limit: 123, key: '0123' }, when: { 'query.x': 'true' } }],
    routes: [{ name: 'true', plugins: [{}, { options: { key: 'true' } }], match: { headers: { x: '0123' } } }],
  })
  t.match(await faultsOf('listeners: [{ name: 5, port: 0 }]\n'), [
    /name: text is due, found a number; put it in quotes/,
  ])
})

t.test('a secret that an alias brings is not shown either', async t => {
  const text = `${HEAD}routes:
  - { name: r, upstream: a, match: { headers: &h { x: "\${API_TOKEN}" } } }
  - { name: s, upstream: a, match: { path: /s, headers: *h } }
`
  const { shown, faults } = await loadText(text, 'g.yaml', context())
  t.same(faults, [])
  t.notMatch(shown!, /hunter2/)
})

t.test('no fault tells a secret that it is about', async t => {
  const env = { DB_PASS: 'hunter2', X_TOKEN: '/a/hun ter/*x', SHORT_KEY: '7z', PLAIN: 'seen' }
  const faults = async (text: string) =>
    (await loadText(HEAD + text, 'g.yaml', { ...context(), env })).faults.map(formatFault)
  const route = (more: string) => `routes:\n  - { name: r, upstream: a, ${more} }\n`
  const hidden = 'cannot be used; its value is a secret and not shown (SLUICE_CONFIG_INVALID)'
  const cases: [string, string][] = [
    [
      'routes: [{ name: r, upstream: "${DB_PASS}" }]\n',
      '3:31 routes[0].upstream: there is no upstream [redacted]; known: a (SLUICE_CONFIG_REFERENCE)',
    ],
    [route('match: { path: "${X_TOKEN}" }'), `4:44 routes[0].match.path: ${hidden}`],
    [route('match: { headers: { x: "~(${DB_PASS}" } }'), `4:52 routes[0].match.headers.x: ${hidden}`],
    [
      route('timeout: "${SHORT_KEY}"'),
      '4:38 routes[0].timeout: a duration with its unit is due, such as 250ms, 5s, 1m or 24h, or none (SLUICE_CONFIG_INVALID)',
    ],
    [
      'plugins: [{ limit: { limit: 1, to: "${DB_PASS}" } }]\n',
      '3:36 plugins[0].limit.to: there is no upstream [redacted] (SLUICE_CONFIG_PLUGIN)',
    ],
    [
      'plugins: [{ limit: { limit: 1, to: "x://u:p@h" } }]\n',
      '3:36 plugins[0].limit.to: there is no upstream x://[redacted]@h (SLUICE_CONFIG_PLUGIN)',
    ],
    [
      'plugins: [{ limit: { limit: 1, to: "${PLAIN}" } }]\n',
      '3:36 plugins[0].limit.to: there is no upstream seen (SLUICE_CONFIG_PLUGIN)',
    ],
    [
      route('retry: { on: ["${DB_PASS}"] }'),
      '4:43 routes[0].retry.on[0]: connect, reset, 502, 503 or 504 is due, found [redacted] (SLUICE_CONFIG_INVALID)',
    ],
    [route('match: { headers: { x-api-key: "~(abcdefg" } }'), `4:60 routes[0].match.headers.x-api-key: ${hidden}`],
  ]
  for (const [text, fault] of cases) t.same(await faults(text), [`g.yaml:${fault}`])
  t.same(
    await faults(
      'routes:\n  - { name: "${DB_PASS}", upstream: a }\n  - { name: hunter2, match: { path: /b }, upstream: a }\n',
    ),
    ['g.yaml:5:13 routes[1].name: [redacted] is the name of the route on line 4 already (SLUICE_CONFIG_INVALID)'],
    'nor one that stands elsewhere',
  )
})

t.test('an entry that is off is held to its name alone', async t => {
  t.same(await faultsOf(`${HEAD}plugins: [{ limit: { limit: x, off: true } }, { ./gone.ts: { off: true } }]\n`), [])
  t.match(await faultsOf(`${HEAD}plugins: [{ limt: { off: true } }]\n`), [/there is no plugin "limt"/])
})

t.test('many faults are counted past a thousand', async t => {
  const faults = await faultsOf(HEAD + Array.from({ length: 20_000 }, (_, i) => `k${i}: 1\n`).join(''))
  t.equal(faults.length, 1001)
  t.match(faults.at(-1), /and 19000 more faults/)
})

t.test('what is no readable file is a fault and no wait', async t => {
  const dir = t.testdir({ 'good.yaml': HEAD, 'latin1.yaml': Buffer.from('listeners: []\nx: caf\xe9\n', 'latin1') })
  const told = async (file: string) =>
    (await loadFile(file, context())).faults.map(fault => formatFault(fault).replace(dir, ''))
  mkdirSync(join(dir, 'folder'))
  execFileSync('mkfifo', [join(dir, 'fifo')])
  symlinkSync('good.yaml', join(dir, 'link'))
  symlinkSync('circle', join(dir, 'circle'))
  writeFileSync(join(dir, 'large.yaml'), 'a: 1\n')
  truncateSync(join(dir, 'large.yaml'), 10 * 1024 * 1024 + 1)
  t.same(await told(join(dir, 'good.yaml')), [])
  t.same(await told(join(dir, 'link')), [])
  t.same(await told(join(dir, 'gone.yaml')), [
    `/gone.yaml:1:1 there is no such file in ${dir}; name another with -c FILE (SLUICE_CONFIG_FILE)`,
  ])
  t.same(await told(join(dir, 'folder')), ['/folder:1:1 is a directory; name the YAML file in it (SLUICE_CONFIG_FILE)'])
  t.same(await told(join(dir, 'fifo')), ['/fifo:1:1 is not a regular file (SLUICE_CONFIG_FILE)'])
  t.same(await told(join(dir, 'circle')), ['/circle:1:1 the symbolic links go in a circle (SLUICE_CONFIG_FILE)'])
  t.same(await told(join(dir, 'large.yaml')), ['/large.yaml:1:1 the file is larger than 10 MiB (SLUICE_CONFIG_LIMIT)'])
  t.same(await told(join(dir, 'latin1.yaml')), ['/latin1.yaml:2:7 is not UTF-8 text (SLUICE_CONFIG_SYNTAX)'])
  for (const bad of ['\0', '\x01', '\x0b', '\x7f']) {
    writeFileSync(join(dir, 'control.yaml'), `a: 1\n# b${bad}\n`)
    const place = '/control.yaml:2:4 holds a control character; write it as an escape (SLUICE_CONFIG_SYNTAX)'
    t.same(await told(join(dir, 'control.yaml')), [place])
  }
  t.same(await told('/dev/zero'), ['/dev/zero:1:1 is not a regular file (SLUICE_CONFIG_FILE)'])
})

t.test('faults found later get their lines from the file, in its order, and tell no secret', async t => {
  const found = (path: (string | number)[], message: string) =>
    ({ path, message, code: 'SLUICE_CONFIG_INVALID' }) as const
  const dir = t.testdir({ 'g.yaml': `${HEAD}plugins:\n  - limit:\n      limit: 1\n` })
  const [first, second] = await faultsIn(
    join(dir, 'g.yaml'),
    [found(['plugins', 0, 'limit', 'limit'], 'no'), found(['plugins'], 'nor that')],
    {},
  )
  t.match(first, { line: 4, column: 3, path: 'plugins' })
  t.match(second, { line: 5, column: 14, path: 'plugins[0].limit.limit' })
  t.match(await faultsIn(join(dir, 'gone'), [found(['plugins', 0], 'no')], {}), [{ line: 1, column: 1 }])
  const secret = t.testdir({ 'g.yaml': `${HEAD}plugins: [{ limit: { to: "\${A_TOKEN}" } }]\n` })
  const [told] = await faultsIn(join(secret, 'g.yaml'), [found(['plugins', 0, 'limit'], 'not "hunter2"')], {
    A_TOKEN: 'hunter2',
  })
  t.equal(told!.message, 'not [redacted]')
})

t.test('what to change in a file, or in the environment', async t => {
  const dir = t.testdir({ 'g.yaml': 'listeners:\n  - { name: a, port: "${PORT:-80}" }\n  - { name: b, port: 80 }\n' })
  const file = join(dir, 'g.yaml')
  t.equal(await remedyIn(file, ['listeners', 0, 'port'], {}), `set PORT, or change ${file}:2:22`)
  t.equal(await remedyIn(file, ['listeners', 1, 'port'], {}), `change ${file}:3:22`)
  t.equal(await remedyIn(file, ['admin', 'port'], {}), `write admin.port into ${file}`)
  t.equal(await remedyIn(join(dir, 'gone'), ['admin', 'port'], {}), '')
})

t.test('freezing goes all the way down', async t => {
  const value = deepFreeze({ a: [{ b: 1 }], c: null, d: 'x' })
  t.ok(Object.isFrozen(value.a[0]) && Object.isFrozen(value.a))
})
