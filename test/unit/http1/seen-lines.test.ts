// Field lines that were seen before: a parser that has read many heads reads the next as one that has read none.
import fc from 'fast-check'
import t from 'tap'
import { HeadParser } from '../../../src/http1/head-parser.ts'
import { hashName, lookupName } from '../../../src/http1/known-fields.ts'
import { SeenLines } from '../../../src/http1/seen-lines.ts'

const BUFFER = Buffer.alloc(8192)

/** Lay a text into the buffer that all heads come in; returns its end. */
function lay(text: string, at: number): number {
  return at + BUFFER.write(text, at, 'latin1')
}

/** All that a parser says of a head. */
function read(parser: HeadParser, kind: 'request' | 'response', at: number, end: number, count: number) {
  const result = parser[kind](BUFFER, at, end, { bytes: 1024, count })
  if (result < 0) return { result, error: parser.error, reason: parser.reason }
  if (result === 0) return { result }
  const { method, path, host, minor, status, headers, contentLength, chunked, foreignCoding, close, keepAlive } = parser
  const { upgrade, hasDate, hasUnderscore, acceptsTrailers, expectContinue, idleSeconds } = parser
  return {
    ...{ result, method, path, host, minor, status, headers: [...headers], contentLength, chunked, foreignCoding },
    ...{ close, keepAlive, upgrade, hasDate, hasUnderscore, acceptsTrailers, expectContinue, idleSeconds },
  }
}

const LINES = [
  ...['Host: a', 'host: a:80', 'Host:\tb \t', 'Accept: */*', 'accept:', 'TE: trailers', 'User-Agent: x/1 (\xe9)'],
  ...['Connection: close', 'Connection: keep-alive, x-own', 'X-Own: 1', 'x_own: 1', 'Keep-Alive: timeout=5'],
  ...[
    'Content-Length: 5',
    'Content-Length: 7',
    'Content-Length: +5',
    'Transfer-Encoding: chunked',
    'Expect: 100-continue',
  ],
  ...['Transfer-Encoding:\tchunked', 'Transfer-Encoding: gzip', 'Trailer: x', 'Date: Sun, 22 Nov 2026 10:00:00 GMT'],
  ...['Host : a', 'Accept: a\rb', 'Accept: a\nb', ' Accept: folded', 'Accept', ': x', 'Accept: \0', 'Cookie: a=b'],
  ...['Authorization: Bearer x', `Accept: ${'y'.repeat(240)}`, `Accept: ${'y'.repeat(249)}`],
]

t.test('what was read before changes nothing', async t => {
  let heads = 0
  let same = 0
  const line = fc.nat(LINES.length - 1).map(i => LINES[i]!)
  const head = fc.record({
    lines: fc.array(line, { maxLength: 6 }),
    at: fc.nat(9),
    // Most heads come often, a few once: whole, cut, with a byte changed, or against a limit.
    times: fc.constantFrom(1, 18, 40),
    cut: fc.option(fc.nat(60), { freq: 5 }),
    changed: fc.option(fc.record({ place: fc.nat(120), to: fc.nat(255) }), { freq: 3 }),
    count: fc.constantFrom(100, 100, 2),
  })
  for (const kind of ['request', 'response'] as const) {
    const first = kind === 'request' ? 'GET /a HTTP/1.1\r\n' : 'HTTP/1.1 200 OK\r\n'
    fc.assert(
      fc.property(fc.array(head, { minLength: 1, maxLength: 12 }), list => {
        const parser = new HeadParser()
        const check = (at: number, end: number, count: number) => {
          const one = JSON.stringify(read(parser, kind, at, end, count))
          const other = JSON.stringify(read(new HeadParser(), kind, at, end, count))
          heads++
          if (one === other) same++
          else t.same(JSON.parse(one), JSON.parse(other), BUFFER.toString('latin1', at, end))
        }
        for (const { lines, at, times, cut, changed, count } of list) {
          const end = lay(`${first}${lines.map(line => `${line}\r\n`).join('')}\r\n`, at)
          for (let i = 0; i < times; i++) check(at, end, count)
          if (cut !== null) check(at, Math.max(at, end - cut), count)
          if (changed === null) continue
          BUFFER[at + (changed.place % (end - at))] = changed.to
          check(at, end, count)
        }
      }),
      { numRuns: 150 },
    )
  }
  t.equal(same, heads)
})

/** Read this line so often anew as a kept one takes; true when it is found then. */
function keeps(seen: SeenLines, line: string, place = 0): boolean {
  const end = lay(`${line}\r\n`, 3)
  const colon = 3 + line.indexOf(':')
  const name = line.slice(0, line.indexOf(':')).toLowerCase()
  const known = lookupName(BUFFER, 3, colon, hashName(name))!
  for (let i = 0; i < 17; i++) {
    seen.begin(BUFFER)
    seen.note(place, known, 3, colon, colon + 1, end - 2, end)
  }
  return seen.find(place, 3, end) !== null
}

t.test('a value that is looked at by words is good where each byte of it is', async t => {
  // Read first by a parser that has the buffer in view, and then by one that looks at each byte.
  const viewing = new HeadParser()
  const limits = { bytes: 1024, count: 100 }
  let wrong = 0
  for (let at = 0; at < 4; at++) {
    for (let length = 1; length <= 12; length++) {
      for (let place = 0; place < length; place++) {
        for (let byte = 0; byte < 256; byte++) {
          const value = [...'v'.repeat(length)]
          value[place] = String.fromCharCode(byte)
          const end = lay(`GET / HTTP/1.1\r\nHost: a\r\nCookie: ${value.join('')}\r\n\r\n`, at)
          const good = byte === 9 || (byte >= 0x20 && byte !== 0x7f)
          viewing.request(BUFFER, at, end, limits)
          const read = viewing.request(BUFFER, at, end, limits) === end
          const bytewise = new HeadParser().request(BUFFER, at, end, limits) === end
          if (read !== good || bytewise !== good) wrong++
          else if (good && viewing.headers[1] !== value.join('').replace(/^[ \t]+|[ \t]+$/g, '')) wrong++
        }
      }
    }
  }
  t.equal(wrong, 0)
})

t.test('a line is found again whole and unchanged, in its place alone', async t => {
  const seen = new SeenLines()
  for (const line of ['Accept: text/html', 'te:', 'TE:x', 'Via: 1.1 a', `Accept: ${'y'.repeat(246)}`]) {
    t.ok(keeps(seen, line), line)
    const end = 3 + line.length + 2
    t.equal(seen.find(0, 3, end)?.value, line.slice(line.indexOf(':') + 1))
    t.equal(seen.find(0, 3, end - 1), null, 'past the limit')
    t.equal(seen.find(0, 4, end + 1), null, 'elsewhere')
    t.equal(seen.find(1, 3, end), null, 'another place')
    for (let at = 3; at < end; at++) {
      for (const bit of [1, 0x20, 0x80]) {
        BUFFER[at]! ^= bit
        t.equal(seen.find(0, 3, end), null, `byte ${at - 3}`)
        BUFFER[at]! ^= bit
      }
    }
    t.not(seen.find(0, 3, end), null)
  }
})

t.test('secrets, long lines and lines far down are not kept', async t => {
  const seen = new SeenLines()
  for (const name of ['Authorization', 'Cookie', 'Proxy-Authorization', 'set-cookie', 'X-Api-Key'])
    t.notOk(keeps(seen, `${name}: x`), name)
  t.notOk(keeps(seen, `Via: ${'y'.repeat(260)}`))
  t.ok(keeps(seen, 'Via: x', 31))
  t.notOk(keeps(seen, 'Via: x', 32))
})

t.test('a kept line gives way to one that comes often, and not to one that comes now and then', async t => {
  const seen = new SeenLines()
  t.ok(keeps(seen, 'Via: x'))
  const end = lay('Via: y\r\n', 3)
  const known = lookupName(BUFFER, 3, 6, hashName('via'))!
  for (let i = 0; i < 100; i++) {
    seen.begin(BUFFER)
    if (i % 10 === 0) lay('Via: x\r\n', 3)
    else lay('Via: y\r\n', 3)
    if (seen.find(0, 3, end) === null) seen.note(0, known, 3, 6, 7, end - 2, end)
  }
  lay('Via: x\r\n', 3)
  t.not(seen.find(0, 3, end), null)
  t.ok(keeps(seen, 'Via: y'))
})

t.test('a buffer that one head alone came in gets no view', async t => {
  const seen = new SeenLines()
  const known = lookupName(BUFFER, 3, 6, hashName('via'))!
  const end = lay('Via: x\r\n', 3)
  for (let i = 0; i < 40; i++) {
    seen.begin(i % 2 === 0 ? BUFFER : Buffer.from(BUFFER))
    seen.note(0, known, 3, 6, 7, end - 2, end)
    t.equal(seen.find(0, 3, end), null)
  }
})
