// The rules of framing on their own, as engines without our parser use them, and the table of known field names.
import t from 'tap'
import {
  comparableHost,
  isChunked,
  isFieldValue,
  isHostField,
  isToken,
  isTrailerField,
  parseContentLength,
  readConnection,
} from '../../../src/http1/framing.ts'
import { Field, hashName, lookupName, NAME_BYTE, VALUE_BYTE } from '../../../src/http1/known-fields.ts'

t.test('Content-Length', async t => {
  t.equal(parseContentLength('0'), 0)
  t.equal(parseContentLength('0000000000000012'), 12, '16 digits')
  t.equal(parseContentLength('9007199254740991'), 9_007_199_254_740_991)
  for (const bad of ['', ' 1', '1 ', '+1', '-1', '1,1', '1.0', '0x1', '９', '9007199254740992', '00000000000000012']) {
    t.equal(parseContentLength(bad), -1, JSON.stringify(bad))
  }
})

t.test('Transfer-Encoding', async t => {
  for (const good of ['chunked', 'Chunked', 'CHUNKED']) t.ok(isChunked(good))
  for (const bad of ['', 'chunked ', 'chunke', 'chunked,', 'gzip', 'chunkeD\0', 'chun\u212Aed']) t.notOk(isChunked(bad))
})

t.test('bytes of tokens and values, each one', async t => {
  const tchar = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/
  for (let byte = 0; byte < 256; byte++) {
    const char = String.fromCharCode(byte)
    t.equal(isToken(char), tchar.test(char), `token ${byte}`)
    t.equal(NAME_BYTE[byte], tchar.test(char) ? char.toLowerCase().charCodeAt(0) : 0)
    const inValue = byte === 9 || (byte >= 0x20 && byte !== 0x7f)
    t.equal(isFieldValue(`a${char}b`), inValue, `value ${byte}`)
    t.equal(VALUE_BYTE[byte], inValue ? 1 : 0)
  }
  t.notOk(isToken(''))
  t.notOk(isToken('a\u0141'))
  t.ok(isFieldValue(''))
  t.notOk(isFieldValue('\u0141'), 'what is no byte')
})

t.test('hosts', async t => {
  for (const good of [
    'a',
    'a.b',
    'a:1',
    'a:',
    'a:000080',
    '[::]',
    '[::ffff:1.2.3.4]:1',
    '1.2.3.4',
    'a%2fb',
    'xn--a',
    "!$&'()*+;=~",
  ]) {
    t.ok(isHostField(good), good)
  }
  for (const bad of [
    '',
    ':',
    ':1',
    'a,b',
    'a:1:2',
    'a:1a',
    'a:65536',
    'a:99999',
    'a:0000065536',
    '[',
    '[]',
    '[::1]1',
    '[::1]:x',
    '[fe80::1%eth0]',
    '[v.a]',
    'a%',
    'a%1g',
    'a@b',
    'a/b',
  ]) {
    t.notOk(isHostField(bad), bad)
  }
  t.equal(comparableHost('A.b:80', 80), 'a.b')
  t.equal(comparableHost('A.b:', 80), 'a.b')
  t.equal(comparableHost('a:8080', 80), 'a:8080')
  t.equal(comparableHost('[::1]:443', 443), '[::1]')
  t.equal(comparableHost('a:443', 80), 'a:443')
})

t.test('Connection', async t => {
  const read = (value: string) => {
    const into = { close: false, keepAlive: false, upgrade: false, named: null as string[] | null }
    return { ok: readConnection(value, into), ...into }
  }
  const none = { ok: true, close: false, keepAlive: false, upgrade: false, named: null }
  t.same(read(''), none)
  t.same(read(' ,\t,'), none)
  t.same(read('keep-alive'), { ...none, keepAlive: true })
  t.same(read('\tKeep-Alive ,CLOSE, upgrade'), { ...none, keepAlive: true, close: true, upgrade: true })
  t.same(read('X-A, x-b'), { ...none, named: ['x-a', 'x-b'] })
  for (const name of [
    'Host',
    'Authorization',
    'Cookie',
    'Content-Length',
    'Transfer-Encoding',
    'X-Forwarded-For',
    'Via',
    'TE',
    'Set-Cookie',
    'Origin',
    'X-Api-Key',
    'If-None-Match',
    'Location',
    'WWW-Authenticate',
    'Strict-Transport-Security',
    'Traceparent',
    'Idempotency-Key',
    'X-Forwarded-Prefix',
  ]) {
    t.same(read(name), none, `${name} is not for Connection to take away`)
  }
  for (const bad of ['a b', 'close;', '"x"', 'close\xa0', '\xa0close', 'a,b c'])
    t.notOk(read(bad).ok, JSON.stringify(bad))
})

t.test('trailers', async t => {
  for (const good of ['x-a', 'grpc-status', 'grpc-message', 'etag', 'server-timing', '__proto__'])
    t.ok(isTrailerField(good))
  for (const bad of ['host', 'content-length', 'te', 'cookie', 'connection', 'if-match']) t.notOk(isTrailerField(bad))
})

t.test('known names are found in any case, and no others', async t => {
  const find = (name: string) => {
    const bytes = Buffer.from(`x${name}:`, 'latin1')
    return lookupName(bytes, 1, 1 + name.length, hashName(name.toLowerCase()))
  }
  for (const [name, kind] of [
    ['host', Field.Host],
    ['connection', Field.Connection],
    ['content-length', Field.ContentLength],
    ['transfer-encoding', Field.TransferEncoding],
    ['keep-alive', Field.KeepAlive],
    ['proxy-connection', Field.Drop],
    ['proxy-authorization', Field.Drop],
    ['expect', Field.Expect],
    ['te', Field.Te],
    ['trailer', Field.Trailer],
    ['upgrade', Field.Upgrade],
    ['date', Field.Date],
    ['user-agent', Field.Other],
  ] as const) {
    for (const text of [name, name.toUpperCase(), name[0]!.toUpperCase() + name.slice(1)]) {
      t.same(find(text), { name, kind }, text)
    }
    t.equal(find(`${name}x`), null)
    t.equal(find(name.slice(1)), null)
  }
  for (const name of ['__proto__', 'constructor', 'x', 'hosu', 'content_length']) t.equal(find(name), null, name)
  // Another name with the hash of a known one is still another name.
  const bytes = Buffer.from('hosu')
  t.equal(lookupName(bytes, 0, 4, hashName('host')), null)
})
