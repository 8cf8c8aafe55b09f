// Chunked bodies: sizes, extensions, trailers, every bare or missing CR and LF, bounds, splits, and what answers may do beyond requests.
import fc from 'fast-check'
import t from 'tap'
import { BROKEN, ChunkedDecoder, DATA, END, lastChunk, NEED } from '../../../src/http1/chunked.ts'

interface Read {
  body: string
  trailers: string[] | null
  end: 'whole' | 'open' | string
  /** Bytes used. */
  used: number
}

/** Decode `text`, cut before each of `cuts`; every fragment is overwritten once the decoder has returned. */
function decode(text: string, cuts: readonly number[] = [], lenient = false): Read {
  const decoder = new ChunkedDecoder(lenient)
  const read: Read = { body: '', trailers: null, end: 'open', used: 0 }
  const ends = [...cuts, text.length]
  let start = 0
  for (const stop of ends) {
    const bytes = Buffer.from(text.slice(start, stop), 'latin1')
    let at = 0
    for (;;) {
      const event = decoder.step(bytes, at, bytes.length)
      if (event === BROKEN) return { ...read, end: decoder.reason }
      at = decoder.position
      read.used = start + at
      if (event === DATA) read.body += bytes.toString('latin1', decoder.from, at)
      else if (event === END) return { ...read, trailers: decoder.trailers, end: 'whole' }
      else if (event === NEED) break
    }
    bytes.fill(0x58)
    start = stop
  }
  return read
}

const accepted: [text: string, body: string, trailers?: string[]][] = [
  ['0\r\n\r\n', ''],
  ['000\r\n\r\n', ''],
  ['3\r\nabc\r\n0\r\n\r\n', 'abc'],
  ['a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n', '01234567890123456789a'],
  ['0000000000003\r\nabc\r\n0\r\n\r\n', 'abc'],
  ['2\r\n\r\n\r\n1\r\n\n\r\n0\r\n\r\n', '\r\n\n'],
  ['3;a\r\nabc\r\n0;b=c\r\n\r\n', 'abc'],
  ['3 ; a = "b\\"c;\t\xe9" ;d;e=f\r\nabc\r\n0\r\n\r\n', 'abc'],
  ['3;a=""\r\nabc\r\n0\r\n\r\n', 'abc'],
  ['0\r\nX-T: 1\r\nY:\r\n\r\n', '', ['x-t', '1', 'y', '']],
  ['0\r\nContent-Length: 5\r\nx: y\r\n\r\n', '', ['x', 'y']],
  ['0\r\nHost: x\r\n\r\n', ''],
]

t.test('accepted, in every two pieces and byte by byte', async t => {
  for (const [text, body, trailers] of accepted) {
    const expected = { body, trailers: trailers ?? null, end: 'whole', used: text.length }
    t.same(decode(`${text}GET /`), expected, JSON.stringify(text))
    for (let cut = 0; cut <= text.length; cut++) t.same(decode(text, [cut]), expected)
    const everywhere = Array.from({ length: text.length }, (_, i) => i)
    t.same(decode(text, everywhere), expected)
    for (let end = 0; end < text.length; end++) t.equal(decode(text.slice(0, end)).end, 'open', 'open to the last byte')
  }
})

const broken: [text: string, reason: RegExp][] = [
  ['\r\n', /a chunk size is due/],
  ['g\r\n', /a chunk size is due/],
  [' 3\r\nabc\r\n', /a chunk size is due/],
  ['+3\r\nabc\r\n', /a chunk size is due/],
  ['-1\r\n', /a chunk size is due/],
  [';a\r\n', /a chunk size is due/],
  ['0x3\r\nabc\r\n', /bad chunk extension/],
  ['3.0\r\nabc\r\n', /bad chunk extension/],
  ['3_\r\nabc\r\n', /bad chunk extension/],
  ['00000000000003\r\nabc\r\n', /too long/],
  ['ffffffffffffffff\r\n', /too long/],
  ['10000000000000003\r\nabc\r\n', /too long/],
  ['3\nabc\r\n', /bare LF/],
  ['3;a\nabc\r\n', /bare LF/],
  ['3\rabc\r\n', /bare CR/],
  ['3;a\rb\r\nabc\r\n', /bare CR/],
  ['3 \r\nabc\r\n', /bad chunk extension/],
  ['3\t\r\nabc\r\n', /bad chunk extension/],
  ['3 3\r\nabc\r\n', /bad chunk extension/],
  ['3;\r\nabc\r\n', /bad chunk extension/],
  ['3;=b\r\nabc\r\n', /bad chunk extension/],
  ['3;a=\r\nabc\r\n', /bad chunk extension/],
  ['3;a;;b\r\nabc\r\n', /bad chunk extension/],
  ['3;a b\r\nabc\r\n', /bad chunk extension/],
  ['3;a="b\r\nabc\r\n', /bad chunk extension/],
  ['3;a="b"c\r\nabc\r\n', /bad chunk extension/],
  ['3;a=b \r\nabc\r\n', /bad chunk extension/],
  ['3;a\x00\r\nabc\r\n', /bad chunk extension/],
  ['3;a="\x01"\r\nabc\r\n', /bad chunk extension/],
  ['3;\xe9\r\nabc\r\n', /bad chunk extension/],
  ['3\r\nabcd\r\n', /does not end with CRLF/],
  ['3\r\nabc\n', /does not end with CRLF/],
  ['3\r\nabc\rx', /does not end with CRLF/],
  ['3\r\nabc0\r\n\r\n', /does not end with CRLF/],
  ['3\r\nab\r\n0\r\n\r\n', /does not end with CRLF/],
  ['0\n\n', /bare LF/],
  ['0\r\n\n', /field name/],
  ['0\r\n\rx', /bare CR/],
  ['0\r\nx : 1\r\n\r\n', /space before the colon/],
  ['0\r\n x: 1\r\n\r\n', /folded/],
  ['0\r\nx: a\nb\r\n\r\n', /field value/],
]

t.test('broken, in one piece and byte by byte', async t => {
  for (const [text, reason] of broken) {
    t.match(decode(text).end, reason, JSON.stringify(text))
    const everywhere = Array.from({ length: text.length }, (_, i) => i)
    t.match(decode(text, everywhere).end, reason, 'byte by byte')
  }
})

t.test('a size of 13 digits does not overflow', async t => {
  const decoder = new ChunkedDecoder()
  const bytes = Buffer.from('fffffffffffff\r\nabc')
  t.equal(decoder.step(bytes, 0, bytes.length), DATA)
  t.equal(bytes.toString('latin1', decoder.from, decoder.position), 'abc')
  t.equal(decoder.step(bytes, bytes.length, bytes.length), NEED)
})

t.test('extensions of a whole body are bounded to 16 KiB', async t => {
  const chunk = `1;${'a'.repeat(1023)}\r\nx\r\n`
  t.equal(decode(`${chunk.repeat(16)}0\r\n\r\n`).end, 'whole', 'exactly 16 KiB')
  t.match(decode(`${chunk.repeat(16)}0;a\r\n\r\n`).end, /extensions are too long/)
  t.match(decode(`1;${'a'.repeat(16 * 1024)}`).end, /extensions are too long/, 'before the line ends')
  t.match(decode(`1;${'a'.repeat(16 * 1024)}`, [5, 9, 4000]).end, /extensions are too long/)
  t.match(decode(`1;${'a'.repeat(16 * 1024)}`, [], true).end, /extensions are too long/, 'in answers too')
})

t.test('an extension of 16 KiB is read in little time, however it is made', async t => {
  for (const filler of ['a', ' ', ';a', '=', '\\"', ';a="', '\t;', ' =']) {
    const text = `1;a="${filler.repeat(16_000 / filler.length)}\x00\r\n`
    const times = [1, 2, 3].map(() => {
      const before = process.cpuUsage()
      decode(text)
      decode(text, [], true)
      return process.cpuUsage(before).user
    })
    t.ok(Math.min(...times) < 100_000, `${JSON.stringify(filler)}: ${times} µs`)
  }
})

t.test('trailers are bounded to 8 KiB and 100 fields', async t => {
  const field = (value: number) => `x: ${'v'.repeat(value)}\r\n`
  t.equal(decode(`0\r\n${field(8192 - 7)}\r\n`).end, 'whole', 'exactly 8 KiB')
  t.match(decode(`0\r\n${field(8192 - 6)}\r\n`).end, /within the limit/)
  t.match(decode(`0\r\n${field(9000)}`, [100, 4000]).end, /within the limit/)
  t.equal(decode(`0\r\n${'x: 1\r\n'.repeat(100)}\r\n`).trailers?.length, 200)
  t.match(decode(`0\r\n${'x: 1\r\n'.repeat(101)}\r\n`).end, /more than 100/)
})

t.test('answers of upstreams: odd extensions are skipped, delimiters are not', async t => {
  const odd = [' ', '\t', '  \t', ';', ' ;', ';;', ';=', ';a=', ';a b', ';a="', ';a="b"c', ';é', '; ?', ';a ', ' ;\t']
  for (const extension of odd) {
    const text = `3${extension}\r\nabc\r\n0${extension}\r\nx: y\r\n\r\n`
    const expected = { body: 'abc', trailers: ['x', 'y'], end: 'whole', used: text.length }
    t.same(decode(text, [], true), expected, JSON.stringify(extension))
    for (let cut = 0; cut <= text.length; cut++) t.same(decode(text, [cut], true), expected)
    t.match(decode(text).end, /bad chunk extension/, 'a request may not')
  }
  for (const [text, reason] of [
    ['3x\r\nabc\r\n', /bad chunk extension/],
    ['3 3\r\nabc\r\n', /bad chunk extension/],
    ['3 x;\r\nabc\r\n', /bad chunk extension/],
    ['3=\r\nabc\r\n', /bad chunk extension/],
    ['3;a\x00\r\nabc\r\n', /bad chunk extension/],
    ['3;\x7f\r\nabc\r\n', /bad chunk extension/],
    ['3;a\x0b\r\nabc\r\n', /bad chunk extension/],
    ['3 \x0c\r\nabc\r\n', /bad chunk extension/],
    ['3;a\nabc\r\n', /bare LF/],
    ['3 \nabc\r\n', /bare LF/],
    ['3;a\rb\r\nabc\r\n', /bare CR/],
    [' 3\r\nabc\r\n', /a chunk size is due/],
    ['3\r\nabc\n', /does not end with CRLF/],
  ] as const) {
    t.match(decode(text, [], true).end, reason, JSON.stringify(text))
  }
})

t.test('what is encoded with any chunks is decoded in any pieces', async () => {
  const piece = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 40 })
  const name = fc.stringMatching(/^x-[a-z0-9]{0,5}$/)
  const value = fc.stringMatching(/^[!-~\xa1-\xff]{0,8}$/)
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 6 }),
      fc.option(fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 4 })),
      fc.array(fc.nat(), { maxLength: 8 }),
      fc.boolean(),
      (pieces, fields, rawCuts, lenient) => {
        const texts = pieces.map(bytes => Buffer.from(bytes).toString('latin1'))
        const trailers = fields === null ? null : fields.flat()
        const text = texts.map(data => `${data.length.toString(16)}\r\n${data}\r\n`).join('') + lastChunk(trailers)
        const cuts = rawCuts.map(cut => cut % (text.length + 1)).sort((a, b) => a - b)
        const read = decode(`${text}next`, cuts, lenient)
        return (
          read.end === 'whole' &&
          read.used === text.length &&
          read.body === texts.join('') &&
          JSON.stringify(read.trailers) === JSON.stringify(trailers)
        )
      },
    ),
    { numRuns: 3000 },
  )
})
