// Requests whose end two parsers could see at different bytes: refused, closed, and nothing of them goes upstream.
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { eventually, pause } from '../support/within.ts'

/** What a smuggler wants to have taken for a request of its own. */
const HIDDEN = 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n'

const post = (...fields: string[]) =>
  `POST / HTTP/1.1\r\nHost: h\r\n${fields.map(field => `${field}\r\n`).join('')}\r\n`

/** Refused by their head: on both engines, because they share these rules. */
const BOTH: Record<string, string> = {
  'Content-Length beside chunked': `${post('Content-Length: 6', 'Transfer-Encoding: chunked')}0\r\n\r\n${HIDDEN}`,
  'chunked beside Content-Length': `${post('Transfer-Encoding: chunked', 'Content-Length: 6')}0\r\n\r\n${HIDDEN}`,
  'two lengths': `${post('Content-Length: 0', 'Content-Length: 36')}${HIDDEN}`,
  'the same length twice': `${post('Content-Length: 2', 'Content-Length: 2')}ok${HIDDEN}`,
  'a list of lengths': `${post('Content-Length: 2, 2')}ok${HIDDEN}`,
  'a signed length': `${post('Content-Length: +2')}ok${HIDDEN}`,
  'a negative length': `${post('Content-Length: -2')}ok${HIDDEN}`,
  'a hexadecimal length': `${post('Content-Length: 0x2')}ok${HIDDEN}`,
  'a length with a fraction': `${post('Content-Length: 2.0')}ok${HIDDEN}`,
  'a length with an exponent': `${post('Content-Length: 2e0')}ok${HIDDEN}`,
  'a length with a space in it': `${post('Content-Length: 2 2')}ok${HIDDEN}`,
  'a length of many digits': `${post('Content-Length: 9007199254740993')}ok${HIDDEN}`,
  'an empty length': `${post('Content-Length:')}${HIDDEN}`,
  'another coding': `${post('Transfer-Encoding: gzip')}${HIDDEN}`,
  'another coding first': `${post('Transfer-Encoding: gzip, chunked')}0\r\n\r\n${HIDDEN}`,
  'another coding last': `${post('Transfer-Encoding: chunked, identity')}0\r\n\r\n${HIDDEN}`,
  'chunked twice': `${post('Transfer-Encoding: chunked, chunked')}0\r\n\r\n${HIDDEN}`,
  'chunked in two fields': `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}0\r\n\r\n${HIDDEN}`,
  'chunked, then a stranger': `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: x')}0\r\n\r\n${HIDDEN}`,
  'quoted chunked': `${post('Transfer-Encoding: "chunked"')}0\r\n\r\n${HIDDEN}`,
  'chunked with a parameter': `${post('Transfer-Encoding: chunked;q=1')}0\r\n\r\n${HIDDEN}`,
  xchunked: `${post('Transfer-Encoding: xchunked')}0\r\n\r\n${HIDDEN}`,
  'an empty coding': `${post('Transfer-Encoding:')}${HIDDEN}`,
  'identity beside a length': `${post('Transfer-Encoding: identity', 'Content-Length: 2')}ok${HIDDEN}`,
  'two hosts': `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n${HIDDEN}`,
  'the same host twice': `GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n${HIDDEN}`,
  'an empty host': `GET / HTTP/1.1\r\nHost:\r\n\r\n${HIDDEN}`,
  'no host': `GET / HTTP/1.1\r\nX-A: 1\r\n\r\n${HIDDEN}`,
  'a list of hosts': `GET / HTTP/1.1\r\nHost: a, b\r\n\r\n${HIDDEN}`,
  'a host with a path': `GET / HTTP/1.1\r\nHost: a/b\r\n\r\n${HIDDEN}`,
  'a host with credentials': `GET / HTTP/1.1\r\nHost: a@b\r\n\r\n${HIDDEN}`,
  'a host with a space': `GET / HTTP/1.1\r\nHost: a b\r\n\r\n${HIDDEN}`,
  'a space before the colon': `POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 2\r\n\r\nok${HIDDEN}`,
  'a space before the colon of a coding': `POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'a fragment in the target': `GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a space in the target': `GET /a b HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a request in the target': `GET /a HTTP/1.1\r\nX: HTTP/1.1\nHost: h\r\n\r\n${HIDDEN}`,
  'bytes above ASCII in the target': `GET /\xe4 HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a method that is no token': `G(T / HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a Connection option that is no token': `GET / HTTP/1.1\r\nHost: h\r\nConnection: a b\r\n\r\n${HIDDEN}`,
}

/** Refused by their head: on the native engine, whose parser is ours. */
const NATIVE: Record<string, string> = {
  'a bare LF as line end': 'GET / HTTP/1.1\nHost: h\n\n',
  'a bare LF behind a field': `POST / HTTP/1.1\r\nHost: h\r\nX: 1\nContent-Length: 2\r\n\r\nok${HIDDEN}`,
  'a bare CR in a value': `POST / HTTP/1.1\r\nHost: h\r\nX: 1\rContent-Length: 2\r\n\r\nok${HIDDEN}`,
  'a bare CR before the colon': `POST / HTTP/1.1\r\nHost: h\r\nContent-Length\r: 2\r\n\r\nok${HIDDEN}`,
  'a line end of CR CR LF': `POST / HTTP/1.1\r\nHost: h\r\r\nContent-Length: 2\r\n\r\nok${HIDDEN}`,
  'NUL in a value': `GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n${HIDDEN}`,
  'NUL in a name': `GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n${HIDDEN}`,
  'a control character in a value': `GET / HTTP/1.1\r\nHost: h\r\nX: a\x0bb\r\n\r\n${HIDDEN}`,
  'a folded field': `POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'a folded field behind a tab': `POST / HTTP/1.1\r\nHost: h\r\nX: 1\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'a first field that is indented': `GET / HTTP/1.1\r\n Host: h\r\n\r\n${HIDDEN}`,
  'an empty name': `GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n${HIDDEN}`,
  'a field without a colon': `GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n${HIDDEN}`,
  'a name with a space in it': `POST / HTTP/1.1\r\nHost: h\r\nTransfer Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'a name above ASCII': `GET / HTTP/1.1\r\nHost: h\r\nX\xe4: 1\r\n\r\n${HIDDEN}`,
  'a tab beside chunked': `${post('Transfer-Encoding: \x0bchunked')}0\r\n\r\n${HIDDEN}`,
  'chunked in HTTP/1.0': `POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
  'no version': `GET /\r\n\r\n${HIDDEN}`,
  'two spaces before the target': `GET  / HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'two spaces before the version': `GET /  HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a tab before the version': `GET /\tHTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a space behind the version': `GET / HTTP/1.1 \r\nHost: h\r\n\r\n${HIDDEN}`,
  'a version in lower case': `GET / http/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a space before the method': ` GET / HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'two empty lines before the request': `\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a target with another host': `GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n${HIDDEN}`,
  'a target with credentials': `GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`,
  'a target of another scheme': `GET file:///etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'a target without a slash': `GET a HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`,
  'an HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'a TLS handshake': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
}

/** Their head is good and the body turns bad: what was begun upstream must end broken off. */
const BODIES: Record<string, string> = {
  'a size that is none': 'zz\r\nok\r\n0\r\n\r\n',
  'no size': '\r\nok\r\n0\r\n\r\n',
  'a size with a sign': '+2\r\nok\r\n0\r\n\r\n',
  'a negative size': '-2\r\nok\r\n0\r\n\r\n',
  'a size with 0x': '0x2\r\nok\r\n0\r\n\r\n',
  'a size of many digits': '00000000000000002\r\nok\r\n0\r\n\r\n',
  'a size that overflows': 'fffffffffffffffff\r\nok\r\n0\r\n\r\n',
  'a space before the size': ' 2\r\nok\r\n0\r\n\r\n',
  'a space behind the size': '2 \r\nok\r\n0\r\n\r\n',
  'a bare LF behind the size': '2\nok\r\n0\r\n\r\n',
  'a bare LF in an extension': '2;x\nok\r\n0\r\n\r\n',
  'a bare CR in an extension': '2;x\ry\r\nok\r\n0\r\n\r\n',
  'an extension that is none': '2;\0\r\nok\r\n0\r\n\r\n',
  'no line end behind the data': '2\r\nok0\r\n\r\n',
  'a bare LF behind the data': '2\r\nok\n0\r\n\r\n',
  'data longer than its size': '2\r\nokok\r\n0\r\n\r\n',
  'a bare LF behind the last size': '2\r\nok\r\n0\n\r\n',
  'a bare LF as the end': '2\r\nok\r\n0\r\n\n',
  'a trailer that is none': '2\r\nok\r\n0\r\nX Y: 1\r\n\r\n',
  'a folded trailer': '2\r\nok\r\n0\r\nX: 1\r\n Y: 1\r\n\r\n',
  'extensions without end': `2;${'x'.repeat(20_000)}\r\nok\r\n0\r\n\r\n`,
  'extensions in small pieces': `${'1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n'.repeat(700)}0\r\n\r\n`,
  'trailers without end': `2\r\nok\r\n0\r\n${'X-A: 1\r\n'.repeat(3000)}\r\n`,
}

async function open(t: Test, engine: string): Promise<{ up: RawUpstream; gateway: TestGateway }> {
  const up = await RawUpstream.start(t)
  return { up, gateway: await startGateway(t, { listener: { engine }, up: { endpoints: [up.address] } }) }
}

/** In one write, and in pieces of seven bytes: what is refused must not depend on it. */
const CUTS = [(text: string) => [text], (text: string) => text.match(/[\s\S]{1,7}/g)!]

async function refused(t: Test, engine: string, cases: Record<string, string>): Promise<void> {
  const { up, gateway } = await open(t, engine)
  for (const [name, bytes] of Object.entries(cases)) {
    for (const cut of CUTS) {
      const client = await gateway.connect()
      for (const part of cut(bytes)) {
        client.send(part)
        if (part !== bytes) await new Promise(resolve => setImmediate(resolve))
      }
      // Waiting is no answer either: a client that stops here would be told by the timeout.
      client.end()
      await client.closed
      if (engine === 'native') t.match(client.text, /^HTTP\/1\.1 (?:400|501|505) /, name)
      t.notMatch(client.text, / 200 /, name)
      t.ok(client.text.split('HTTP/1.1 ').length <= 2, `${name}: one answer at most`)
    }
    t.equal(up.text, '', `${name}: nothing goes upstream`)
  }
}

t.test('native: heads that are ambiguous', t => refused(t, 'native', { ...BOTH, ...NATIVE }))

t.test('uws: heads that are ambiguous', t => refused(t, 'uws', BOTH))

t.test('native: bodies that turn bad', async t => {
  const { up, gateway } = await open(t, 'native')
  for (const [name, body] of Object.entries(BODIES)) {
    for (const cut of CUTS) {
      const before = up.requests.length
      const client = await gateway.connect()
      const bytes = `${post('Transfer-Encoding: chunked')}${body}${HIDDEN}`
      client.socket.on('error', () => {})
      for (const part of body.length > 1000 ? [bytes] : cut(bytes)) {
        client.send(part)
        if (part !== bytes) await new Promise(resolve => setImmediate(resolve))
      }
      await client.closed
      t.notMatch(client.text, / 200 /, name)
      for (const request of up.requests.slice(before)) {
        await eventually(
          () => request.peer.ended,
          () => `${name}: the upstream request goes on`,
        )
        t.notOk(request.complete, `${name}: the upstream sees it broken off`)
      }
      await gateway.quiet()
    }
  }
  t.notMatch(up.text, 'smuggled')
})

t.test('bytes behind a request that asked for an upgrade are no request', async t => {
  const { up, gateway } = await open(t, 'native')
  const client = await gateway.connect()
  client.send(`GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n${HIDDEN}`)
  t.equal((await client.response()).status, 200)
  await client.closed
  await pause(20)
  t.equal(up.requests.length, 1)
  t.notMatch(up.text, 'smuggled')
})

t.test('a body is a body, whatever it looks like', async t => {
  for (const engine of ['native', 'uws']) {
    const { up, gateway } = await open(t, engine)
    for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST']) {
      const client = await gateway.connect()
      client.send(`${method} / HTTP/1.1\r\nHost: h\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`)
      await client.response(method)
      t.equal(client.rest, '')
      const request = up.requests.at(-1)!
      t.equal(request.method, method)
      t.equal(request.body.toString(), HIDDEN)
      t.equal(request.get('content-length'), String(HIDDEN.length))
    }
    t.equal(up.requests.length, 5)
  }
})

t.test('an answer that says 200 to what was not sent whole goes to nobody else', async t => {
  const { up, gateway } = await open(t, 'native')
  up.onRequest = request => {
    if (request.method === 'GET') request.reply('200 OK', 'clean')
    else request.reply('200 OK', 'early')
  }
  const first = await gateway.connect()
  first.head('POST / HTTP/1.1', 'Host: h', 'Content-Length: 1000').send('x')
  t.equal((await first.response()).text, 'early')
  const second = await gateway.connect()
  second.head('GET / HTTP/1.1', 'Host: h')
  t.equal((await second.response()).text, 'clean')
  t.not(up.requests[0]!.peer.index, up.requests[1]!.peer.index, 'the rest of the body would have been its request')
})
