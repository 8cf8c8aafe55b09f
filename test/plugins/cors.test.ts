// cors through a running gateway: preflights, origins, what caches are told, and options that would be traps.
import t, { type Test } from 'tap'
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
    [{ origins: ['*', APP] }, /origins\[0\]: \* is any origin/],
    [{ origins: [] }, /origins: at least one origin is due/],
    [{ origins: ['app.example.com'] }, /origins\[0\]: an origin is due/],
    [{ origins: ['https://app.example.com/'] }, /origins\[0\]/],
    [{ origins: ['https://app.example.com:443'] }, /browsers write this origin https:\/\/app\.example\.com/],
    [{ origins: ['~('] }, /not a valid regular expression/],
    [{ methods: ['GET, PUT'] }, /methods\[0\]: a method/],
  ] as const) {
    const config = { up: { endpoints: ['127.0.0.1:1'] }, plugins: [{ cors }] }
    await t.rejects(startGateway(t, config), { message: said }, JSON.stringify(cors))
  }
})
