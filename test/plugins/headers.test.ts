// headers through a running gateway: set, add and remove on both sides, templates, and what no edit may touch.
import t, { type Test } from 'tap'
import bundled from '../../plugins/bundled.ts'
import { formatFault } from '../../src/config/fault.ts'
import { loadText } from '../../src/config/load.ts'
import { Catalog } from '../../src/pipeline/catalog.ts'
import { configText, startGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { compact, standard } from '../support/tokens.ts'

async function start(t: Test, options: Record<string, unknown>, route: Record<string, unknown> = {}) {
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [upstream.address] },
    routes: [
      { name: 'own', match: { path: '/own' }, plugins: [{ headers: options }], respond: { status: 200, body: 'hi' } },
      { name: 'all', match: { path: '/*' }, upstream: 'up', plugins: [{ headers: options }], ...route },
    ],
  })
  const ask = async (target: string, ...fields: string[]) => {
    const client = await gateway.connect()
    const response = await client.head(`GET ${target} HTTP/1.1`, 'Host: shop.example', ...fields).response()
    client.destroy()
    return { response, seen: upstream.requests.at(-1)! }
  }
  return { upstream, ask }
}

t.test('request: remove comes first, then set, then add', async t => {
  const { ask } = await start(t, {
    request: {
      remove: ['X-Debug', 'x-both'],
      set: { 'x-team': 'edge', 'x-both': 'one', 'X-Case': 'lower' },
      add: { 'x-hop': 'sluice', 'x-both': 'two' },
    },
  })
  const { seen } = await ask(
    '/',
    'X-Debug: 1',
    'x-debug: 2',
    'X-Team: theirs',
    'X-Hop: theirs',
    'X-Both: theirs',
    'X-Stays: 1',
  )
  t.same(seen.all('x-debug'), [])
  t.same(seen.all('x-team'), ['edge'])
  t.same(seen.all('x-hop'), ['theirs', 'sluice'])
  t.same(seen.all('x-both'), ['one', 'two'])
  t.same(seen.all('x-case'), ['lower'])
  t.same(seen.all('x-stays'), ['1'])
})

t.test('request: the underscore twins of what is set or removed do not pass; others do', async t => {
  const { ask } = await start(t, { request: { set: { 'x-user-id': '' }, remove: ['x-admin'] } })
  const { seen } = await ask('/', 'x_user_id: 1', 'X_User-Id: 1', 'x_admin: 1', 'x_other: 1')
  t.same(
    seen.names.filter(name => name.includes('_')),
    ['x_other'],
  )
  t.same(seen.all('x-user-id'), [''])
})

t.test('request: what a client names in Connection cannot drop what is set here', async t => {
  const { ask } = await start(t, { request: { set: { 'x-user-id': 'known' } } })
  const { seen } = await ask('/', 'Connection: keep-alive, x-user-id', 'X-User-Id: forged')
  t.same(seen.all('x-user-id'), ['known'])
})

t.test('request: what is set of the way here arrives, and what a client claims of it is believed nowhere', async t => {
  const { ask } = await start(
    t,
    {
      request: {
        set: { 'x-real-ip': `\${client.ip}`, 'x-forwarded-user': 'ann', 'x-forwarded-proto': 'https' },
        add: { 'x-told': `[\${header.x-real-ip}\${header.x-forwarded-host}\${header.forwarded}]` },
      },
    },
    { match: { path: '/*', headers: { 'x-forwarded-proto': 'absent' } } },
  )
  const claims = ['X-Real-IP: 6.6.6.6', 'X-Forwarded-User: root', 'X-Forwarded-Host: evil', 'Forwarded: for=6.6.6.6']
  const { seen } = await ask(
    '/',
    ...claims,
    'X-Forwarded-Proto: http',
    'X_Real_IP: 6.6.6.6',
    'X-Forwarded-For: 6.6.6.6',
  )
  t.same(seen.all('x-real-ip'), ['127.0.0.1'])
  t.same(seen.all('x-forwarded-user'), ['ann'])
  t.same(seen.all('x-forwarded-proto'), ['https'])
  t.same(seen.all('x-forwarded-host'), ['shop.example'])
  t.same(seen.all('x-forwarded-for'), ['127.0.0.1'])
  t.same(seen.all('x-told'), ['[127.0.0.1]'])
  t.notOk(seen.names.some(name => name.includes('_')))
})

t.test('response: edits of answers from upstream and of our own', async t => {
  const { upstream, ask } = await start(t, {
    response: { remove: ['server', 'x-powered-by'], set: { 'x-frame-options': 'DENY' }, add: { vary: 'accept' } },
  })
  upstream.onRequest = request =>
    request.reply(
      '200 OK',
      'ok',
      'Server: x',
      'X-Powered-By: y',
      'X-Frame-Options: ALLOW',
      'Vary: cookie',
      'X-Stays: 1',
    )
  const { response } = await ask('/')
  t.same(response.all('server'), [])
  t.same(response.all('x-powered-by'), [])
  t.same(response.all('x-frame-options'), ['DENY'])
  t.same(response.all('vary'), ['cookie', 'accept'])
  t.same(response.all('x-stays'), ['1'])
  const own = (await ask('/own')).response
  t.same([own.text, own.get('x-frame-options'), own.get('vary')], ['hi', 'DENY', 'accept'])
  upstream.onRequest = request => request.peer.write('HTTP/1.1 nonsense\r\n\r\n')
  const bad = (await ask('/')).response
  t.same([bad.status, bad.get('x-frame-options')], [502, 'DENY'])
})

t.test('response: one Date, whoever sets it, and whatever other fields say', async t => {
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT'
  for (const kind of ['set', 'add']) {
    const { ask } = await start(t, { response: { [kind]: { date } } })
    t.same((await ask('/own')).response.all('date'), [date], kind)
  }
  const respond = { status: 200, headers: { 'x-sorted-by': 'date' }, body: '' }
  const { ask } = await start(t, {}, { upstream: undefined, respond })
  const { response } = await ask('/')
  t.same([response.get('x-sorted-by'), response.all('date').length], ['date', 1])
})

t.test('values may name attributes; a missing one is nothing, and none can break a line', async t => {
  const names = [
    'client.ip',
    'route',
    'host',
    'path',
    'method',
    'header.x-a',
    'query.q',
    'cookie.c',
    'jwt.sub',
    'consumer',
  ]
  const set = Object.fromEntries(names.map(name => [`x-${name.replace('.', '-')}`, `<\${${name}}>`]))
  const { ask } = await start(t, { request: { set }, response: { set: { 'x-q': '${query.q} and ${path}' } } })
  const { seen, response } = await ask(
    '/a/b?q=1%0d%0aInjected:%201&r=2',
    'X-A: from the client',
    'Cookie: b=1; c=crumb',
  )
  t.same(
    names.map(name => seen.get(`x-${name.replace('.', '-')}`)),
    [
      '<127.0.0.1>',
      '<all>',
      '<shop.example>',
      '</a/b>',
      '<GET>',
      '<from the client>',
      '<1  Injected: 1>',
      '<crumb>',
      '<>',
      '<>',
    ],
  )
  t.equal(seen.get('injected'), '')
  t.equal(response.get('x-q'), '1  Injected: 1 and /a/b')
  t.equal(response.get('injected'), '')
  const none = await ask('/')
  t.equal(none.seen.get('x-header-x-a'), '<>')
})

t.test('an identity arrives as it is or not at all', async t => {
  const upstream = await RawUpstream.start(t)
  const secret = 's'.repeat(32)
  const set = { 'x-user': `\${jwt.sub}`, 'x-consumer': `\${consumer}`, 'x-name': `é \${query.name}` }
  const gateway = await startGateway(t, {
    up: { endpoints: [upstream.address] },
    plugins: [{ jwt: { issuers: [{ secret }] } }, { headers: { request: { set } } }],
  })
  const client = await gateway.connect()
  const told = async (sub: unknown) => {
    const text = compact({ alg: 'HS256' }, { ...standard(), sub }, 'HS256', Buffer.from(secret))
    const fields = ['Host: h', `Authorization: Bearer ${text}`, 'X-User: admin']
    const { status } = await client.head('GET /?name=%E6%97%A5 HTTP/1.1', ...fields).response()
    t.equal(status, 200)
    const seen = upstream.requests.at(-1)!
    t.equal(Buffer.from(seen.get('x-name'), 'latin1').toString(), 'é 日')
    return ['x-user', 'x-consumer'].flatMap(name =>
      seen.all(name).map(value => Buffer.from(value, 'latin1').toString()),
    )
  }
  for (const sub of ['admin', 'admin日', '日', '国']) t.same(await told(sub), [sub, sub])
  for (const sub of ['admin\n', ' admin', 'admin\t']) t.same(await told(sub), ['', ''], JSON.stringify(sub))
  t.same(await told(2 ** 53 - 1), ['9007199254740991', ''])
  t.same(await told(2 ** 53), ['', ''], 'a number that others are rounded to is nobody')
})

t.test('a literal ${ takes three dollars in the YAML', async t => {
  const { ask } = await start(t, { request: { set: { 'x-a': `$$\${client.ip} is \${client.ip}` } } })
  t.equal((await ask('/')).seen.get('x-a'), `\${client.ip} is 127.0.0.1`)
})

t.test('what no edit may touch, and what is no attribute, are faults with their place', async t => {
  const faults = async (options: Record<string, unknown>) => {
    const text = configText({ up: { endpoints: ['127.0.0.1:1'] }, plugins: [{ headers: options }] })
    const loaded = await loadText(text, 'gateway.yaml', { env: {}, catalog: new Catalog(bundled) })
    return loaded.faults.map(formatFault)
  }
  for (const name of [
    'connection',
    'content-length',
    'Host',
    'keep-alive',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
  ]) {
    for (const side of ['request', 'response']) {
      const shown = name.toLowerCase()
      t.match(await faults({ [side]: { set: { [name]: 'x' } } }), [
        new RegExp(`plugins\\[0\\]\\.headers\\.${side}\\.set\\.${shown}: .*set by the gateway itself`, 'i'),
      ])
      t.match(await faults({ [side]: { add: { [name]: 'x' } } }), [
        new RegExp(`${side}\\.add\\.${shown}: .*set by the gateway itself`, 'i'),
      ])
      t.match(await faults({ [side]: { remove: [name] } }), [
        new RegExp(`${side}\\.remove\\[0\\]: .*set by the gateway itself`),
      ])
    }
  }
  t.match(await faults({ request: { set: { 'x-a': '${client.port}' } } }), [
    /request\.set\.x-a: .*client\.port.*; write `\$\$\$\{` for a literal `\$\{`/,
  ])
  t.match(await faults({ request: { set: { 'x-a': 'a\nb' } } }), [/request\.set\.x-a: .*control/])
  t.match(await faults({ request: { set: { 'x a': 'b' } } }), [/request\.set/])
  t.match(await faults({ request: { set: { 'x-a': '$remote_addr' } } }), [/request\.set\.x-a: .*\$remote_addr/])
  t.match(await faults({ request: { remove: ['x-a', 'x-*'] } }), [/request\.remove\[1\]: .*each header/])
  for (const kind of ['set', 'add'])
    t.match(await faults({ response: { [kind]: { 'X-A': '1', 'x-b': '2', 'x-a': '3' } } }), [
      new RegExp(`gateway\\.yaml:\\d+:\\d+ .*response\\.${kind}\\.x-a: stands twice`),
    ])
  t.match(await faults({ request: { sets: {} } }), [/request\.sets: .*did you mean "set"/])
  t.same(await faults({}), [])
})
