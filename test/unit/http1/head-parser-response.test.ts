// Response heads and trailer sections: what is read out of them, what is refused, limits, splits and borrowed bytes.
import t from 'tap'
import { HeadParser, INCOMPLETE, INVALID } from '../../../src/http1/head-parser.ts'

const LIMITS = { bytes: 64 * 1024, count: 256 }
const parser = new HeadParser()

function parse(text: string, limits = LIMITS): number {
  const bytes = Buffer.from(text, 'latin1')
  return parser.response(bytes, 0, bytes.length, limits)
}

function facts() {
  const { status, minor, headers, contentLength, chunked, foreignCoding, close, keepAlive, hasDate } = parser
  return { status, minor, headers, contentLength, chunked, foreignCoding, close, keepAlive, hasDate }
}

const PLAIN = {
  ...{ status: 200, minor: 1, headers: [] as string[], contentLength: -1, chunked: false, foreignCoding: false },
  ...{ close: false, keepAlive: false, hasDate: false },
}

const accepted: [text: string, differs: Partial<typeof PLAIN>][] = [
  ['HTTP/1.1 200 OK\r\n\r\n', {}],
  ['HTTP/1.1 200 \r\n\r\n', {}],
  ['HTTP/1.1 200\r\n\r\n', {}],
  ['HTTP/1.1 200 a b\tc\xe9\r\n\r\n', {}],
  ['HTTP/1.0 200 OK\r\n\r\n', { minor: 0 }],
  ['HTTP/1.9 200 OK\r\n\r\n', {}],
  ['HTTP/1.1 100 C\r\n\r\n', { status: 100 }],
  ['HTTP/1.1 599 x\r\n\r\n', { status: 599 }],
  ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', { contentLength: 5 }],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', { chunked: true }],
  // Where a body follows, the connection refuses these: without one they are of no consequence.
  ['HTTP/1.1 304 -\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', { status: 304, chunked: true, foreignCoding: true }],
  ['HTTP/1.1 304 -\r\nTransfer-Encoding: chunked\t\r\n\r\n', { status: 304, chunked: true, foreignCoding: true }],
  ['HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n', { close: true }],
  ['HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n', { close: true }],
  ['HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n', { minor: 0, keepAlive: true }],
  [
    'HTTP/1.1 200 OK\r\nDate: d\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n',
    { hasDate: true, headers: ['date', 'd', 'set-cookie', 'a', 'set-cookie', 'b'] },
  ],
  // Without meaning in an answer, so it goes on like any other field.
  [
    'HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\nExpect: x\r\n\r\n',
    { headers: ['host', 'a', 'host', 'b', 'expect', 'x'] },
  ],
  [
    'HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: x-a, set-cookie\r\nSet-Cookie: a\r\nKeep-Alive: 5\r\n\r\n',
    { headers: ['set-cookie', 'a'] },
  ],
]

const refused: [text: string, reason: RegExp][] = [
  ['\r\nHTTP/1.1 200 OK\r\n\r\n', /no status line/],
  ['http/1.1 200 OK\r\n\r\n', /no status line/],
  ['HTTP/2.0 200 OK\r\n\r\n', /no status line/],
  ['ICY 200 OK\r\n\r\n', /no status line/],
  ['<html>', /no status line/],
  ['HTTP/1.x 200 OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1  200 OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1\t200 OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 099 x\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 600 x\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 20 OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 2x0 OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 2000 OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 200\tOK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 200OK\r\n\r\n', /malformed status line/],
  ['HTTP/1.1 200 OK\nX: 1\r\n\r\n', /status line/],
  ['HTTP/1.1 200 O\x00K\r\n\r\n', /status line/],
  ['HTTP/1.1 200 O\rK\r\n\r\n', /status line/],
  ['HTTP/1.1 200 OK\r\nX : 1\r\n\r\n', /space before the colon/],
  ['HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n', /folded/],
  ['HTTP/1.1 200 OK\r\nX: 1\nY: 2\r\n\r\n', /field value/],
  ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n', /more than one Content-Length/],
  ['HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n', /no number/],
  ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n', /beside Transfer-Encoding/],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n', /exactly one chunked/],
  ['HTTP/1.1 304 -\r\nTransfer-Encoding: \r\n\r\n', /exactly one chunked/],
  ['HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', /HTTP\/1\.0/],
]

t.test('accepted answers, whole and cut anywhere', async t => {
  for (const [text, differs] of accepted) {
    const bytes = Buffer.from(text, 'latin1')
    for (let end = 0; end < bytes.length; end++) {
      if (parser.response(bytes, 0, end, LIMITS) !== INCOMPLETE) t.fail(`${JSON.stringify(text)} cut at ${end}`)
    }
    t.equal(parser.response(bytes, 0, bytes.length, LIMITS), bytes.length, JSON.stringify(text))
    bytes.fill(0x58)
    t.same(facts(), { ...PLAIN, ...differs })
  }
})

t.test('refused answers, whole and byte by byte', async t => {
  for (const [text, reason] of refused) {
    t.equal(parse(text), INVALID, JSON.stringify(text))
    t.equal(parser.error, 'SLUICE_UPSTREAM_PROTOCOL', "is the upstream's fault")
    t.match(parser.reason, reason)
    let verdict = INCOMPLETE
    for (let end = 0; end <= text.length && verdict === INCOMPLETE; end++) verdict = parse(text.slice(0, end))
    t.equal(verdict, INVALID, 'byte by byte')
  }
})

t.test('limits of an answer, exactly', async t => {
  const head = 'HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\n\r\n'
  t.equal(parse(head, { bytes: head.length, count: 2 }), head.length)
  for (let bytes = 1; bytes < head.length; bytes++) {
    t.equal(parse(head, { bytes, count: 2 }), INVALID)
    t.equal(parser.error, 'SLUICE_UPSTREAM_PROTOCOL', 'no 431: the client sent nothing too large')
    t.equal(parse(head.slice(0, bytes), { bytes, count: 2 }), INCOMPLETE)
  }
  t.equal(parse(head, { bytes: head.length, count: 1 }), INVALID)
  t.equal(parser.error, 'SLUICE_UPSTREAM_PROTOCOL')
})

function trailers(text: string, limits = LIMITS): number {
  const bytes = Buffer.from(text, 'latin1')
  const used = parser.trailers(bytes, 0, bytes.length, limits)
  bytes.fill(0x58)
  return used
}

t.test('trailer sections', async t => {
  t.equal(trailers('\r\nGET'), 2)
  t.same(parser.headers, [])
  const text = 'X-T: 1\r\nGrpc-Status: 0\r\nx-t:\t2 \r\n\r\n'
  t.equal(trailers(text), text.length)
  t.same(parser.headers, ['x-t', '1', 'grpc-status', '0', 'x-t', '2'])
  for (let end = 0; end < text.length; end++) t.equal(trailers(text.slice(0, end)), INCOMPLETE)
  t.equal(trailers(text, { bytes: text.length, count: 3 }), text.length)
  t.equal(trailers(text, { bytes: text.length, count: 2 }), INVALID)
  t.equal(parser.error, 'SLUICE_HEADERS_TOO_LARGE')
  t.equal(trailers(text, { bytes: text.length - 1, count: 3 }), INVALID)
  t.equal(parser.error, 'SLUICE_HEADERS_TOO_LARGE')
  for (const bad of ['X : 1', ' x: 1', 'x', 'x: \x00', 'x: a\nb: c', ': 1', '\nx: 1', 'x: 1\r\n y']) {
    t.equal(trailers(`${bad}\r\n\r\n`), INVALID, JSON.stringify(bad))
    t.equal(parser.error, 'SLUICE_BAD_REQUEST')
  }
})

t.test('what must not come as a trailer is dropped (RFC 9110 6.5.1)', async t => {
  const forbidden = [
    ...[
      'Content-Length',
      'Transfer-Encoding',
      'Host',
      'Connection',
      'Keep-Alive',
      'Upgrade',
      'TE',
      'Trailer',
      'Expect',
      'Date',
    ],
    ...[
      'Content-Type',
      'Content-Encoding',
      'Content-Range',
      'Authorization',
      'Cookie',
      'Set-Cookie',
      'Cache-Control',
      'Vary',
    ],
    ...[
      'X-Forwarded-For',
      'X-Forwarded-Proto',
      'X-Forwarded-Host',
      'Forwarded',
      'X-Real-IP',
      'Via',
      'X-Request-Id',
      'Range',
    ],
    ...[
      'Location',
      'WWW-Authenticate',
      'Proxy-Authenticate',
      'Proxy-Authorization',
      'If-Match',
      'If-None-Match',
      'Max-Forwards',
    ],
  ]
  for (const name of forbidden) {
    trailers(`A: 1\r\n${name}: 5\r\nB: 2\r\n\r\n`)
    t.same(parser.headers, ['a', '1', 'b', '2'], name)
  }
})
