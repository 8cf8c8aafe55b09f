// Names, paths, claims and slowness that have brought down or fooled other gateways.
// Over 300 lines because it is a list of probes, each short, on one kind of gateway.
import t, { type Test } from 'tap'
import { registry } from '../../src/metrics.ts'
import { definePlugin, z } from '../../src/plugin-api.ts'
import { type GatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'

async function open(t: Test, config: GatewayConfig = {}): Promise<{ up: RawUpstream; gateway: TestGateway }> {
  const up = await RawUpstream.start(t)
  return { up, gateway: await startGateway(t, { ...config, up: { endpoints: [up.address], ...config.up } }) }
}

/** Names that mean something to JavaScript, to Node, to HTTP, or to other gateways. */
const NAMES = `__proto__ constructor prototype hasOwnProperty toString valueOf __defineGetter__ isPrototypeOf then
trailer te connection keep-alive proxy-connection proxy-authenticate proxy-authorization transfer-encoding upgrade
upgrade-insecure-requests host content-length content-type content-encoding content-md5 content-range expect date via
warning cookie set-cookie set-cookie2 authorization www-authenticate age allow cache-control pragma expires etag vary
if-match if-none-match if-modified-since if-range range accept accept-encoding accept-language from referer
max-forwards origin access-control-request-method access-control-request-headers sec-websocket-key
sec-websocket-version sec-websocket-protocol sec-websocket-extensions http2-settings alt-svc alt-used forwarded
x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-real-ip x-client-ip x-cluster-client-ip
true-client-ip cf-connecting-ip x-original-url x-rewrite-url x-http-method-override x-request-id traceparent tracestate
baggage early-data priority link location refresh server x-powered-by strict-transport-security content-length_
content_length transfer_encoding x_forwarded_for : ! # $ % & ' * + . ^ _ \` | ~ 0 status :status :path :method :authority`
  .split(/\s+/)
  .filter(name => !name.startsWith(':') && name !== ':')

const VALUES = ['', 'x', 'chunked', 'trailers', 'close', '100-continue', '0', '__proto__', ',', ';', '"', '%00', '\xff']

t.test('every header name on its own, in a request: the process lives and the next request is served', async t => {
  for (const engine of ['native', 'uws']) {
    const { up, gateway } = await open(t, { listener: { engine } })
    let served = 0
    for (const name of NAMES) {
      await Promise.all(
        VALUES.map(async value => {
          const client = await gateway.connect()
          client.head('GET /probe HTTP/1.1', ...(name === 'host' ? [] : ['Host: h']), `${name}: ${value}`)
          client.end()
          await client.closed
          if (client.text.startsWith('HTTP/1.1 200 ')) served++
        }),
      )
    }
    if (engine === 'native') t.ok(served > NAMES.length * VALUES.length * 0.8, `${served} were served`)
    const client = await gateway.connect()
    client.head('GET /after HTTP/1.1', 'Host: h')
    t.equal((await client.response()).status, 200)
    t.equal(({} as Record<string, unknown>)['x'], undefined, 'nobody has changed all objects')
    t.equal(up.requests.at(-1)!.target, '/after')
  }
})

t.test('every header name on its own, in an answer', async t => {
  for (const engine of ['native', 'uws']) {
    const { up, gateway } = await open(t, { listener: { engine }, route: { retry: { attempts: 0 } } })
    for (const name of NAMES) {
      if (name === 'transfer-encoding' || name === 'content-length') continue
      up.onRequest = request => request.reply('200 OK', 'ok', `${name}: x`)
      const client = await gateway.connect()
      client.head('GET / HTTP/1.1', 'Host: h')
      const answer = await client.response()
      t.match(answer.status, /^(?:200|502)$/, name)
      if (answer.status === 200) t.equal(answer.text, 'ok', name)
      client.destroy()
    }
  }
})

t.test('queries and cookies named like parts of every object', async t => {
  const { gateway } = await open(t, {
    routes: [
      {
        name: 'special',
        match: { path: '/*', query: { toString: 'x' }, cookies: { hasOwnProperty: 'x' }, headers: { valueof: 'x' } },
        respond: { status: 418 },
      },
      { name: 'all', match: { path: '/*' }, upstream: 'up' },
    ],
  })
  const client = await gateway.connect()
  client.head('GET /?__proto__=x&constructor HTTP/1.1', 'Host: h', 'Cookie: __proto__=x; toString=y', 'valueof: y')
  t.equal((await client.response()).status, 200)
  client.head('GET /?toString=x HTTP/1.1', 'Host: h', 'Cookie: hasOwnProperty=x', 'valueof: x')
  t.equal((await client.response()).status, 418)
})

t.test('one normalised path serves the route and the upstream', async t => {
  const { up, gateway } = await open(t, {
    routes: [
      { name: 'closed', match: { path: ['/admin/*', '/internal'] }, respond: { status: 403 } },
      { name: 'open', match: { path: '/*' }, upstream: 'up' },
    ],
  })
  const ask = async (target: string): Promise<number> => {
    const client = await gateway.connect()
    client.head(`GET ${target} HTTP/1.1`, 'Host: h')
    const { status } = await client.response()
    client.destroy()
    return status
  }
  const forbidden = [
    '/admin', '/admin/', '/admin/x', '/./admin', '/x/../admin', '/x/%2e%2e/admin', '/x/.%2E/admin', '/%61dmin', '/admi%6e',
    '/%61%64%6d%69%6e', '/x/./../admin/y', '/admin/../admin', '/x/y/../../admin', '/internal', '/%69nternal', '/x/../internal',
    '/admin/?x', '/admin?/../x', '/admin/./', '/admin/x/..',
  ] // biome-ignore format: a list
  for (const target of forbidden) t.equal(await ask(target), 403, target)
  const malformed = [
    '/../admin', '/x/../../admin', '/%2e%2e/admin', '/x%2f..%2fadmin', '/x%2Fadmin', '/..\\admin', '/x/..\\admin', '/\\admin',
    '/x%5cadmin', '/admin%00', '/%00', '/x%0d%0aHost:%20evil', '/x%0a', '/x%1f', '/%', '/%2', '/%zz', '/x/%2e%2e/%2e%2e/admin',
    '/..;/../admin/..',
  ] // biome-ignore format: a list
  for (const target of malformed) t.equal(await ask(target), 400, target)
  t.equal(up.requests.length, 0, 'none of these reaches the upstream')
  const allowed: [string, string][] = [
    ['/api../', '/api../'],
    ['/adminx', '/adminx'],
    ['//admin', '//admin'],
    ['/x//../admin2', '/x/admin2'],
    ['/ADMIN', '/ADMIN'],
    ['/.../admin', '/.../admin'],
    ['/admin;x', '/admin;x'],
    ['/admin%3b/x', '/admin%3B/x'],
    ['/x?/../admin', '/x?/../admin'],
    ['/%2561dmin', '/%2561dmin'],
  ]
  for (const [index, [sent, seen]] of allowed.entries()) {
    t.equal(await ask(sent), 200, sent)
    t.equal(up.requests[index]!.target.toLowerCase(), seen.toLowerCase(), 'the upstream sees the path that was matched')
  }
})

t.test('who the client is cannot be forged', async t => {
  const seenBy: string[] = []
  const watch = definePlugin({
    name: 'watch',
    description: 'For a test.',
    options: z.strictObject({}),
    create: () => ({
      onRequest(x) {
        seenBy.push(x.clientIp)
      },
    }),
  })
  const lies = [
    'X-Forwarded-For: 6.6.6.6',
    'X-Forwarded-For: 6.6.6.6, 127.0.0.1',
    'x-forwarded-for:6.6.6.6',
    'X-FORWARDED-FOR: 6.6.6.6',
    'Forwarded: for=6.6.6.6;by=6.6.6.6',
    'X-Real-IP: 6.6.6.6',
    'x_forwarded_for: 6.6.6.6',
    'x_real_ip: 6.6.6.6',
    'x-forwarded_for: 6.6.6.6',
  ]
  for (const trustedProxies of [[], ['10.0.0.0/8']]) {
    const up = await RawUpstream.start(t)
    const gateway = await startGateway(
      t,
      {
        up: { endpoints: [up.address] },
        trustedProxies,
        plugins: ['watch', { headers: { request: { set: { 'x-client': `\${client.ip}` } } } }],
      },
      { plugins: [watch] },
    )
    const client = await gateway.connect()
    for (const lie of lies) {
      client.head('GET / HTTP/1.1', 'Host: h', lie, 'Connection: x-forwarded-for, x-client, x-real-ip')
      await client.response()
      t.equal(seenBy.at(-1), '127.0.0.1', lie)
      const request = up.requests.at(-1)!
      t.strictSame(request.all('x-forwarded-for'), ['127.0.0.1'])
      t.strictSame(request.all('x-client'), ['127.0.0.1'])
    }
    t.notMatch(up.text, '6.6.6.6')
  }
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    { up: { endpoints: [up.address] }, trustedProxies: ['127.0.0.1', '10.0.0.0/8'], plugins: ['watch'] },
    { plugins: [watch] },
  )
  const client = await gateway.connect()
  for (const [sent, due] of [
    ['6.6.6.6, 7.7.7.7', '7.7.7.7'],
    ['6.6.6.6, 7.7.7.7, 10.1.1.1', '7.7.7.7'],
    ['6.6.6.6, unknown', '127.0.0.1'],
    ['10.1.1.1, 10.1.1.2', '10.1.1.1'],
    ['"6.6.6.6"', '127.0.0.1'],
    ['[2001:db8::1]:99', '2001:db8::1'],
    ['8.8.8.8:99', '8.8.8.8'],
  ] as const) {
    client.head('GET / HTTP/1.1', 'Host: h', `X-Forwarded-For: ${sent}`)
    await client.response()
    t.equal(seenBy.at(-1), due, sent)
  }
})

t.test('who is gone before anybody looks has no address, and asks for nothing', async t => {
  for (const engine of ['native', 'uws']) {
    const { up, gateway } = await open(t, { listener: { engine } })
    for (let i = 0; i < 3; i++) {
      const gone = await gateway.connect()
      gone.head('DELETE /gone HTTP/1.1', 'Host: h')
      gone.reset()
      const client = await gateway.connect()
      client.head('GET /here HTTP/1.1', 'Host: h')
      t.equal((await client.response()).status, 200)
    }
    // Whether the reset came first is the system's affair.
    for (const request of up.requests)
      t.equal(request.get('x-forwarded-for'), '127.0.0.1', `${engine} ${request.target}`)
  }
})

t.test('no header that somebody made splits an answer or a request', async t => {
  const evil = 'a\r\nX-Evil: 1\r\n\r\n<script>'
  const plugin = (name: string, instance: Parameters<typeof definePlugin>[0]['create']) =>
    definePlugin({ name, description: 'For a test.', options: z.strictObject({}), create: instance })
  const kinds = [
    plugin('p-set-request', () => ({ onRequest: x => x.setRequestHeader('x-a', evil) })),
    plugin('p-push-request', () => ({ onRequest: x => void x.head.headers.push('x-a', evil) })),
    plugin('p-name-request', () => ({ onRequest: x => void x.head.headers.push('x-a: 1\r\nx-evil', '1') })),
    plugin('p-number-request', () => ({ onRequest: x => void x.head.headers.push('x-a', 1 as never) })),
    plugin('p-frame-request', () => ({ onRequest: x => x.setRequestHeader('transfer-encoding', 'chunked') })),
    plugin('p-frame-push', () => ({ onRequest: x => void x.head.headers.push('Transfer-Encoding', 'chunked') })),
    plugin('p-host-push', () => ({ onRequest: x => void x.head.headers.push('host', 'b') })),
    plugin('p-method', () => ({ onRequest: x => void Object.assign(x.head, { method: 'GET /x-evil' }) })),
    plugin('p-no-list', () => ({ onRequest: x => void Object.assign(x.head, { headers: null }) })),
    plugin('p-push-attempt', () => ({ onAttempt: x => void x.head.headers.push('x-a', evil) })),
    plugin('p-path-attempt', () => ({ onAttempt: x => void Object.assign(x.head, { path: `/${evil}` }) })),
    plugin('p-push-outcome', () => ({
      onOutcome: x => void x.response?.headers.push('x-a', evil),
      onResponse() {},
    })),
    plugin('p-set-response', () => ({ onResponse: x => x.setResponseHeader('x-a', evil) })),
    plugin('p-push-response', () => ({ onResponse: x => void x.response!.headers.push('x-a', evil) })),
    plugin('p-name-response', () => ({ onResponse: x => void x.response!.headers.push('x a', '1') })),
    plugin('p-frame-response', () => ({ onResponse: x => x.setResponseHeader('content-length', '1') })),
    plugin('p-length-response', () => ({ onResponse: x => void x.response!.headers.push('Content-Length', '1') })),
    plugin('p-map-response', () => ({ onResponse: x => void Object.assign(x.response!, { headers: {} }) })),
    plugin('p-status-text', () => ({ onResponse: x => void Object.assign(x.response!, { status: `200 ${evil}` }) })),
    plugin('p-status-interim', () => ({ onResponse: x => void Object.assign(x.response!, { status: 101 }) })),
    plugin('p-frame-reply', () => ({
      onRequest: () => ({ status: 200, headers: ['transfer-encoding', 'chunked'], body: 'x' }),
    })),
    plugin('p-length-reply', () => ({
      onAttempt: () => ({ status: 200, headers: ['Content-Length', '9'], body: 'x' }),
    })),
    plugin('p-reply', () => ({ onRequest: () => ({ status: 200, headers: ['x-a', evil], body: 'x' }) })),
  ]
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    {
      up: { endpoints: [up.address] },
      routes: kinds.map(({ name }) => ({ name, match: { path: `/${name}` }, upstream: 'up', plugins: [name] })),
    },
    { plugins: kinds },
  )
  for (const { name } of kinds) {
    const client = await gateway.connect()
    client.head(`GET /${name} HTTP/1.1`, 'Host: h')
    const answer = await client.response()
    t.equal(answer.status, 500, name)
    t.notMatch(client.text, /x-evil|<script>/i, name)
    t.equal(client.rest, '')
    client.destroy()
  }
  t.notMatch(up.text, /x-evil|<script>/i)
})

t.test('attributes of a request that become headers cannot split them', async t => {
  const { up, gateway } = await open(t, {
    plugins: [
      {
        headers: {
          request: { set: { 'x-q': `\${query.q}`, 'x-p': `\${path}` } },
          response: { set: { 'x-q': `\${query.q}`, 'x-h': `\${header.x-in}` } },
        },
      },
    ],
  })
  const client = await gateway.connect()
  client.head('GET /a?q=1%0d%0aX-Evil:%201%0d%0a%0d%0a%00x HTTP/1.1', 'Host: h', 'X-In: caf\xe9\tx')
  const answer = await client.response()
  t.equal(answer.status, 200)
  t.equal(answer.get('x-evil'), '')
  t.equal(answer.all('x-q').length, 1)
  t.equal(client.rest, '')
  t.strictSame(up.requests[0]!.all('x-evil'), [])
  t.equal(up.requests[0]!.body.length, 0)
})

t.test('a redirect cannot be made to split or to lead elsewhere', async t => {
  const { gateway } = await open(t, {
    routes: [{ name: 'old', match: { path: '/old/*' }, redirect: { to: 'https://new.test/*' } }],
  })
  const ask = async (target: string) => {
    const client = await gateway.connect()
    client.head(`GET ${target} HTTP/1.1`, 'Host: h')
    const answer = await client.response()
    t.equal(client.rest, '')
    t.equal(answer.get('x-evil'), '')
    return answer
  }
  t.equal((await ask('/old/a%0d%0aX-Evil:1')).status, 400)
  for (const target of [
    '/old//evil.test/x',
    '/old/%2e%2e%2f',
    '/old/@evil.test',
    '/old/x?y=%0d%0aX-Evil:1',
    '/old/\\evil.test',
  ]) {
    const answer = await ask(target)
    if (answer.status === 308)
      t.ok(answer.get('location').startsWith('https://new.test/'), `${target}: ${answer.get('location')}`)
    else t.equal(answer.status, 400, target)
  }
})

t.test('slow heads are ended by their own time, however little they send, and many of them harm nobody', async t => {
  const { up, gateway } = await open(t, { listener: { timeouts: { requestHeader: '400ms', idle: '30s' } } })
  const slow = await Promise.all(Array.from({ length: 50 }, () => gateway.connect()))
  const from = performance.now()
  for (const client of slow) client.send('GET / HTTP/1.1\r\nHost: h\r\n')
  const timer = setInterval(() => {
    for (const client of slow) if (client.ended === null) client.send('X-A: b\r\n')
  }, 50)
  const good = await gateway.connect()
  good.head('GET / HTTP/1.1', 'Host: h')
  t.equal((await good.response()).status, 200, 'others are served meanwhile')
  await Promise.all(slow.map(client => client.closed))
  clearInterval(timer)
  const took = Math.max(...slow.map(client => client.endedAt)) - from
  t.ok(took < 5_000, `the last was closed after ${Math.round(took)} ms`)
  for (const client of slow) t.match(client.text, /^HTTP\/1\.1 408 /)
  t.equal(up.requests.length, 1)
})

t.test('nothing that clients make up becomes a label of a metric', async t => {
  const { gateway } = await open(t, {
    plugins: [
      { 'rate-limit': { limit: 5, window: '1m', key: 'header.x-user' } },
      { 'ip-filter': { deny: ['10.0.0.0/8'] } },
    ],
    trustedProxies: ['127.0.0.0/8'],
  })
  const series = async () =>
    (await registry.metrics()).split('\n').filter(line => line !== '' && !line.startsWith('#')).length
  const client = await gateway.connect()
  const ask = async (n: number) => {
    client.head(`M${n % 7} /${n} HTTP/1.1`, `Host: h${n}`, `X-User: u${n % 3}`, `X-Forwarded-For: 10.0.${n % 2}.${n}`)
    await client.response()
  }
  for (let n = 0; n < 20; n++) await ask(n)
  const before = await series()
  for (let n = 20; n < 120; n++) await ask(n)
  t.equal(await series(), before)
})

t.test('the pages of the admin port show no secret', async t => {
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    {
      admin: { port: 0 },
      up: { endpoints: [up.address] },
      stores: { shared: { kind: 'redis', url: 'redis://user:hunter2@127.0.0.1:6379' } },
      plugins: [
        {
          headers: {
            request: {
              set: { authorization: 'Bearer hunter2', 'x-api-key': `\${API_KEY}`, 'x-plain': `\${SOME_TOKEN}` },
            },
          },
        },
      ],
      routes: [
        {
          name: 'all',
          match: { path: '/*', headers: { 'x-secret': 'hunter2', 'x-beta': 'shown' } },
          upstream: 'up',
        },
      ],
    },
    { env: { API_KEY: 'hunter2', SOME_TOKEN: 'hunter2' } },
  )
  const at = `http://127.0.0.1:${gateway.gateway.adminPort}`
  for (const page of ['/', '/config', '/routes', '/upstreams', '/readyz', '/healthz', '/metrics']) {
    const answer = await fetch(at + page)
    const text = await answer.text()
    t.equal(answer.status, 200, page)
    t.notMatch(text, 'hunter2', page)
    if (page === '/config' || page === '/routes') t.match(text, /redacted[\s\S]*shown|shown[\s\S]*redacted/)
  }
  for (const method of ['POST', 'PUT', 'DELETE']) t.equal((await fetch(`${at}/config`, { method })).status, 405)
})

t.test('what an error answer says does not tell of the upstream', async t => {
  const { gateway } = await open(t, {
    upstreams: { secretive: { endpoints: ['127.0.0.1:1'] } },
    routes: [{ name: 'x', match: { path: '/*' }, upstream: 'secretive' }],
  })
  const client = await gateway.connect()
  client.head('GET / HTTP/1.1', 'Host: h')
  const answer = await client.response()
  t.equal(answer.status, 502)
  t.notMatch(client.text, /127\.0\.0\.1|:1\b|secretive|ECONNREFUSED|node|stack|sluice\//)
})
