// Heads through the gateway: methods, fields, hop-by-hop rules, forwarding fields, Host and request targets.
// Over 300 lines because what is taken out of a head and what is put in are told by one list a case, and
// engine.ts runs it whole over both engines.
import type { Test } from 'tap'
import { chain, type Traits } from './engines.ts'

/** Run the cases for one engine. */
export async function heads(t: Test, engine: Traits): Promise<void> {
  await t.test('any method goes on as it came', async t => {
    const { up, client } = await chain(t, engine)
    const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND', 'M-SEARCH', 'get', 'GETS']
    methods.push("A!#$%&'*+-.^_`|~09z")
    for (const [index, method] of methods.entries()) {
      client.head(`${method} /m HTTP/1.1`, 'Host: h.test')
      t.equal((await client.response(method)).status, 200, method)
      t.equal(up.requests[index]!.method, method)
    }
  })

  await t.test('fields pass in order, repeated ones apart, bytes above ASCII unchanged', async t => {
    const { up, client } = await chain(t, engine)
    client.head(
      'GET / HTTP/1.1',
      'Host: h.test',
      'X-B: 1',
      'Accept: a',
      'X-A: caf\xc3\xa9 au lait',
      'Cookie: a=1',
      'X-B: 2',
      'Cookie: b=2',
      'X-Empty:',
      'X-Inner:  two  words \t',
    )
    await client.response()
    const request = up.requests[0]!
    const own = request.fields.filter(([name]) => !/^(?:host|via|x-forwarded-.*)$/.test(name))
    t.strictSame(own, [
      ['x-b', '1'],
      ['accept', 'a'],
      ['x-a', 'caf\xc3\xa9 au lait'],
      ['cookie', 'a=1'],
      ['x-b', '2'],
      ['cookie', 'b=2'],
      ['x-empty', ''],
      ['x-inner', 'two  words'],
    ])
  })

  await t.test('bytes above ASCII at both ends of a value', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET / HTTP/1.1', 'Host: h.test', 'X-A: \xc3\xa9t\xc3\xa9')
    await client.response()
    t.equal(up.requests[0]!.get('x-a'), engine.highBytesAtEnds ? '\xc3\xa9t\xc3\xa9' : 't')
  })

  await t.test('fields of an answer pass in order, each Set-Cookie on its own line', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request =>
      request.reply('200 OK', 'x', 'Set-Cookie: a=1; Path=/', 'X-B: caf\xe9', 'Set-Cookie: b=2', 'X-A: ', 'ETag: "q"')
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const answer = await client.response()
    t.strictSame(answer.all('set-cookie'), ['a=1; Path=/', 'b=2'])
    t.strictSame(
      answer.fields.map(([name]) => name).filter(name => /^(?:set-cookie|x-|etag)/.test(name)),
      ['set-cookie', 'x-b', 'set-cookie', 'x-a', 'etag'],
    )
    t.equal(answer.get('x-b'), 'caf\xe9')
  })

  await t.test('an answer has one Date: the one of the upstream, or a new one', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const fresh = await client.response()
    t.equal(fresh.all('date').length, 1)
    t.ok(Math.abs(Date.parse(fresh.get('date')) - Date.now()) < 3000)
    up.onRequest = request => request.reply('200 OK', 'x', 'Date: Thu, 01 Jan 1970 00:00:00 GMT')
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const passed = await client.response()
    t.equal(passed.all('date').length, 1)
    if (engine.dateOfUpstream) t.equal(passed.get('date'), 'Thu, 01 Jan 1970 00:00:00 GMT')
    else t.ok(Math.abs(Date.parse(passed.get('date')) - Date.now()) < 3000)
  })

  await t.test('one that the gateway makes has a Date, whatever the values of its fields', async t => {
    const { client } = await chain(t, engine, {
      routes: [{ name: 'own', match: { path: '/*' }, respond: { status: 200, headers: { 'x-a': 'date' } } }],
    })
    client.head('GET / HTTP/1.1', 'Host: h.test')
    t.equal((await client.response()).all('date').length, 1)
  })

  await t.test('hop-by-hop fields of a request go no further', async t => {
    const { up, client } = await chain(t, engine)
    client.head(
      'GET / HTTP/1.1',
      'Host: h.test',
      'Connection: keep-alive, X-Secret',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'TE: gzip',
      'X-Secret: 1',
      'X-Kept: 1',
      'Connection: X-Other',
      'X-Other: 1',
    )
    await client.response()
    t.strictSame(
      up.requests[0]!.names.filter(name => !/^(?:host|via|x-forwarded-.*)$/.test(name)),
      ['x-kept'],
    )
  })

  await t.test('credentials for a proxy go no further', async t => {
    const { up, client } = await chain(t, engine)
    client.head(
      'GET / HTTP/1.1',
      'Host: h.test',
      'Proxy-Authorization: Basic eDp5',
      'Proxy-Authenticate: Basic',
      'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA',
    )
    t.equal((await client.response()).status, 200)
    t.strictSame(
      up.requests[0]!.names.filter(name => /^(?:proxy-|http2-)/.test(name)),
      [],
    )
  })

  await t.test('an empty Connection field hides no other one', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET / HTTP/1.1', 'Host: h.test', 'Connection:', 'X-Some: 1', 'Connection: X-Some')
    t.equal((await client.response()).status, 200)
    t.equal(up.requests[0]!.get('x-some'), '')
    t.notOk(up.requests[0]!.names.includes('connection'))
  })

  await t.test('hop-by-hop fields of an answer go no further', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request =>
      request.reply(
        '200 OK',
        'x',
        'Connection: keep-alive, X-Internal',
        'Keep-Alive: timeout=5',
        'Proxy-Connection: keep-alive',
        'Proxy-Authenticate: Basic',
        'Proxy-Authentication-Info: x',
        'Upgrade: h2c',
        'X-Internal: 1',
        'X-Kept: 1',
      )
    client.head('GET / HTTP/1.1', 'Host: h.test')
    const answer = await client.response()
    t.strictSame(
      answer.fields.map(([name]) => name.toLowerCase()).filter(name => !/^(?:via|date|content-length)$/.test(name)),
      ['x-kept'],
    )
  })

  await t.test('Connection cannot name an end-to-end field away, nor what the gateway adds', async t => {
    const { up, client } = await chain(t, engine)
    client.head(
      'GET / HTTP/1.1',
      'Host: h.test',
      'Connection: host, authorization, cookie, x-forwarded-for, x-forwarded-proto, x-forwarded-host, via, content-type',
      'Authorization: Bearer t',
      'Cookie: a=1',
      'Content-Type: text/plain',
    )
    await client.response()
    const request = up.requests[0]!
    t.equal(request.get('host'), 'h.test')
    t.equal(request.get('authorization'), 'Bearer t')
    t.equal(request.get('cookie'), 'a=1')
    t.equal(request.get('content-type'), 'text/plain')
    t.equal(request.get('x-forwarded-for'), '127.0.0.1')
    t.equal(request.get('x-forwarded-proto'), 'http')
    t.equal(request.get('x-forwarded-host'), 'h.test')
    t.equal(request.get('via'), '1.1 sluice')
  })

  await t.test('Via is appended both ways', async t => {
    const { up, client } = await chain(t, engine)
    up.onRequest = request => request.reply('200 OK', 'x', 'Via: 1.0 y', 'X-A: 1', 'Via: 1.1 x')
    client.head('GET / HTTP/1.1', 'Host: h.test', 'Via: 1.0 fred', 'Via: 1.1 p')
    const answer = await client.response()
    t.strictSame(up.requests[0]!.all('via'), ['1.0 fred, 1.1 p, 1.1 sluice'])
    t.strictSame(answer.all('via'), ['1.0 y', '1.1 x, 1.1 sluice'])
  })

  await t.test('a request that comes round again is answered with 508', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET / HTTP/1.1', 'Host: h.test', `Via: ${Array(5).fill('1.1 sluice').join(', ')}`)
    const answer = await client.response()
    t.equal(answer.status, 508)
    t.equal(up.requests.length, 0)
  })

  await t.test('an Expect that expects nothing is none', async t => {
    const { client } = await chain(t, engine)
    for (const field of ['Expect:', 'Expect: ']) {
      t.equal((await client.head('GET / HTTP/1.1', 'Host: h.test', field).response()).status, 200)
    }
  })

  await t.test('what a stranger says of its way here is replaced, underscore twins too', async t => {
    const { up, client } = await chain(t, engine)
    client.head(
      'GET / HTTP/1.1',
      'Host: h.test',
      'X-Forwarded-For: 6.6.6.6',
      'X_Forwarded_For: 6.6.6.6',
      'X-Forwarded_For: 6.6.6.6',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: evil.test',
      'x_forwarded_host: evil.test',
      'X-Forwarded-Port: 1',
      'X-Forwarded-Server: evil',
      'X-Real-IP: 6.6.6.6',
      'X_Real_IP: 6.6.6.6',
      'Forwarded: for=6.6.6.6',
      'X-Forwarded: for=6.6.6.6',
      'X-Forwarded-Prefix: /evil',
      'X_Forwarded_Client_Cert: evil',
      'X-Forwarded-User: evil',
      'Content_Length: 6666',
      'Transfer_Encoding: evil',
      'X_Other: kept',
    )
    await client.response()
    const request = up.requests[0]!
    t.notMatch(up.text, /6\.6\.6\.6|evil|6666/)
    t.strictSame(request.all('x-forwarded-for'), ['127.0.0.1'])
    t.strictSame(request.all('x-forwarded-proto'), ['http'])
    t.strictSame(request.all('x-forwarded-host'), ['h.test'])
    t.equal(request.get('x_other'), 'kept')
  })

  await t.test('a trusted proxy is believed, and the chain grows by it', async t => {
    const { up, client } = await chain(t, engine, { trustedProxies: ['127.0.0.0/8'] })
    client.head(
      'GET / HTTP/1.1',
      'Host: h.test',
      'X-Forwarded-For: 9.9.9.9',
      'X-Forwarded-For: 8.8.8.8',
      'X_Forwarded_For: 6.6.6.6',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: shop.test',
    )
    await client.response()
    const request = up.requests[0]!
    t.strictSame(request.all('x-forwarded-for'), ['9.9.9.9, 8.8.8.8, 127.0.0.1'])
    t.strictSame(request.all('x-forwarded-proto'), ['https'])
    t.strictSame(request.all('x-forwarded-host'), ['shop.test'])
    t.notMatch(up.text, '6.6.6.6')
  })

  await t.test("Host is the client's, the endpoint's or a literal", async t => {
    for (const [host, seen] of [
      ['pass', 'h.test:81'],
      ['endpoint', 'ADDRESS'],
      ['inner.test:8080', 'inner.test:8080'],
    ] as const) {
      const { up, client } = await chain(t, engine, { up: { host } })
      client.head('GET / HTTP/1.1', 'Host: h.test:81', 'X-A: 1')
      t.equal((await client.response()).status, 200)
      const request = up.requests[0]!
      t.strictSame(request.all('host'), [seen.replace('ADDRESS', up.address)], host)
      t.equal(request.names[0], 'host', 'Host stands first')
      t.equal(request.get('x-forwarded-host'), 'h.test:81')
    }
  })

  await t.test('the path goes on as matched and the query byte for byte', async t => {
    const { up, client } = await chain(t, engine)
    const targets: [string, string][] = [
      ['/a/./b/../c%41?x=%41&&y=%2f;%00?z', '/a/cA?x=%41&&y=%2f;%00?z'],
      ['/a?', '/a?'],
      ['/a', '/a'],
      ['//a//b', '//a//b'],
      ['/%e2%82%ac', '/%e2%82%ac'],
      [`/long/${'x'.repeat(4000)}`, `/long/${'x'.repeat(4000)}`],
    ]
    for (const [index, [sent, seen]] of targets.entries()) {
      client.head(`GET ${sent} HTTP/1.1`, 'Host: h.test')
      t.equal((await client.response()).status, 200, sent.slice(0, 50))
      t.equal(up.requests[index]!.target.toUpperCase(), seen.toUpperCase())
    }
  })

  await t.test('an absolute-form target is served, and its host wins', async t => {
    const { up, client } = await chain(t, engine)
    client.head('GET http://h.test/a?b HTTP/1.1', 'Host: h.test')
    const answer = await client.response()
    if (!engine.absoluteForm) {
      t.equal(answer.status, 505)
      t.equal(await client.closed, 'fin')
      t.equal(up.requests.length, 0)
      return
    }
    t.equal(answer.status, 200)
    t.equal(up.requests[0]!.target, '/a?b')
    t.equal(up.requests[0]!.get('host'), 'h.test')
    client.head('GET http://h.test HTTP/1.1', 'Host: H.TEST:80')
    t.equal((await client.response()).status, 200)
    t.equal(up.requests[1]!.target, '/')
    client.head('GET http://other.test/ HTTP/1.1', 'Host: h.test')
    t.equal((await client.response()).status, 400)
    await client.closed
    t.equal(up.requests.length, 2)
  })

  await t.test('OPTIONS * goes on as it is; no other method has that target', async t => {
    const { up, client } = await chain(t, engine)
    client.head('OPTIONS * HTTP/1.1', 'Host: h.test')
    const answer = await client.response()
    if (!engine.absoluteForm) {
      t.equal(answer.status, 505)
      await client.closed
      t.equal(up.requests.length, 0)
      return
    }
    t.equal(answer.status, 200)
    t.equal(up.requests[0]!.target, '*')
    client.head('GET * HTTP/1.1', 'Host: h.test')
    t.equal((await client.response()).status, 400)
    await client.closed
    t.equal(up.requests.length, 1)
  })

  await t.test('Max-Forwards of OPTIONS and TRACE is counted down, and ends at 0', async t => {
    const { up, client } = await chain(t, engine)
    client.head('OPTIONS /a HTTP/1.1', 'Host: h.test', 'Max-Forwards: 3')
    t.equal((await client.response()).status, 200)
    t.equal(up.requests[0]!.get('max-forwards'), '2')
    client.head('GET /a HTTP/1.1', 'Host: h.test', 'Max-Forwards: 0')
    t.equal((await client.response()).status, 200, 'it has no meaning for others')
    t.equal(up.requests[1]!.get('max-forwards'), '0')
    client.head('OPTIONS /a HTTP/1.1', 'Host: h.test', 'Max-Forwards: 0')
    t.equal((await client.response()).status, 204)
    client.head('TRACE /a HTTP/1.1', 'Host: h.test', 'Max-Forwards: 0', 'Cookie: secret')
    const trace = await client.response()
    t.equal(trace.status, 501)
    t.notMatch(trace.text, 'secret')
    t.equal(up.requests.length, 2)
  })

  await t.test('CONNECT is not served', async t => {
    const { up, client } = await chain(t, engine)
    client.head('CONNECT h.test:443 HTTP/1.1', 'Host: h.test:443')
    const answer = await client.response()
    t.ok(answer.status === 501 || answer.status === 400 || answer.status === 505, String(answer.status))
    await client.closed
    t.equal(up.requests.length, 0)
  })

  await t.test('a request that asks for an upgrade is served as it is, without one', async t => {
    const { up, gateway, client } = await chain(t, engine)
    client.head('GET /chat HTTP/1.1', 'Host: h.test', 'Connection: Upgrade', 'Upgrade: foo')
    const answer = await client.response()
    t.equal(answer.status, 200)
    t.notOk(up.requests[0]!.names.includes('upgrade'))
    t.notOk(up.requests[0]!.names.includes('connection'))
    // Whoever takes it for switched sends what is no request any more.
    t.equal(answer.get('connection'), 'close')
    await client.closed
    // An Upgrade that Connection does not name is nobody's wish (RFC 9110 7.8).
    const other = await gateway.connect()
    other.head('GET /chat HTTP/1.1', 'Host: h.test', 'Upgrade: foo')
    t.equal((await other.response()).get('connection'), '')
  })
}
