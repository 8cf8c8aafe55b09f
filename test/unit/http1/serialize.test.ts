// Heads as bytes: round trips through the parser, framing by length, status lines, the date, and the write-side check.
import fc from 'fast-check'
import t from 'tap'
import { GATEWAY_FIELDS, type RequestHead } from '../../../src/http/head.ts'
import { HeadParser } from '../../../src/http1/head-parser.ts'
import { dateLine, fieldLines, headerListFault, requestHead, statusLine } from '../../../src/http1/serialize.ts'
import { requestHead as headOf } from '../../support/request-head.ts'

const parser = new HeadParser()
const LIMITS = { bytes: 64 * 1024, count: 200 }

// Names that the codec itself reads are left out: they do not pass through a head list.
const OWN =
  /^(connection|keep-alive|proxy-.*|te|transfer-encoding|upgrade|content-length|host|expect|trailer|http2-settings)$/
const name = fc
  .oneof(
    fc.stringMatching(/^[a-z0-9!#$%&'*+\-.^_`|~]{1,12}$/),
    fc.constantFrom('accept', 'cookie', 'date', 'user-agent', 'x-forwarded-for', '__proto__', 'set-cookie', 'x-a'),
  )
  .filter(text => !OWN.test(text))
const value = fc.stringMatching(/^([!-~\xa0-\xff]([\t -~\xa0-\xff]{0,20}[!-~\xa0-\xff])?)?$/)
const headers = fc.array(fc.tuple(name, value), { maxLength: 12 }).map(pairs => pairs.flat())
const anyHead: fc.Arbitrary<RequestHead> = fc
  .record({
    method: fc.oneof(
      fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'OPTIONS'),
      fc.stringMatching(/^[A-Za-z!#$%&'*+.^_`|~-]{1,9}$/),
    ),
    path: fc.stringMatching(/^\/[!"$->@-~]{0,20}$/),
    query: fc.stringMatching(/^[!"$-~]{0,20}$/),
    hasQuery: fc.boolean(),
    headers,
    bodyLength: fc.oneof(fc.constant(0), fc.constant(-1), fc.maxSafeNat()),
    acceptsTrailers: fc.boolean(),
  })
  .filter(head => head.method !== 'CONNECT')
  .map(parts => ({ ...headOf(parts.method, 'h', parts.path, parts.headers), ...parts }))

t.test('a request head that is written is read as the same head', async () => {
  fc.assert(
    fc.property(anyHead, fc.constantFrom('h', 'api.example:8080', '[::1]:80'), (head, host) => {
      const bytes = Buffer.from(requestHead(head, host), 'latin1')
      if (parser.request(bytes, 0, bytes.length, LIMITS) !== bytes.length) throw new Error(parser.reason)
      const promises = ['POST', 'PUT', 'PATCH'].includes(head.method)
      const length = head.bodyLength > 0 ? head.bodyLength : head.bodyLength === 0 && promises ? 0 : -1
      return (
        parser.method === head.method &&
        parser.path === head.path &&
        parser.hasQuery === head.hasQuery &&
        parser.query === (head.hasQuery ? head.query : '') &&
        parser.host === host &&
        parser.minor === 1 &&
        parser.contentLength === length &&
        parser.chunked === head.bodyLength < 0 &&
        parser.acceptsTrailers === head.acceptsTrailers &&
        !parser.close &&
        JSON.stringify(parser.headers) === JSON.stringify(head.headers)
      )
    }),
    { numRuns: 3000 },
  )
})

t.test('an answer that is written is read as the same answer', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 100, max: 599 }), headers, (status, list) => {
      const bytes = Buffer.from(`${statusLine(status)}${fieldLines(list)}\r\n\r\n`, 'latin1')
      return (
        parser.response(bytes, 0, bytes.length, LIMITS) === bytes.length &&
        parser.status === status &&
        parser.hasDate === list.some((text, i) => i % 2 === 0 && text === 'date') &&
        JSON.stringify(parser.headers) === JSON.stringify(list)
      )
    }),
    { numRuns: 2000 },
  )
})

t.test('framing comes from the length alone', async t => {
  const head = (method: string, bodyLength: number) => requestHead({ ...headOf(method, 'h', '/'), bodyLength }, 'h')
  t.equal(head('GET', 0), 'GET / HTTP/1.1\r\nhost: h\r\n\r\n')
  t.equal(head('GET', 5), 'GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n')
  t.equal(head('DELETE', -1), 'DELETE / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n')
  t.equal(head('POST', 0), 'POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n')
})

t.test('status lines', async t => {
  t.equal(statusLine(200), 'HTTP/1.1 200 OK')
  t.equal(statusLine(299), 'HTTP/1.1 299 Unknown')
})

t.test('the date is that of the second (RFC 9110 5.6.7)', async t => {
  const before = Math.floor(Date.now() / 1000)
  const text = dateLine()
  t.match(
    text,
    /^\r\ndate: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/,
  )
  const told = Date.parse(text.slice('\r\ndate: '.length)) / 1000
  t.ok(told >= before && told <= Date.now() / 1000)
})

t.test('the write-side check names what is wrong', async t => {
  t.equal(headerListFault(['a', '1', 'b', '', 'c', 'x\ty \xe9']), null)
  for (const bad of ['', 'a b', 'a:', 'a\r\n', '\xe9', 'a\x00'])
    t.match(headerListFault(['a', '1', bad, '1']), /no token/)
  for (const bad of ['a\r', 'a\nb: c', '\x00', '\x7f', '\x1b', '\u0100'])
    t.match(headerListFault(['a', bad]), /control character/)
  t.match(headerListFault(['a']), /value of a/, 'a name without a value')
  t.match(headerListFault([1, 'x'] as never), /no token/)
  for (const ours of GATEWAY_FIELDS) {
    t.match(headerListFault(['a', '1', ours, '1']), /gateway itself/)
    t.match(headerListFault([ours.toUpperCase(), '1']), /gateway itself/)
    t.equal(headerListFault(['a', '1', ours, '1'], ['a', '1', ours, '1']), null, 'what a peer sent of them may pass')
  }
  t.match(headerListFault(null as never), /no flat list/)
  t.match(headerListFault(['a', 1] as never), /value of a/)
  for (const name of ['content-length', 'Transfer-Encoding', 'CONNECTION', 'trailer', 'upgrade'])
    t.equal(headerListFault(['a', '1', name, '1']), `the header ${name} is set by the gateway itself`)
  t.equal(headerListFault(['trailer', 'x'], ['trailer', 'x']), null, 'what was parsed is no doing of a plugin')
})

t.test('the write-side check finds the same whether or not it knows what was parsed', async () => {
  const good = fc.tuple(fc.constantFrom('a', 'b', 'x-c'), fc.constantFrom('1', '2', 'three'))
  const any = fc.tuple(fc.constantFrom('a', 'b', 'x c', ''), fc.constantFrom('1', '2', 'a\nb', '\x7f'))
  fc.assert(
    fc.property(fc.array(good), fc.array(fc.oneof(any, fc.nat())), (parsed, written) => {
      // A number stands for the pair at that place, so that some of the list stays, is moved, doubled or left out.
      const pairs = written.map(each =>
        typeof each === 'number' ? (parsed[each % (parsed.length || 1)] ?? ['a', '1']) : each,
      )
      return headerListFault(pairs.flat(), parsed.flat()) === headerListFault(pairs.flat())
    }),
  )
})
