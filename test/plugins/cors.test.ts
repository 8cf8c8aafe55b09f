// cors through a running gateway: preflights, origins, what caches are told, and options that would be traps.
import t, { type Test } from 'tap'
import { definePlugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { startGateway } from '../support/gateway.ts'
import type { RawResponse } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'

const APP = 'https://app.example.com'

async function chain(t: Test, cors: Record<string, unknown>, route: Record<string, unknown> = {}) {
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [{ cors }, { 'api-key': { keys: { a: `sha256:${'0'.repeat(64)}` }, optional: true } }],
    route,
  })
  const client = await gateway.connect()
  const ask = async (method: string, ...fields: string[]): Promise<RawResponse> => {
    client.head(`${method} /x HTTP/1.1`, 'Host: h', ...fields)
    return client.response(method)
  }
  return { up, gateway, ask }
}

const preflight = (origin: string, method = 'PUT') => [
  'OPTIONS',
  `Origin: ${origin}`,
  `Access-Control-Request-Method: ${method}`,
]

t.test('a preflight is answered here, before anything else, on any route', async t => {
  const { up, ask } = await chain(
    t,
    { origins: [APP, '~https://[a-z]+\\.example\\.org'], credentials: true, maxAge: '1h', headers: ['x-a'] },
    { match: { path: '/*', methods: ['GET', 'PUT'] } },
  )
  const answer = await ask(...(preflight(APP) as [string, string]))
  t.equal(answer.status, 204)
  t.equal(answer.get('access-control-allow-origin'), APP)
  t.equal(answer.get('access-control-allow-credentials'), 'true')
  t.equal(answer.get('access-control-allow-methods'), 'GET, HEAD, POST, PUT, PATCH, DELETE')
  t.equal(answer.get('access-control-allow-headers'), 'x-a')
  t.equal(answer.get('access-control-max-age'), '3600')
  t.match(answer.get('vary'), /origin/)
  t.equal(
    (await ask(...(preflight('https://shop.example.org') as [string, string]))).get('access-control-allow-origin'),
    'https://shop.example.org',
  )
  for (const origin of [
    'https://shop.example.org.evil.test',
    'https://evil.test',
    'null',
    'https://app.example.com.',
  ]) {
    const refused = await ask(...(preflight(origin) as [string, string]))
    t.equal(refused.status, 204, origin)
    t.equal(refused.get('access-control-allow-origin'), '', origin)
  }
  t.equal(up.requests.length, 0, 'the service was not asked')
  // Not a preflight: an OPTIONS of another kind is the route's business.
  t.equal((await ask('OPTIONS', `Origin: ${APP}`)).status, 405)
})

/** Plugins around a route that is served; nobody here has credentials. */
async function behind(t: Test, everywhere: unknown[], own: unknown[], more: PluginDefinition[] = []) {
  const up = await RawUpstream.start(t)
  const config = { up: { endpoints: [up.address] }, plugins: everywhere, route: { plugins: own } }
  const gateway = await startGateway(t, config, { plugins: more })
  const client = await gateway.connect()
  const ask = async (method: string, ...fields: string[]): Promise<RawResponse> => {
    client.head(`${method} /x HTTP/1.1`, 'Host: h', ...fields)
    return client.response(method)
  }
  return { up, gateway, ask }
}

const SECRET = `base64url:${Buffer.alloc(32, 7).toString('base64url')}`
const JWT = { jwt: { issuers: [{ secret: SECRET }] } }
const KEY = { 'api-key': { keys: { a: `sha256:${'0'.repeat(64)}` } } }
const CORS = { cors: { origins: [APP] } }

t.test('a preflight is answered before authentication, wherever that stands', async t => {
  const app = preflight(APP) as [string, string]
  for (const [everywhere, own] of [
    [[], [JWT, CORS]],
    [[JWT], [CORS]],
    [[KEY, JWT], [CORS]],
    [[KEY, CORS], [JWT]],
    [[JWT, CORS, KEY], []],
  ]) {
    const { up, ask } = await behind(t, everywhere!, own!)
    const what = JSON.stringify([everywhere, own])
    const answer = await ask(...app)
    t.equal(answer.status, 204, what)
    t.same(answer.all('access-control-allow-origin'), [APP])
    t.equal((await ask(...app, 'Authorization: Bearer x.y.z')).status, 204, 'whatever it brings')
    t.equal((await ask('GET', `Origin: ${APP}`)).status, 401, 'others keep the order')
    t.equal((await ask('OPTIONS', `Origin: ${APP}`)).status, 401, 'no preflight')
    t.equal((await ask('OPTIONS', 'Access-Control-Request-Method: PUT')).status, 401, 'nor this')
    t.equal((await ask('PUT', ...app.slice(1))).status, 401, 'nor this')
    t.equal(up.requests.length, 0)
  }
})

t.test('a preflight passes by authentication only where a cors will answer it', async t => {
  const app = preflight(APP) as [string, string]
  const when = { 'header.x-cors': 'yes' }
  const one = await behind(t, [], [JWT, { cors: { origins: [APP], when } }])
  t.equal((await one.ask(...app)).status, 401)
  t.equal((await one.ask(...app, 'X-Cors: yes')).status, 204)
  t.equal((await one.ask('GET', 'X-Cors: yes')).status, 401)
  const other = { cors: { origins: ['https://other.example.com'], when: { 'header.x-cors': 'other' } } }
  const two = await behind(t, [], [JWT, { cors: { origins: [APP], when } }, other])
  t.equal((await two.ask(...app)).status, 401)
  t.same((await two.ask(...app, 'X-Cors: yes')).all('access-control-allow-origin'), [APP])
  const asked = preflight('https://other.example.com') as [string, string]
  t.same((await two.ask(...asked, 'X-Cors: other')).all('access-control-allow-origin'), ['https://other.example.com'])
  // A plugin between them cannot turn a preflight into a request that nobody has authenticated.
  for (const name of ['x-cors', 'origin', 'access-control-request-method']) {
    const remove = { headers: { request: { remove: [name] } } }
    const between = await behind(t, [], [JWT, remove, { cors: { origins: [APP], when } }])
    const { status } = await between.ask(...app, 'X-Cors: yes')
    t.ok(status === 204 || status === 500, `${name} is gone: ${status}`)
    t.equal(between.up.requests.length, 0)
  }
})

t.test('with a condition: answered where it holds, and a wrong method where it does not', async t => {
  const up = await RawUpstream.start(t)
  const cors = { origins: [APP], when: { host: 'app.test' } }
  const gateway = await startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [{ cors }],
    routes: [
      { name: 'own', match: { path: ['/x', '/y'], methods: ['GET', 'PUT'] }, upstream: 'up' },
      { name: 'options', match: { path: '/y' }, respond: { status: 418 } },
    ],
  })
  const client = await gateway.connect()
  const ask = async (path: string, host: string): Promise<RawResponse> => {
    const [method, ...fields] = preflight(APP) as [string, ...string[]]
    client.head(`${method} ${path} HTTP/1.1`, `Host: ${host}`, ...fields)
    return client.response(method)
  }
  const answer = await ask('/x', 'app.test')
  t.equal(answer.status, 204)
  t.match(answer.get('access-control-allow-methods'), /PUT/)
  t.equal((await ask('/y', 'app.test')).status, 204, 'where another route takes OPTIONS, but not what is asked for')
  const refused = await ask('/x', 'other.test')
  t.equal(refused.status, 405)
  t.equal(refused.get('allow'), 'GET, PUT')
  t.equal((await ask('/y', 'other.test')).status, 418, 'left to the route that takes OPTIONS')
  t.equal(up.requests.length, 0)
})

t.test('on a preflight all but authentication keep their order, and see the answer', async t => {
  const app = preflight(APP) as [string, string]
  const seen: string[] = []
  const gate = definePlugin({
    name: 'gate',
    description: 'Refuses whom it does not know, and notes its phases.',
    options: z.strictObject({}),
    create: () => ({
      authenticates: true,
      onRequest: async () => {
        seen.push('request')
        return { status: 302, headers: ['location', '/login'], body: null }
      },
      onResponse: () => void seen.push('response'),
      onFinish: () => void seen.push('finish'),
    }),
  }) as PluginDefinition
  const slow = definePlugin({
    name: 'slow',
    description: 'Takes its time.',
    options: z.strictObject({}),
    create: () => ({
      async onRequest() {
        await new Promise(setImmediate)
        seen.push('slow')
      },
      onResponse: () => void seen.push('slow response'),
    }),
  }) as PluginDefinition
  const adds = { headers: { response: { set: { 'x-frame-options': 'DENY' } } } }
  const { ask } = await behind(t, ['request-id', 'slow', 'gate', adds], [JWT, CORS, 'slow'], [gate, slow])
  const answer = await ask(...app)
  t.equal(answer.status, 204)
  t.match(answer.get('x-request-id'), /^[0-9a-f-]{36}$/)
  t.equal(answer.get('x-frame-options'), 'DENY')
  t.same(seen.splice(0), ['slow', 'slow response'], 'who was passed by takes no part in it at all')
  t.equal((await ask('GET')).status, 302)
  t.same(seen, ['slow', 'request', 'response', 'slow response', 'finish'])

  const filtered = await behind(t, [{ 'ip-filter': { deny: ['127.0.0.0/8'] } }, JWT], [CORS])
  t.equal((await filtered.ask(...app)).status, 403)
  const limited = await behind(t, [{ 'rate-limit': { limit: 1, window: '1h' } }, JWT], [CORS])
  t.same([(await limited.ask(...app)).status, (await limited.ask(...app)).status], [204, 429])
})

t.test('answers: the origin, what pages may read, and what caches must know', async t => {
  const { up, ask } = await chain(t, { origins: [APP], exposeHeaders: ['x-total'], credentials: true })
  up.onRequest = request =>
    request.reply('200 OK', 'ok', 'Access-Control-Allow-Origin: *', 'Access-Control-Max-Age: 9', 'Vary: Accept')
  const allowed = await ask('GET', `Origin: ${APP}`)
  t.same(allowed.all('access-control-allow-origin'), [APP], "the service's own is replaced")
  t.equal(allowed.get('access-control-expose-headers'), 'x-total')
  t.equal(allowed.get('access-control-allow-credentials'), 'true')
  t.equal(allowed.get('access-control-max-age'), '')
  t.same(allowed.all('vary'), ['Accept', 'origin'])
  for (const fields of [[], ['Origin: https://evil.test']]) {
    const other = await ask('GET', ...fields)
    t.equal(other.status, 200)
    t.same(other.all('access-control-allow-origin'), [])
    t.same(other.all('vary'), ['Accept', 'origin'], 'a cache may hand it to one that is allowed')
  }
})

t.test('any origin', async t => {
  const { ask } = await chain(t, { headers: ['*'], methods: ['*'] })
  const answer = await ask('GET')
  t.equal(answer.get('access-control-allow-origin'), '*')
  t.equal(answer.get('vary'), '', 'the answer does not depend on it')
  const asked = await ask(...(preflight('null', 'BREW') as [string, string]))
  t.equal(asked.get('access-control-allow-origin'), '*')
  t.equal(asked.get('access-control-allow-methods'), '*')
  t.equal(asked.get('access-control-allow-headers'), '*, authorization', '* does not stand for it (Fetch 4.9)')
})

t.test('faults at load, each at its place', async t => {
  for (const [cors, said] of [
    [{ origins: ['*'], credentials: true }, /cors\.origins\[0\]: credentials go with no \*/],
    [{ origins: [APP], headers: ['*'], credentials: true }, /cors\.headers\[0\]: credentials go with no \*/],
    [{ origins: ['null'], credentials: true }, /origins\[0\]: credentials go with no null/],
    [{ origins: ['~https://.*'], credentials: true }, /origins\[0\]: credentials go with no expression/],
    [{ origins: [APP, '~http://.*'], credentials: true }, /origins\[1\]: credentials go with no expression/],
    [{ origins: ['~nul{2}'], credentials: true }, /origins\[0\]: credentials go with no null/],
    [{ origins: ['https://*.a.test'] }, /origins\[0\]: a \* within .*: '~https:\/\/\[a-z0-9-\]\+\\\.a\\\.test'/],
    [{ origins: ['*.a.test'] }, /origins\[0\]: a \* within/],
    [{ origins: ['*', APP] }, /origins\[0\]: \* is any origin/],
    [{ origins: [] }, /origins: at least one origin is due/],
    [{ origins: ['app.example.com'] }, /origins\[0\]: an origin is due/],
    [{ origins: ['https://app.example.com/'] }, /origins\[0\]/],
    [{ origins: ['https://app.example.com:443'] }, /browsers write this origin https:\/\/app\.example\.com/],
    [{ origins: ['~('] }, /not a valid regular expression/],
    [{ methods: ['GET, PUT'] }, /methods\[0\]: a method/],
    [{ methods: ['GET', 'put'] }, /methods\[1\]: browsers ask for PUT/],
  ] as const) {
    const config = { up: { endpoints: ['127.0.0.1:1'] }, plugins: [{ cors }] }
    await t.rejects(startGateway(t, config), { message: said }, JSON.stringify(cors))
  }
})
