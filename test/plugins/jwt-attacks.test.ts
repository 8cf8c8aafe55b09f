// The known attacks on JSON Web Tokens, each through a running gateway: 401, and nothing reaches the upstream.
// Over 300 lines because it is a list of attacks, a few lines each, on one gateway.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import t from 'tap'
import { decodeSegment, parseCompact } from '../../plugins/jwt/compact.ts'
import { parseObject } from '../../plugins/jwt/json-object.ts'
import { startGateway } from '../support/gateway.ts'
import { JwksServer } from '../support/jwks-server.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { compact, segment, signature, signer, standard, token } from '../support/tokens.ts'

const rsa = signer('RS256', 'rsa')
const ec = signer('ES256', 'ec')
const ed = signer('EdDSA', 'ed')
const secret = randomBytes(32)
const HS = 'https://hs.test'

t.test('attacks', async t => {
  const jwks = await JwksServer.start(t, [rsa.jwk, ec.jwk, ed.jwk])
  const evil = await JwksServer.start(t, [signer('ES256', 'evil').jwk])
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    listener: { limits: { headers: '2MiB' } },
    up: { endpoints: [up.address] },
    plugins: [
      {
        jwt: {
          issuers: [
            { issuer: 'https://id.test', jwks: jwks.url, audiences: ['orders'] },
            { issuer: HS, secret: `base64url:${secret.toString('base64url')}` },
          ],
        },
      },
    ],
  })
  const ask = async (text: string) => {
    const client = await RawClient.connect(t, gateway.port)
    const answer = await client.head('GET / HTTP/1.1', 'Host: h.test', `Authorization: Bearer ${text}`).response()
    client.destroy()
    return answer
  }
  const passes = async (text: string, what: string) => t.equal((await ask(text)).status, 200, what)
  const fails = async (text: string, what: string) => {
    const before = up.requests.length
    const answer = await ask(text)
    t.equal(answer.status, 401, what)
    t.match(answer.get('www-authenticate'), /^Bearer error="invalid_token", error_description="[a-z ]+"$/, what)
    t.equal(up.requests.length, before, `${what}: nothing upstream`)
  }
  const claims = standard()
  const hsClaims = { ...claims, iss: HS }
  const good = token(ec)
  const [head, body, sig] = good.split('.') as [string, string, string]
  await passes(good, 'what the attacks begin from')
  await passes(compact({ alg: 'HS256' }, hsClaims, 'HS256', secret), 'and with the secret')

  await t.test('alg none in every spelling', async () => {
    for (const alg of [
      'none',
      'None',
      'NONE',
      'nOnE',
      ' none',
      'none ',
      '',
      'null',
      'none\u0000',
      null,
      undefined,
      0,
      ['none'],
      {},
    ]) {
      const unsigned = `${segment({ alg, typ: 'JWT', kid: 'ec' })}.${segment(claims)}`
      for (const end of ['', sig, 'AAAA'])
        await fails(`${unsigned}.${end}`, `alg ${JSON.stringify(alg)} "${end.slice(0, 4)}"`)
      await fails(unsigned, `alg ${JSON.stringify(alg)} in two parts`)
    }
    await fails(`${head}.${body}.`, 'the signature left out')
    await fails(`${head}.${body}`, 'and its dot')
  })

  await t.test('RS/HS confusion with the public key as secret', async () => {
    const shown = [
      rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string,
      (rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string).trim(),
      rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }) as string,
      rsa.publicKey.export({ type: 'spki', format: 'der' }),
      JSON.stringify(rsa.jwk),
      rsa.jwk.n as string,
      Buffer.from(rsa.jwk.n as string, 'base64url'),
      'secret',
      '\u0000',
    ]
    for (const [i, key] of shown.entries()) {
      for (const alg of ['HS256', 'HS384', 'HS512']) {
        for (const kid of ['rsa', 'ec', undefined]) {
          await fails(
            compact({ alg, kid }, claims, alg, Buffer.from(key as string)),
            `${alg} with form ${i} for ${kid}`,
          )
        }
      }
    }
    await fails(compact({ alg: 'HS256' }, claims, 'HS256', secret), "another issuer's secret")
    await fails(compact({ alg: 'ES256', kid: 'ec' }, hsClaims, 'ES256', ec.privateKey), "another issuer's public key")
    await fails(compact({ alg: 'HS384' }, hsClaims, 'HS384', secret), 'an algorithm that was not allowed')
    await fails(
      compact({ alg: 'RS512', kid: 'rsa' }, claims, 'RS512', rsa.privateKey),
      'an algorithm the key is not for',
    )
    await fails(compact({ alg: 'PS256', kid: 'rsa' }, claims, 'PS256', rsa.privateKey), 'nor another padding')
    await fails(compact({ alg: 'RS256', kid: 'ec' }, claims, 'ES256', ec.privateKey), 'a kid of another kind')
  })

  await t.test('kid as path, query, prototype', async () => {
    const odd = [
      '../../dev/null',
      '/dev/null',
      '/etc/passwd',
      "x' UNION SELECT 'a';--",
      'ec\u0000',
      'EC',
      ' ec',
      '*',
      '',
      '__proto__',
      'constructor',
      'toString',
      'http://127.0.0.1/x',
      '$(id)',
      'a'.repeat(4000),
    ]
    for (const kid of odd) {
      await fails(compact({ alg: 'ES256', kid }, claims, 'ES256', ec.privateKey), `kid ${kid.slice(0, 20)}`)
      await fails(compact({ alg: 'HS256', kid }, claims, 'HS256', Buffer.alloc(1)), `kid ${kid.slice(0, 20)} HS256`)
    }
    for (const kid of [0, null, ['ec'], { kid: 'ec' }, true]) {
      await fails(compact({ alg: 'ES256', kid }, claims, 'ES256', ec.privateKey), `kid ${JSON.stringify(kid)}`)
    }
    t.equal(jwks.requests.length, 2, 'one fetch at start, one for all of these')
  })

  await t.test('keys that the token brings', async () => {
    const own = signer('ES256', 'own')
    const { d: _d, ...jwk } = own.privateKey.export({ format: 'jwk' })
    const brought = { jwk, jku: evil.url, x5u: evil.url, x5c: ['MIIB'], 'x5t#S256': 'AAAA' }
    for (const kid of ['ec', 'own', 'evil', undefined]) {
      await fails(token(own, {}, { kid, ...brought }), `brought for ${kid}`)
      for (const [name, value] of Object.entries(brought))
        await fails(token(own, {}, { kid, [name]: value }), `${name} for ${kid}`)
    }
    t.equal(evil.requests.length, 0, 'nothing was fetched')
    await passes(token(ec, {}, brought), 'beside a good signature they are ignored')
  })

  await t.test('ECDSA, EdDSA and RSA signatures of no worth', async () => {
    const n = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')
    const zero = Buffer.alloc(32)
    const one = Buffer.from(zero).fill(1, 31)
    const bytes = Buffer.from(sig, 'base64url')
    const [r, s] = [bytes.subarray(0, 32), bytes.subarray(32)]
    const number = (part: Buffer) => BigInt(`0x${part.toString('hex')}`)
    const part = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
    const pairs: [Buffer, Buffer, string][] = [
      [zero, zero, 'r = s = 0'],
      [zero, s, 'r = 0'],
      [r, zero, 's = 0'],
      [n, n, 'r = s = n'],
      [one, one, 'r = s = 1'],
      [r, n, 's = n'],
      [s, r, 'exchanged'],
    ]
    for (const [a, b, what] of pairs) await fails(`${head}.${body}.${segment(Buffer.concat([a, b]))}`, what)
    const der = ((a: Buffer, b: Buffer) => {
      const integer = (value: Buffer) =>
        Buffer.concat([
          Buffer.from([2, value[0]! > 127 ? 33 : 32]),
          value[0]! > 127 ? Buffer.alloc(1) : Buffer.alloc(0),
          value,
        ])
      const inner = Buffer.concat([integer(a), integer(b)])
      return Buffer.concat([Buffer.from([0x30, inner.length]), inner])
    })(r, s)
    const forms: [Buffer, string][] = [
      [der, 'DER'],
      [bytes.subarray(0, 63), '63 bytes'],
      [Buffer.concat([bytes, zero.subarray(0, 1)]), '65 bytes'],
      [Buffer.concat([zero.subarray(0, 1), r, zero.subarray(0, 1), s]), 'longer numbers'],
      [Buffer.concat([bytes, bytes]), 'twice'],
    ]
    for (const [form, what] of forms) await fails(`${head}.${body}.${segment(form)}`, what)
    await passes(
      `${head}.${body}.${segment(Buffer.concat([r, part(number(n) - number(s))]))}`,
      'n − s is a signature too: half of all signers make it',
    )

    const edToken = token(ed)
    const edBytes = Buffer.from(edToken.split('.')[2]!, 'base64url')
    const edHead = edToken.slice(0, edToken.lastIndexOf('.'))
    await passes(edToken, 'EdDSA')
    await fails(`${edHead}.${segment(Buffer.alloc(64))}`, 'EdDSA of zeros')
    const order = 2n ** 252n + 27742317777372353535851937790883648493n
    const little = (value: Buffer) => BigInt(`0x${Buffer.from(value).reverse().toString('hex')}`)
    const grown = Buffer.from((little(edBytes.subarray(32)) + order).toString(16).padStart(64, '0'), 'hex').reverse()
    await fails(`${edHead}.${segment(Buffer.concat([edBytes.subarray(0, 32), grown]))}`, 'EdDSA with S + L')

    const rsaToken = token(rsa)
    const rsaHead = rsaToken.slice(0, rsaToken.lastIndexOf('.'))
    await passes(rsaToken, 'RS256')
    for (const [size, fill] of [
      [256, 0],
      [256, 1],
      [0, 0],
      [255, 0],
      [257, 0],
    ] as const) {
      await fails(`${rsaHead}.${segment(Buffer.alloc(size, fill))}`, `RS256 ${size} × ${fill}`)
    }
  })

  await t.test('crit and b64', async () => {
    const with_ = (header: object) => token(ec, {}, header)
    for (const crit of [[], ['exp'], ['x'], ['b64', 'b64'], ['b64', 'x'], 'b64', {}, null, 1, [1], ['alg'], ['crit']]) {
      await fails(with_({ crit, x: 1, b64: true }), `crit ${JSON.stringify(crit)}`)
    }
    await fails(with_({ crit: ['b64'] }), 'crit names what is absent')
    await fails(with_({ crit: ['b64'], b64: false }), 'b64 false')
    for (const b64 of [false, 'false', 0, null]) await fails(with_({ b64 }), `b64 ${JSON.stringify(b64)} without crit`)
    const raw = JSON.stringify(claims)
    const unencoded = `${segment({ alg: 'ES256', kid: 'ec', b64: false, crit: ['b64'] })}.${raw.replaceAll('.', '')}`
    await fails(
      `${unencoded}.${signature('ES256', ec.privateKey, unencoded).toString('base64url')}`,
      'an unencoded payload',
    )
    await passes(with_({ crit: ['b64'], b64: true }), 'crit that asks for what is done anyway')
  })

  await t.test('exp, nbf and iat that are no dates', async () => {
    const raw = (name: string, value: string) =>
      compact(
        { alg: 'ES256', kid: 'ec' },
        JSON.stringify({ ...claims, [name]: 0 }).replace(`"${name}":0`, `"${name}":${value}`),
        'ES256',
        ec.privateKey,
      )
    const later = String(Number(claims.exp) + 3600)
    for (const name of ['exp', 'nbf', 'iat']) {
      for (const value of [
        `"${later}"`,
        'null',
        'true',
        `[${later}]`,
        '{}',
        '""',
        '1e400',
        '-1e400',
        '1e300',
        '9007199254740993',
      ]) {
        await fails(raw(name, value), `${name} ${value}`)
      }
    }
    for (const value of ['0', '-1', '-0.5', '1000000000', '1000000000.999', '1e9', '1e-400'])
      await fails(raw('exp', value), `exp ${value}`)
    for (const value of [later, `${later}.5`, '1e15']) await fails(raw('nbf', value), `nbf ${value}`)
    await fails(raw('exp', `${later}.25`), 'parts of a second')
  })

  await t.test('names twice', async () => {
    const text = JSON.stringify(claims)
    const by = (header: string, payload: string) => compact(header, payload, 'ES256', ec.privateKey)
    const h = '{"alg":"ES256","kid":"ec"}'
    await passes(by(h, text), 'once')
    await fails(by(h, text.replace('{', '{"sub":"admin",')), 'sub')
    await fails(by(h, text.replace('{', '{"\\u0073ub":"admin",')), 'sub, escaped')
    await fails(by(h, text.replace('{', '{"exp":1,')), 'exp')
    await fails(by(h, text.replace('{', '{"x":{"a":1,"a":2},')), 'deeper')
    await fails(by(h, text.replace('{', '{"x":[{"a":1 , "a" : 2}],')), 'in a list')
    await fails(by(h, text.replace('{', '{"__proto__":1,"__proto__":2,')), '__proto__')
    await fails(by('{"alg":"none","alg":"ES256","kid":"ec"}', text), 'alg')
    await fails(by('{"alg":"ES256","kid":"ec","kid":"ec"}', text), 'kid')
    await fails(by('{"alg":"ES256","kid":"ec","crit":["x"],"crit":["b64"],"b64":true}', text), 'crit')
    await passes(
      by(h, text.replace('{', '{"a":{"sub":"x"},"b":["sub","sub"],"c":"\\"sub\\":","d":"x\\\\",')),
      'what only looks like it',
    )
    await passes(by(h, text.replace('{', '{"__proto__":{"role":"admin"},')), '__proto__ is a name as any')
  })

  await t.test('other spellings of one token', async () => {
    const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const stray = good.slice(0, -1) + last[last.indexOf(good.at(-1)!) | 1]
    const spellings: Record<string, string> = {
      padding: `${good}=`,
      'padding of all': `${head}=.${body}==.${sig}==`,
      'standard alphabet': `${head}.${body}.${sig}`.replace(/[-_]|.$/, letter => ({ '-': '+', _: '/' })[letter] ?? '+'),
      blank: `${head}.${body}. ${sig}`,
      'blank within': `${good.slice(0, 50)} ${good.slice(50)}`,
      tab: `${good.slice(0, 50)}\t${good.slice(50)}`,
      'exclamation marks': `${head}!.${body}.${sig}`,
      'latin1 letter': `${head}.${body}.${sig}\u00e9`,
      'stray last bits': stray,
      'four parts': `${good}.`,
      'four parts before': `.${good}`,
      'five parts (JWE)': `${head}.a.b.c.d`,
      'no header': `.${body}.${sig}`,
      'no payload': `${head}..${sig}`,
      dots: '..',
      nothing: '.',
      comma: `${good},${good}`,
      quoted: `"${good}"`,
      JSON: JSON.stringify({ protected: head, payload: body, signature: sig }).replaceAll(' ', ''),
    }
    for (const [what, text] of Object.entries(spellings)) await fails(text, what)
    const bytes = Buffer.from(sig, 'base64url')
    bytes[bytes.length - 1]! ^= 1
    await fails(`${head}.${body}.${segment(bytes)}`, 'another last byte')
    t.equal(decodeSegment('QQ')!.toString(), 'A')
    for (const text of ['QR', 'QQ=', 'Q', 'Q\n', 'Q Q']) t.equal(decodeSegment(text), null, JSON.stringify(text))
  })

  await t.test('payloads and headers that are no objects', async () => {
    const text = JSON.stringify(claims)
    const bad: (string | Buffer)[] = [
      '',
      'null',
      '[]',
      '1',
      '"x"',
      'foo',
      `${text}x`,
      `${text}${text}`,
      `\ufeff${text}`,
      `[${text}]`,
      text.replaceAll('"', "'"),
      text.replace('}', ',}'),
      Buffer.from(text.replace('user-1', '\xff\xfe'), 'latin1'),
      Buffer.from(text, 'utf16le'),
    ]
    for (const [i, payload] of bad.entries()) {
      await fails(compact({ alg: 'ES256', kid: 'ec' }, payload, 'ES256', ec.privateKey), `payload ${i}`)
      await fails(compact(payload, claims, 'ES256', ec.privateKey), `header ${i}`)
    }
    const deep = `${'['.repeat(1000)}${']'.repeat(1000)}`
    await fails(
      compact({ alg: 'ES256', kid: 'ec' }, text.replace('{', `{"a":${deep},`), 'ES256', ec.privateKey),
      'nested',
    )
    t.equal(parseObject(Buffer.from(`{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`)), null)
    await fails(
      compact({ alg: 'ES256', kid: 'ec', cty: 'JWT' }, good, 'ES256', ec.privateKey),
      'a token within a token',
    )
    await fails(`${segment({ alg: 'dir', enc: 'A256GCM' })}..aXY.Y3Q.dGFn`, 'encrypted')
    await fails(`${segment({ alg: 'RSA-OAEP', enc: 'A256GCM', kid: 'rsa' })}.AA.AA.AA.AA`, 'encrypted for us')
  })

  await t.test('size', async t => {
    const sized = (size: number) => {
      let text = ''
      for (let pad = size * 0.7; text.length !== size; pad += (size - text.length) * 0.74) {
        text = token(ec, { pad: 'x'.repeat(Math.round(pad)) })
        if (Math.abs(text.length - size) <= 2) break
      }
      return text
    }
    const [small, large] = [sized(8180), sized(8210)]
    t.ok(small.length <= 8192 && large.length > 8192, `${small.length}, ${large.length}`)
    await passes(small, '8 KiB')
    await fails(large, 'a little more')
    await fails(token(ec, { pad: 'x'.repeat(700_000) }), '1 MiB')
    await fails('A'.repeat(1024 * 1024), '1 MiB of nothing')
    await fails('.'.repeat(1024 * 1024), '1 MiB of dots')
  })

  await t.test('a signature of another token', async () => {
    await fails(`${head}.${segment({ ...claims, sub: 'admin' })}.${sig}`, 'another payload')
    await fails(`${segment({ alg: 'ES256', kid: 'ec', typ: 'at+jwt' })}.${body}.${sig}`, 'another header')
    await fails(token(signer('ES256', 'ec')), 'another key')
    await passes(good, 'and what was good still is')
  })
})

t.test('keys that are too weak check nothing', async t => {
  const weak = signer('RS256', 'weak', 1024)
  const { n } = rsa.jwk as { n: string }
  const enc = { ...rsa.jwk, kid: 'enc', use: 'enc' }
  const ops = { ...rsa.jwk, kid: 'ops', key_ops: ['encrypt'] }
  const one = { ...rsa.jwk, kid: 'one', e: 'AQ' }
  const even = { ...rsa.jwk, kid: 'even', e: 'Ag' }
  const off = { ...ec.jwk, kid: 'off', y: ec.jwk.x }
  const oct = { kty: 'oct', k: Buffer.from('s'.repeat(32)).toString('base64url'), kid: 'oct', alg: 'HS256' }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const shown = { ...privateKey.export({ format: 'jwk' }), kid: 'private', alg: 'ES256' }
  const jwks = await JwksServer.start(t, [weak.jwk, enc, ops, one, even, off, oct, shown, ec.jwk])
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [{ jwt: { issuers: [{ jwks: jwks.url }] } }],
  })
  const client = await gateway.connect()
  const status = async (text: string) =>
    (await client.head('GET / HTTP/1.1', 'Host: h.test', `Authorization: Bearer ${text}`).response()).status
  t.equal(await status(token(ec)), 200, 'the one good key')
  t.equal(await status(token(weak)), 401, '1024 bits')
  for (const kid of ['enc', 'ops', 'one', 'even']) t.equal(await status(token(rsa, {}, { kid })), 401, kid)
  // With e = 1 a signature is its own message: EMSA-PKCS1-v1_5 of the text, which anybody can write.
  const input = `${segment({ alg: 'RS256', kid: 'one' })}.${segment(standard())}`
  const digest = createHash('sha256').update(input).digest()
  const info = Buffer.concat([Buffer.from('3031300d060960864801650304020105000420', 'hex'), digest])
  const size = Buffer.from(n, 'base64url').length
  const padding = Buffer.alloc(size - info.length, 0xff)
  padding.set([0, 1])
  padding[padding.length - 1] = 0
  t.equal(await status(`${input}.${segment(Buffer.concat([padding, info]))}`), 401, 'a signature that needs no key')
  t.equal(await status(token(ec, {}, { kid: 'off' })), 401, 'off its curve')
  t.equal(
    await status(compact({ alg: 'HS256', kid: 'oct' }, standard(), 'HS256', Buffer.from('s'.repeat(32)))),
    401,
    'a secret in a key set',
  )
  t.equal(
    await status(compact({ alg: 'ES256', kid: 'private' }, standard(), 'ES256', privateKey)),
    401,
    'a published private key',
  )
  t.equal(jwks.requests.length, 1, 'none of these ids is looked for again')
  t.equal(parseCompact(token(ec))!.alg, 'ES256')
})

t.test('an algorithm is allowed by the issuer and by the key', async t => {
  const pinned = signer('RS256', 'pinned')
  const { alg: _alg, use: _use, ...open } = signer('RS256', 'open').jwk
  const free = signer('RS256', 'free')
  const { alg: _none, ...bare } = free.jwk
  const jwks = await JwksServer.start(t, [pinned.jwk, bare, open])
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [{ jwt: { issuers: [{ jwks: jwks.url, algorithms: ['RS256', 'RS512', 'ES256'] }] } }],
  })
  const client = await gateway.connect()
  const ask = (...texts: string[]) =>
    client.head('GET / HTTP/1.1', 'Host: h.test', ...texts.map(text => `Authorization: Bearer ${text}`)).response()
  const status = async (by: typeof free, alg: string) =>
    (await ask(compact({ alg, kid: by.kid }, standard(), alg, by.privateKey))).status
  t.equal(await status(pinned, 'RS256'), 200)
  t.equal(await status(pinned, 'RS512'), 401, 'the issuer may, the key may not')
  t.equal(await status(free, 'RS512'), 200, 'a key that names none')
  for (const alg of ['RS384', 'PS256', 'PS512'])
    t.equal(await status(free, alg), 401, `${alg}: the key could, the issuer may not`)
  const good = token(free)
  t.match((await ask(good, good)).get('www-authenticate'), /more than one token/)
})
