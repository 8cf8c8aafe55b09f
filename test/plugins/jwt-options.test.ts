// Faults of jwt's options: each is told at load, with its line and column, and no secret in it.
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import bundled from '../../plugins/bundled.ts'
import { formatFault } from '../../src/config/fault.ts'
import { loadText } from '../../src/config/load.ts'
import { Catalog } from '../../src/pipeline/catalog.ts'
import { signer } from '../support/tokens.ts'

const ec = signer('ES256')
const rsa = signer('RS256')
const weak = signer('RS256', 'weak', 1024)
const pem = (key: { export(options: object): unknown }, type = 'spki') => key.export({ type, format: 'pem' }) as string
const dsa = generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 }).publicKey
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey
const k256 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey
const LONG = 's'.repeat(64)

t.test('faults', async t => {
  const folder = t.testdir({
    'ec.pem': pem(ec.publicKey),
    'private.pem': pem(ec.privateKey, 'pkcs8'),
    'rsa.pem': pem(rsa.publicKey),
    'weak.pem': pem(weak.publicKey),
    'dsa.pem': pem(dsa),
    'p384.pem': pem(p384),
    'k256.pem': pem(k256),
    'nonsense.pem': 'hello',
    'good.json': JSON.stringify({ keys: [ec.jwk] }),
    'marked.json': `\ufeff${JSON.stringify({ keys: [ec.jwk] })}`,
    'marked.pem': `\ufeff${pem(ec.publicKey)}`,
    'enc.json': JSON.stringify({ keys: [{ ...ec.jwk, use: 'enc' }] }),
    'empty.json': '{"keys":[]}',
    'none.json': '{"kid":"x"}',
    'broken.json': '{"keys":[',
    'oct.json': JSON.stringify({ keys: [ec.jwk, { kty: 'oct', k: 'c2VjcmV0' }] }),
    'private.json': JSON.stringify({ keys: [ec.privateKey.export({ format: 'jwk' })] }),
    folder: {},
  })
  const head =
    'listeners: [{ name: web, port: 0 }]\nroutes: [{ name: all, match: { path: /* }, respond: { status: 204 } }]\n'
  const catalog = new Catalog(bundled)
  /** `line:column path: message` of each fault; the options begin in line 4 after two blanks. */
  const faults = async (options: string) => {
    const text = `${head}plugins: [ { jwt: {\n  ${options}\n  } } ]\n`
    const found = await loadText(text, join(folder, 'g.yaml'), { env: {}, catalog })
    return found.faults.map(fault =>
      formatFault(fault)
        .replace(/^.*?g\.yaml:/, '')
        .replace('plugins.0.jwt.', ''),
    )
  }
  const fails = async (options: string, ...expected: (string | RegExp)[]) => {
    const found = await faults(options)
    t.equal(found.length, expected.length, options, { found })
    for (const [i, want] of expected.entries()) {
      if (typeof want === 'string') t.ok(found[i]?.includes(want), `${options}: ${want}`, { found })
      else t.match(found[i], want)
    }
    for (const text of found) t.notOk(text.includes('sss'), 'no secret in it')
  }
  const entry = (text: string) => `issuers: [ { ${text} } ]`

  t.same(await faults(entry('jwks: "https://id.test/jwks.json"')), [])
  t.same(await faults(entry('jwks: "http://127.0.0.1:1/x", algorithms: [PS512, ES512, Ed25519]')), [])
  t.same(await faults(entry(`secret: ${LONG}, algorithms: [HS256, HS384, HS512]`)), [])
  t.same(await faults(entry('key: ec.pem')), [])
  t.same(await faults(entry('key: ./rsa.pem, algorithms: [PS256, RS512]')), [])
  t.same(await faults(entry('key: p384.pem, algorithms: [ES384]')), [])
  t.same(await faults(entry('jwksFile: ./good.json')), [])
  t.same(await faults(entry('jwksFile: marked.json')), [], 'a byte order mark is no part of it')
  t.same(await faults(entry('key: marked.pem')), [])
  t.same(await faults(`issuers: [ { issuer: a, key: ec.pem }, { issuer: b, key: ec.pem }, { secret: ${LONG} } ]`), [])

  await fails('leeway: 30s', /4:3 .*issuers|issuers/)
  await fails('issuers: []', '4:12 ')
  await fails(entry('issuer: a'), 'one of jwks, secret, key, jwksFile is due')
  await fails(entry(`jwks: "https://a", secret: ${LONG}`), 'jwks and secret exclude each other')
  await fails(entry('key: ec.pem, jwksFile: good.json'), 'key and jwksFile exclude each other')
  await fails(entry('jwks: "ftp://a/b"'), '4:22 plugins[0].jwt.issuers[0].jwks: an https or http URL is due')
  await fails(entry('jwks: jwks.json'), 'a URL is due')
  await fails(entry('jwks: "https://u:p@a/b"'), 'a URL without credentials is due')

  await fails(
    entry('jwks: "https://a", algorithms: [RS256, HS256]'),
    /4:55 plugins\[0\]\.jwt\.issuers\[0\]\.algorithms\[1\]: HS256 takes a secret/,
  )
  await fails(entry('key: rsa.pem, algorithms: [HS256]'), 'HS256 takes a secret, not a public key')
  await fails(entry(`secret: ${LONG}, algorithms: [HS256, RS256]`), 'RS256 takes a public key, not a secret')
  for (const none of ['none', 'None', 'NONE']) {
    await fails(entry(`jwks: "https://a", algorithms: [${none}]`), 'none is never allowed')
  }
  await fails(entry('jwks: "https://a", algorithms: [RS1]'), 'is no algorithm that can be allowed')
  await fails(entry('jwks: "https://a", algorithms: []'), 'algorithms')

  await fails(
    entry(`secret: ${'s'.repeat(31)}`),
    /4:24 .*secret: HS256 takes a secret of at least 32 bytes, this one has 31/,
  )
  await fails(
    entry(`secret: ${'s'.repeat(47)}, algorithms: [HS256, HS384]`),
    'HS384 takes a secret of at least 48 bytes',
  )
  await fails(entry(`secret: ${'s'.repeat(63)}, algorithms: [HS512]`), 'HS512 takes a secret of at least 64 bytes')
  await fails(entry(`secret: "base64url:${'A'.repeat(42)}"`), 'at least 32 bytes, this one has 31')
  await fails(entry(`secret: "base64url:${'s'.repeat(43)}="`), 'no base64url')
  await fails(entry(`secret: ''`), 'at least 32 bytes, this one has 0')
  await fails(entry(`secret: ${JSON.stringify(pem(rsa.publicKey))}`), 'this is a key and no secret')
  await fails(entry(`secret: ${JSON.stringify(JSON.stringify(rsa.jwk))}`), 'this is a key and no secret')

  await fails(entry('key: missing.pem'), /4:21 .*key: missing.pem cannot be read: there is no such file/)
  await fails(entry('key: folder'), 'it is no file')
  await fails(entry('key: nonsense.pem'), 'holds no public key')
  await fails(entry('key: private.pem'), 'is a private key')
  await fails(entry('key: weak.pem'), '1024 bits')
  await fails(entry('key: dsa.pem'), 'kind dsa')
  await fails(entry('key: k256.pem'), 'secp256k1')
  await fails(entry('key: p384.pem'), 'this key needs algorithms: [ES384]')
  await fails(entry('key: ec.pem, algorithms: [ES256, RS256]'), 'RS256 does not fit this key: ES256 would')
  await fails(entry('jwksFile: missing.json'), 'there is no such file')
  await fails(entry('jwksFile: broken.json'), 'is no JSON')
  await fails(entry('jwksFile: none.json'), 'it is no JWKS')
  await fails(entry('jwksFile: empty.json'), 'holds no key for RS256, ES256, EdDSA')
  await fails(entry('jwksFile: enc.json'), 'not for signatures')
  await fails(entry('jwksFile: oct.json'), 'symmetric')
  await fails(entry('jwksFile: private.json'), 'private key')
  await fails(entry('jwksFile: good.json, algorithms: [RS256]'), 'holds no key for RS256')

  const good = 'issuers: [ { key: ec.pem } ]'
  await fails(
    'issuers: [ { issuer: a, key: ec.pem }, { issuer: a, key: rsa.pem } ]',
    /issuers\[1\]\.issuer: a has an entry already/,
  )
  await fails('issuers: [ { key: ec.pem }, { key: rsa.pem } ]', 'only one entry may be without issuer')
  await fails(`${good}, from: [authorization]`, 'header.NAME, cookie.NAME or query.NAME is due')
  await fails(`${good}, from: []`, 'from')
  await fails(`${good}, from: ["header.a b"]`, 'is due')
  await fails(`${good}, from: [cookie.t, header.Proxy-Authorization]`, /from\[1\]: .* is never there/)
  await fails(`${good}, leeway: 30`, 'a duration with its unit is due')
  await fails(`${good}, cache: -1`, 'cache')
  await fails(`${good}, forward: { claims: { sub: "x user" } }`, 'a header name is due')
  await fails(`${good}, forward: { claims: { sub: Content-Length } }`, 'this header is set by the gateway itself')
  await fails(`${good}, forward: { claims: { sub: x-user, email: X_User } }`, 'two claims have one header')
  await fails(`${good}, forward: { token: drop }`, 'token')
  await fails(`${good}, require: { claims: { role: [] } }`, 'role')
  for (const number of ['9007199254740993', '-9007199254740992', '[1, 1e20]'])
    await fails(`${good}, require: { claims: { tenant: ${number} } }`, /4:62 .*claims\.tenant: .*is not exact/)
  t.match(await faults(`${good}, require: { claims: { tenant: 1e400 } }`), [/claims\.tenant/])
  t.same(await faults(`${good}, require: { claims: { tenant: [9007199254740991, 0.5] } }`), [])
  await fails(`${good}, require: { claims: { "[]": x } }`, /claims\["\[\]"\]: a claim is due before \[\]/)
  await fails(`${good}, typs: [JWT]`, 'typs')
  await fails(
    `issuers: [ { issuer: a, key: ec.pem, none: 1 }, { secret: short } ], leeway: 1`,
    'none',
    'at least 32 bytes',
    'unit',
  )
})
