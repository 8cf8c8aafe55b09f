// Request heads: what is read out of them, and every rule of RFC 9112 2 to 6 with its refusal.
// Over 300 lines because most of it is a table of heads, a line each, and what comes of them.
import t from 'tap'
import type { ErrorCode } from '../../../src/errors.ts'
import { HeadParser, INCOMPLETE, INVALID } from '../../../src/http1/head-parser.ts'

const LIMITS = { bytes: 16 * 1024, count: 100 }
const parser = new HeadParser()

function parse(text: string, limits = LIMITS): number {
  const bytes = Buffer.from(text, 'latin1')
  return parser.request(bytes, 0, bytes.length, limits)
}

/** What the parser says of a head, as plain data. */
function facts() {
  const { method, path, query, hasQuery, host, minor, headers, contentLength, chunked } = parser
  const { close, keepAlive, upgrade, hasUnderscore, acceptsTrailers, expectContinue, hasDate } = parser
  return {
    ...{ method, path, query, hasQuery, host, minor, headers, contentLength, chunked },
    ...{ close, keepAlive, upgrade, hasUnderscore, acceptsTrailers, expectContinue, hasDate },
  }
}

const PLAIN = {
  ...{ method: 'GET', path: '/', query: '', hasQuery: false, host: 'h', minor: 1, headers: [] as string[] },
  ...{ contentLength: -1, chunked: false, close: false, keepAlive: false, upgrade: false, hasUnderscore: false },
  ...{ acceptsTrailers: false, expectContinue: false, hasDate: false },
}

const accepted: [text: string, differs: Partial<typeof PLAIN>][] = [
  ['GET / HTTP/1.1\r\nHost: h\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nhost:h\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nHOST:  \t h \t\r\n\r\n', {}],
  ['\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n', {}],
  ['GET / HTTP/1.7\r\nHost: h\r\n\r\n', {}],
  ['GET / HTTP/1.0\r\n\r\n', { minor: 0, host: '' }],
  ['GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n', { minor: 0, host: '', keepAlive: true }],
  ['get / HTTP/1.1\r\nHost: h\r\n\r\n', { method: 'get' }],
  ["!#$%&'*+-.^_`|~09 / HTTP/1.1\r\nHost: h\r\n\r\n", { method: "!#$%&'*+-.^_`|~09" }],
  ['GETS / HTTP/1.1\r\nHost: h\r\n\r\n', { method: 'GETS' }],
  ...['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'].map(
    method => [`${method} / HTTP/1.1\r\nHost: h\r\n\r\n`, { method }] as [string, Partial<typeof PLAIN>],
  ),
  // Targets (RFC 9112 3.2).
  ['GET /a/b?c=d?e HTTP/1.1\r\nHost: h\r\n\r\n', { path: '/a/b', query: 'c=d?e', hasQuery: true }],
  ['GET /? HTTP/1.1\r\nHost: h\r\n\r\n', { hasQuery: true }],
  ['GET /%41%2f\\^{}|"<>` HTTP/1.1\r\nHost: h\r\n\r\n', { path: '/%41%2f\\^{}|"<>`' }],
  ['OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n', { method: 'OPTIONS', path: '*' }],
  ['GET http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n', { path: '/x', query: 'y', hasQuery: true }],
  ['GET HTTPS://H:443/x HTTP/1.1\r\nHost: h\r\n\r\n', { path: '/x', host: 'H:443' }],
  ['GET http://h HTTP/1.1\r\nHost: h:80\r\n\r\n', { path: '/' }],
  ['GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n', { path: '/', query: 'q', hasQuery: true }],
  ['GET http://h/x HTTP/1.0\r\n\r\n', { path: '/x', minor: 0 }],
  ['OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n', { method: 'OPTIONS', path: '*' }],
  ['OPTIONS http://h/ HTTP/1.1\r\nHost: h\r\n\r\n', { method: 'OPTIONS' }],
  ['OPTIONS http://h?q HTTP/1.1\r\nHost: h\r\n\r\n', { method: 'OPTIONS', query: 'q', hasQuery: true }],
  // Hosts (RFC 9110 7.2).
  ...[
    'example.com',
    'example.com:8080',
    'EXAMPLE.com:',
    '127.0.0.1',
    '[::1]',
    '[::1]:80',
    '[v1.a:b]',
    'a_b',
    '%41b',
    'h:65535',
  ].map(host => [`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, { host }] as [string, Partial<typeof PLAIN>]),
  // Framing (RFC 9112 6).
  ['POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n', { method: 'POST', contentLength: 0 }],
  ['GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\n', { contentLength: 7 }],
  ['GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9007199254740991\r\n\r\n', { contentLength: Number.MAX_SAFE_INTEGER }],
  ['GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\n', { contentLength: 5, minor: 0, host: '' }],
  ['GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ChunkeD \r\n\r\n', { chunked: true }],
  // Fields that are ours.
  ['GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n', { close: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nConnection: , KEEP-alive ,, Close\r\n\r\n', { close: true, keepAlive: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', { upgrade: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nHost: h\r\nTE: gzip, Trailers;q=1\r\n\r\n', { acceptsTrailers: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nTE: trailers , gzip\r\n\r\n', { acceptsTrailers: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nTE: xtrailers\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nHost: h\r\nTE: trailers;q=0, gzip\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nHost: h\r\nTE: trailers; q=0.00\r\n\r\n', {}],
  ['GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n\r\n', { expectContinue: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nExpect:\r\n\r\n', {}],
  [
    'GET / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nProxy-Authorization: x\r\nHTTP2-Settings: x\r\n\r\n',
    {},
  ],
  // What goes on.
  ['GET / HTTP/1.1\r\nX-A: 1\r\nHost: h\r\nx-a:\r\nX-A:\t\t\r\n\r\n', { headers: ['x-a', '1', 'x-a', '', 'x-a', ''] }],
  ['GET / HTTP/1.1\r\nHost: h\r\nX-A: a b\tc \xe9\xff\r\n\r\n', { headers: ['x-a', 'a b\tc \xe9\xff'] }],
  ['GET / HTTP/1.1\r\nHost: h\r\nX-A: \xa0v\xa0\r\n\r\n', { headers: ['x-a', '\xa0v\xa0'] }],
  ['GET / HTTP/1.1\r\nHost: h\r\nX_A: 1\r\n\r\n', { headers: ['x_a', '1'], hasUnderscore: true }],
  ['GET / HTTP/1.1\r\nHost: h\r\nDate: d\r\n\r\n', { headers: ['date', 'd'], hasDate: true }],
  [
    'GET / HTTP/1.1\r\nHost: h\r\n__proto__: 1\r\nConstructor: 2\r\n\r\n',
    { headers: ['__proto__', '1', 'constructor', '2'], hasUnderscore: true },
  ],
  // Connection names fields to drop, but not those of the whole way (RFC 9110 7.6.1).
  [
    'GET / HTTP/1.1\r\nX-A: 1\r\nHost: h\r\nX-B: 2\r\nConnection: x-A, Cookie, Host\r\nCookie: c\r\nx-a: 3\r\n\r\n',
    { headers: ['x-b', '2', 'cookie', 'c'] },
  ],
  [
    'GET / HTTP/1.1\r\nHost: h\r\nConnection: content-length, transfer-encoding\r\nContent-Length: 3\r\n\r\n',
    { contentLength: 3 },
  ],
  // A Trailer field goes with a chunked body only (RFC 9110 6.6.2).
  ['GET / HTTP/1.1\r\nHost: h\r\nTrailer: x\r\n\r\n', {}],
  [
    'GET / HTTP/1.1\r\nTrailer: x\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n',
    { chunked: true, headers: ['trailer', 'x'] },
  ],
]

t.test('accepted', async t => {
  for (const [text, differs] of accepted) {
    t.equal(parse(text), text.length, JSON.stringify(text))
    t.same(facts(), { ...PLAIN, ...differs })
  }
})

const line = (fields: string, start = 'GET / HTTP/1.1') => `${start}\r\nHost: h\r\n${fields}\r\n\r\n`
const B: ErrorCode = 'SLUICE_BAD_REQUEST'

const refused: [text: string, code: ErrorCode, reason?: RegExp][] = [
  // Request line.
  ['\nGET / HTTP/1.1\r\nHost: h\r\n\r\n', B, /bare LF/],
  ['\rGET / HTTP/1.1\r\nHost: h\r\n\r\n', B],
  ['\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n', B, /no token/],
  [' GET / HTTP/1.1\r\nHost: h\r\n\r\n', B, /no token/],
  ['G@T / HTTP/1.1\r\nHost: h\r\n\r\n', B, /no token/],
  ['GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /no token/],
  ['\x16\x03\x01\x02', B, /no token/],
  ['GET  / HTTP/1.1\r\nHost: h\r\n\r\n', B, /request target/],
  ['GET / a HTTP/1.1\r\nHost: h\r\n\r\n', B],
  ['GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n', B, /request target/],
  ['GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n', B, /request target/],
  ['GET /\xe9 HTTP/1.1\r\nHost: h\r\n\r\n', B, /request target/],
  ['GET /#f HTTP/1.1\r\nHost: h\r\n\r\n', B, /request target/],
  ['GET /\t HTTP/1.1\r\nHost: h\r\n\r\n', B, /request target/],
  ['GET /\r\n', B, /no HTTP version/],
  ['GET /\n', B, /no HTTP version/],
  ['GET / \r\n\r\n', B, /no HTTP version/],
  ['GET /  HTTP/1.1\r\nHost: h\r\n\r\n', B],
  ['GET / http/1.1\r\nHost: h\r\n\r\n', B],
  ['GET / HTTP/1,1\r\nHost: h\r\n\r\n', B],
  ['GET / HTTP/x.1\r\nHost: h\r\n\r\n', B, /malformed HTTP version/],
  ['GET / HTTP/1.x\r\nHost: h\r\n\r\n', B, /malformed HTTP version/],
  ['GET / HTTP/1.10\r\nHost: h\r\n\r\n', B, /CRLF after the version/],
  ['GET / HTTP/1.1 \r\nHost: h\r\n\r\n', B, /CRLF after the version/],
  ['GET / HTTP/1.1\nHost: h\r\n\r\n', B, /CRLF after the version/],
  ['GET / HTTP/1.1\rHost: h\r\n\r\n', B, /CRLF after the version/],
  ['GET / HTTP/0.9\r\nHost: h\r\n\r\n', 'SLUICE_VERSION_NOT_SUPPORTED'],
  ['GET / HTTP/2.0\r\nHost: h\r\n\r\n', 'SLUICE_VERSION_NOT_SUPPORTED'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'SLUICE_VERSION_NOT_SUPPORTED'],
  ['CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n', 'SLUICE_NOT_IMPLEMENTED'],
  ['CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n', 'SLUICE_NOT_IMPLEMENTED'],
  // Targets and hosts.
  ['GET * HTTP/1.1\r\nHost: h\r\n\r\n', B, /asterisk/],
  ['OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n', B],
  ['GET a HTTP/1.1\r\nHost: h\r\n\r\n', B, /neither a path/],
  ['GET ?a HTTP/1.1\r\nHost: h\r\n\r\n', B, /neither a path/],
  ['GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /neither a path/],
  ['GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /neither a path/],
  ['GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n', B, /authority/],
  ['GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /authority/],
  ['GET http://h:x/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /authority/],
  ['GET http://i/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /differs/],
  ['GET http://h:81/ HTTP/1.1\r\nHost: h\r\n\r\n', B, /differs/],
  ['GET http://h/ HTTP/1.1\r\n\r\n', B, /no Host/],
  ['GET http://h/ HTTP/1.0\r\nHost: i\r\n\r\n', B, /differs/],
  ['GET / HTTP/1.1\r\n\r\n', B, /no Host/],
  ['GET / HTTP/1.1\r\nHost:\r\n\r\n', B, /no Host/],
  ['GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n', B, /more than one Host/],
  ['GET / HTTP/1.0\r\nHost:\r\nHost:\r\n\r\n', B, /more than one Host/],
  ...[
    'a,b',
    'a b',
    'u@h',
    'h/',
    'h:65536',
    'h:123456',
    'h:8x',
    'h:-1',
    ':80',
    '[::1',
    '[::1]x',
    '[::1%25eth0]',
    '[1.2.3.4]',
    '[]',
    '%4',
    '%zz',
    'h\xe9',
    'h?',
    'h#',
    'h"',
    'a\tb',
  ].map(host => [`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, B, /bad Host/] as [string, ErrorCode, RegExp]),
  // Field lines (RFC 9112 5).
  [line(' x: 1'), B, /folded or indented/],
  [line('X: 1\r\n folded'), B, /folded or indented/],
  [line('X: 1\r\n\tfolded'), B, /folded or indented/],
  [line('X : 1'), B, /space before the colon/],
  [line('X\t: 1'), B, /space before the colon/],
  [line(': 1'), B, /empty field name/],
  [line('novalue'), B, /bad byte in a field name/],
  [line('X(: 1'), B, /bad byte in a field name/],
  [line('X\x00: 1'), B, /bad byte in a field name/],
  [line('\xe9: 1'), B, /bad byte in a field name/],
  [line('X: a\x00b'), B, /field value/],
  [line('X: a\x01b'), B, /field value/],
  [line('X: a\x7fb'), B, /field value/],
  [line('X: a\rb'), B, /field value/],
  [line('X: a\nY: b'), B, /field value/],
  [line('X: a\r\r\nY: b'), B, /field value/],
  ['GET / HTTP/1.1\r\nHost: h\n\n', B, /field value/],
  ['GET / HTTP/1.1\r\nHost: h\r\n\n', B, /field name/],
  ['GET / HTTP/1.1\r\nHost: h\r\n\rX', B, /bare CR/],
  // Framing (RFC 9112 6.1 to 6.3).
  ...[
    '',
    '+5',
    '-5',
    '5,5',
    '5, 5',
    '5 5',
    '0x5',
    '5;',
    '1e1',
    '"5"',
    '9007199254740992',
    '00000000000000005',
    '18446744073709551616',
    '\xb2',
  ].map(length => [line(`Content-Length: ${length}`), B, /no number/] as [string, ErrorCode, RegExp]),
  [line('Content-Length: 5\r\nContent-Length: 5'), B, /more than one Content-Length/],
  [line('Content-Length: 5\r\nContent-Length: 6'), B, /more than one Content-Length/],
  ...[
    '',
    'gzip',
    'gzip, chunked',
    'chunked, gzip',
    'chunked, chunked',
    'identity',
    'xchunked',
    'chunked;a=b',
    '"chunked"',
    'chunked,',
    ',chunked',
    '\xa0chunked',
  ].map(coding => [line(`Transfer-Encoding: ${coding}`), B, /exactly one chunked/] as [string, ErrorCode, RegExp]),
  [line('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'), B, /exactly one chunked/],
  [line('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity'), B, /exactly one chunked/],
  [line('Transfer-Encoding:\tchunked'), B, /a tab beside/],
  [line('Transfer-Encoding: chunked\t'), B, /a tab beside/],
  [line('Transfer-Encoding: chunked \t '), B, /a tab beside/],
  [line('Content-Length: 5\r\nTransfer-Encoding: chunked'), B, /beside Transfer-Encoding/],
  [line('Transfer-Encoding: chunked\r\nContent-Length: 0'), B, /beside Transfer-Encoding/],
  [line('Transfer-Encoding: chunked', 'GET / HTTP/1.0'), B, /HTTP\/1\.0/],
  [line('Connection: a b'), B, /no token/],
  [line('Connection: close\xa0'), B, /no token/],
  [line('Connection: "close"'), B, /no token/],
  [line('Expect: 200-ok'), 'SLUICE_EXPECTATION_FAILED'],
  [line('Expect: 100-continue, x'), 'SLUICE_EXPECTATION_FAILED'],
]

t.test('refused', async t => {
  for (const [text, code, reason] of refused) {
    t.equal(parse(text), INVALID, JSON.stringify(text))
    t.equal(parser.error, code)
    if (reason !== undefined) t.match(parser.reason, reason)
  }
})

t.test('the bytes behind a head are left alone', async t => {
  const head = 'GET /a HTTP/1.1\r\nHost: h\r\n\r\n'
  const bytes = Buffer.from(`junk${head}GET /b`, 'latin1')
  t.equal(parser.request(bytes, 4, bytes.length, LIMITS), 4 + head.length)
  t.equal(parser.path, '/a')
  t.equal(
    parser.request(bytes, 4, 4 + head.length - 1, LIMITS),
    INCOMPLETE,
    'nor is what lies behind the end looked at',
  )
})

t.test('limits, exactly', async t => {
  const head = 'GET /abc HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\n\r\n'
  t.equal(parse(head, { bytes: head.length, count: 3 }), head.length, 'at both limits')
  t.equal(
    parse(`\r\n${head}`, { bytes: head.length, count: 3 }),
    head.length + 2,
    'an empty line before it is not counted',
  )
  t.equal(parse(head, { bytes: head.length, count: 2 }), INVALID)
  t.equal(parser.error, 'SLUICE_HEADERS_TOO_LARGE', 'a field too many')
  for (let bytes = 1; bytes < head.length; bytes++) {
    t.equal(parse(head, { bytes, count: 3 }), INVALID, `${bytes} bytes`)
    t.equal(parser.error, 'SLUICE_HEADERS_TOO_LARGE')
    t.equal(parse(head.slice(0, bytes), { bytes, count: 3 }), INCOMPLETE, `${bytes} bytes, all there are`)
  }
  t.equal(parse(`GET /${'a'.repeat(20_000)} HTTP/1.1\r\n`, LIMITS), INVALID)
  t.equal(parser.error, 'SLUICE_HEADERS_TOO_LARGE', 'a target that is too long')
  const many = `GET / HTTP/1.1\r\nHost: h\r\n${'a: b\r\n'.repeat(299)}\r\n`
  t.equal(parse(many, { bytes: 16_384, count: 300 }), many.length, 'more fields than the parser has room for at first')
  t.equal(parser.headers.length, 598)
})

t.test('every split of every head', async t => {
  let splits = 0
  for (const [text, differs] of accepted) {
    const whole = Buffer.from(text, 'latin1')
    for (let end = 0; end < whole.length; end++) {
      const part = Buffer.from(whole.subarray(0, end))
      splits++
      if (parser.request(part, 0, end, LIMITS) !== INCOMPLETE) t.fail(`${JSON.stringify(text)} cut at ${end}`)
    }
    parser.request(whole, 0, whole.length, LIMITS)
    whole.fill(0x58)
    t.same(facts(), { ...PLAIN, ...differs }, 'results do not point into the buffer')
  }
  t.ok(splits > 2000)
  for (const [text, code] of refused) {
    const whole = Buffer.from(text, 'latin1')
    let verdict = INCOMPLETE
    for (let end = 0; end <= whole.length && verdict === INCOMPLETE; end++) {
      verdict = parser.request(whole, 0, end, LIMITS)
    }
    t.equal(verdict, INVALID, JSON.stringify(text))
    t.equal(parser.error, code, 'the same refusal byte by byte')
  }
})

t.test('one head leaves nothing behind for the next', async t => {
  parse(
    'POST /q?x HTTP/1.0\r\nX_A: 1\r\nDate: d\r\nTE: trailers\r\nExpect: 100-continue\r\nConnection: close, keep-alive, upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n',
  )
  parse('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n')
  parse('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  t.same(facts(), PLAIN)
})

t.test('a Connection field that names thousands', async t => {
  const names = Array.from({ length: 7000 }, (_, i) => (i % 90).toString(36)).join(',')
  const text = `GET / HTTP/1.1\r\nHost: h\r\n${'x-a: 1\r\n'.repeat(98)}Connection: ${names}\r\n\r\n`
  const limits = { bytes: 64 * 1024, count: 100 }
  parse(text, limits)
  const before = process.cpuUsage()
  for (let i = 0; i < 10; i++) parse(text, limits)
  const { user } = process.cpuUsage(before)
  t.equal(parser.headers.length, 196)
  t.ok(user / 10 < 20_000, `${user / 10} µs a head`)
})
