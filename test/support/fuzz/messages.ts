// Random HTTP/1.1 streams: a grammar of valid and nearly valid messages, and mutations of their bytes.
// Over 300 lines because a grammar is read in one piece.
import type { Random } from './random.ts'

const METHODS = ['GET', 'GET', 'POST', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND', 'M-SEARCH']
const ODD_METHODS = ['get', 'FOO', 'GE T', '', 'CONNECT', 'PRI', 'G@T', 'TRACE', 'X'.repeat(40)]
const TARGETS = ['/', '/a', '/a/b?c=d', '/?', '/%41%2f', '/a?b?c', '//x', '/~a;b=c', '/a"b', '/{x}|y', '/a\\b', '/[x]']
const ODD_TARGETS = [
  ...['*', 'a', '', 'http://h', 'http://h/x?y', 'HTTP://H:80/', 'https://h/', 'http://other/', 'http:///x', 'ftp://h/'],
  ...['http://u@h/', 'http://h:x/', 'http://[::1]/', 'http://h?q', '/a#b', '/\x80', '/a b', 'h:80', '?a', 'http://h/*'],
]
const VERSIONS = ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0']
const ODD_VERSIONS = [
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  'HTTP/1.',
  'HTTP/11',
  'HTTP/1.1 ',
  '',
  'HTTP/1.10',
]
const HOSTS = ['h', 'H', 'h:80', 'h.example', '127.0.0.1:8080', '[::1]', '[::1]:80']
const ODD_HOSTS = ['', 'h,h', 'h h', 'u@h', 'h:99999', 'h/', '[::1', 'h:8x', '%68', 'h\x80']
const FIELDS = [
  ...[
    'accept: */*',
    'Accept: text/html, */*;q=0.8',
    'User-Agent: fuzz/1.0 (x; y)',
    'cookie: a=b; c="d"',
    'x-a:',
    'X-B: \t',
  ],
  ...[
    'x_under: 1',
    'Date: Sat, 21 Nov 2026 00:00:00 GMT',
    'via: 1.1 a',
    'x-forwarded-for: 1.2.3.4',
    'X-Latin: \xe9\xff',
  ],
  ...['content-type: text/plain', 'TE: trailers', 'Trailer: x-t', 'Keep-Alive: timeout=5', 'x-a: 1', '__proto__: 1'],
  ...[
    'Connection: keep-alive',
    'connection: close',
    'Connection: x-a, cookie',
    'Connection: ,',
    'Expect: 100-continue',
  ],
  ...['Proxy-Connection: close', 'upgrade: h2c', 'constructor: x', `X-Long: ${'v'.repeat(90)}`, "!#$%&'*+-.^_`|~: t"],
]
const ODD_FIELDS = [
  ...[
    'bad name: 1',
    'bad : 1',
    ': 1',
    'nocolon',
    ' folded',
    '\tfolded',
    'x: a\x00b',
    'x: a\rb',
    'x: a\nb',
    'x: \x7f',
    'x(): 1',
  ],
  ...[
    'Connection: upgrade',
    'Connection: Upgrade, close',
    'Expect: 200-ok',
    'Connection: a b',
    'connection: close\xa0',
    '\x80: 1',
  ],
]
const ODD_LENGTHS = [
  ...[
    '+5',
    '-1',
    '5, 5',
    '0x5',
    '5 5',
    '',
    ' 5 ',
    '05',
    '5,',
    '1e1',
    '9007199254740991',
    '9007199254740992',
    '5\t',
    '"5"',
  ],
  ...['00000000000000005', '18446744073709551616', '\xb25', '5;', '5\x0b'],
]
const ODD_CODINGS = [
  ...[
    'Chunked',
    'CHUNKED',
    'chunked, chunked',
    'gzip, chunked',
    'chunked, gzip',
    'identity',
    'xchunked',
    'chunked;a=b',
    '',
  ],
  ...[' chunked ', '\x0bchunked', 'chunked\x0b', '"chunked"', 'chunked,', ',chunked', 'chunke', 'chunked\t', 'gzip'],
]
const EXTENSIONS = [';a', ';a=b', ';a="b c"', ';a="\\"";b', ';a="\xe9"', ' ;a', '; a = b', ';a\t=b']
const ODD_EXTENSIONS = [' ', '\t', ';', ';=', ';a="', ';a=b c', ';a\x00', ';a;;b', 'x', ';a=b"', ';é', ';a="\x01"']
const TRAILERS = ['x-t: 1', 'X-T: 2', 'Content-Length: 5', 'grpc-status: 0', 'Transfer-Encoding: chunked', 'host: x']

function bodyText(random: Random): string {
  if (random.chance(0.1)) return 'GET /inner HTTP/1.1\r\nhost: inner\r\n\r\n'
  return 'abcdefghijklmnopqrstuvwxyz0123456789\r\n\r\n\x00\xff'.slice(0, random.below(42))
}

function chunked(random: Random): string {
  let text = ''
  for (let chunks = random.below(4); chunks > 0; chunks--) {
    const data = bodyText(random) || 'x'
    let size = data.length.toString(16)
    if (random.chance(0.1)) size = size.toUpperCase()
    if (random.chance(0.1)) size = `000${size}`
    if (random.chance(0.03))
      size = random.pick(['', '-1', '+5', '0x5', '5 5', 'ffffffffffffffff', '10000000000000', 'g', '5.'])
    text += size
    if (random.chance(0.15)) text += random.pick(EXTENSIONS)
    if (random.chance(0.05)) text += random.pick(ODD_EXTENSIONS)
    text += random.chance(0.02) ? '\n' : '\r\n'
    text += data + (random.chance(0.02) ? random.pick(['', '\n', '\r', '\r\n\r\n', 'x\r\n']) : '\r\n')
  }
  text += random.chance(0.05) ? '00' : '0'
  if (random.chance(0.05)) text += random.pick(random.chance(0.5) ? EXTENSIONS : ODD_EXTENSIONS)
  text += '\r\n'
  while (random.chance(0.15)) text += `${random.pick(random.chance(0.9) ? TRAILERS : ODD_FIELDS)}\r\n`
  return `${text}\r\n`
}

/** Field lines and, to go with them, a body; the framing is right in most cases. */
function fieldsAndBody(random: Random, first: string[]): string {
  const lines = first
  for (let n = random.below(5); n > 0; n--) lines.push(random.pick(FIELDS))
  if (random.chance(0.06)) lines.push(random.pick(ODD_FIELDS))
  let body = ''
  const framing = random.next()
  if (framing < 0.25) {
    body = bodyText(random)
    lines.push(`Content-Length: ${body.length}`)
  } else if (framing < 0.6) {
    body = chunked(random)
    lines.push(random.chance(0.5) ? 'Transfer-Encoding: chunked' : 'transfer-encoding:chunked')
  } else if (framing < 0.65) {
    body = random.chance(0.5) ? chunked(random) : bodyText(random)
    lines.push(`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked')
  } else if (framing < 0.7) {
    body = bodyText(random)
    lines.push(`content-length: ${random.pick(ODD_LENGTHS)}`)
  } else if (framing < 0.75) {
    body = chunked(random)
    lines.push(`Transfer-Encoding: ${random.pick(ODD_CODINGS)}`)
  } else if (framing < 0.78) {
    body = bodyText(random)
    lines.push(
      `Content-Length: ${body.length}`,
      `Content-Length: ${random.chance(0.5) ? body.length : random.below(9)}`,
    )
  }
  // Order must not matter.
  for (let i = lines.length - 1; i > 0 && random.chance(0.7); i--) {
    const j = random.below(i + 1)
    ;[lines[i], lines[j]] = [lines[j]!, lines[i]!]
  }
  let text = ''
  for (const line of lines) text += `${line}\r\n`
  return `${text}\r\n${body}`
}

function request(random: Random): string {
  const odd = random.chance(0.15) ? random.below(4) : -1
  const method = random.pick(odd === 0 ? ODD_METHODS : METHODS)
  const target = random.pick(odd === 1 ? ODD_TARGETS : TARGETS)
  const version = random.pick(odd === 2 ? ODD_VERSIONS : VERSIONS)
  const host = random.pick(odd === 3 ? ODD_HOSTS : HOSTS)
  const lines = random.chance(0.03) ? [] : [`Host: ${host}`]
  if (random.chance(0.02)) lines.push(`host: ${random.pick(HOSTS)}`)
  return `${method} ${target} ${version}\r\n${fieldsAndBody(random, lines)}`
}

/** Bytes that a client might send on one connection, as latin1 text. */
export function requestStream(random: Random): string {
  let text = random.chance(0.05) ? random.pick(['\r\n', '\r\n\r\n', '\n', '\r', ' ']) : ''
  do text += request(random)
  while (random.chance(0.4))
  return mutate(random, text)
}

const STATUS_LINES = [
  'HTTP/1.1 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 304 NM',
  'HTTP/1.0 200 OK',
  'HTTP/1.1 404',
]
const ODD_STATUS_LINES = [
  ...[
    'HTTP/1.1 99 X',
    'HTTP/1.1 1000 X',
    'HTTP/1.1 600 X',
    'HTTP/2.0 200 OK',
    'HTTP/1.2 200 OK',
    'http/1.1 200 OK',
    'ICY 200 OK',
  ],
  ...[
    'HTTP/1.1  200 OK',
    'HTTP/1.1 200\tOK',
    'HTTP/1.1 200 a\x00b',
    'HTTP/1.1 2x0 OK',
    'HTTP/1.1 200OK',
    '',
    'HTTP/1.1',
    'HTTP/1.1 200 ',
  ],
]
const INTERIM = ['HTTP/1.1 100 Continue', 'HTTP/1.1 103 Early Hints\r\nlink: </a>', 'HTTP/1.1 102 P']
const ODD_INTERIM = ['HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade', 'HTTP/1.1 100 C\r\ncontent-length: 3']

/** Bytes that an upstream might answer with, as latin1 text. */
export function answerStream(random: Random): string {
  let text = ''
  while (random.chance(0.15)) text += `${random.pick(random.chance(0.9) ? INTERIM : ODD_INTERIM)}\r\n\r\n`
  do {
    const odd = random.chance(0.1)
    const line = odd ? random.pick(ODD_STATUS_LINES) : random.chance(0.5) ? STATUS_LINES[0]! : random.pick(STATUS_LINES)
    text += `${line}\r\n${fieldsAndBody(random, random.chance(0.3) ? ['set-cookie: a=b', 'Set-Cookie: c=d'] : [])}`
  } while (random.chance(0.15))
  return mutate(random, text)
}

const INSERTED = [
  '\r',
  '\n',
  '\r\n',
  '\x00',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  '\xa0',
  '_',
  '%',
  '0',
  '\r\n ',
]

/** None to three changes, mostly where structure is. */
function mutate(random: Random, text: string): string {
  let changes = random.pick([0, 0, 0, 1, 1, 1, 2, 3])
  while (changes-- > 0) {
    const at = place(random, text)
    switch (random.below(8)) {
      case 0:
      case 1:
        text = text.slice(0, at) + random.pick(INSERTED) + text.slice(at)
        break
      case 2:
        text = text.slice(0, at) + text.slice(at + 1)
        break
      case 3:
        text =
          text.slice(0, at) +
          String.fromCharCode((text.charCodeAt(at) || 0) ^ (1 << random.below(8))) +
          text.slice(at + 1)
        break
      case 4:
        text = text.slice(0, at) + random.pick(INSERTED) + text.slice(at + 1)
        break
      case 5: {
        const from = text.lastIndexOf('\n', at) + 1
        const to = text.indexOf('\n', at) + 1
        // A line twice.
        if (to > from) text = text.slice(0, to) + text.slice(from, to) + text.slice(to)
        break
      }
      case 6: {
        const from = text.lastIndexOf('\n', at) + 1
        const to = text.indexOf('\n', at) + 1
        // A line gone.
        if (to > from) text = text.slice(0, from) + text.slice(to)
        break
      }
      default:
        text = text.slice(0, at)
    }
  }
  return text
}

/** A random offset; half of the time next to a byte that means something. */
function place(random: Random, text: string): number {
  let at = random.below(text.length + 1)
  if (random.chance(0.5)) while (at < text.length && !'\r\n: ;,'.includes(text[at]!)) at++
  return Math.max(0, at - random.below(2))
}
