// jwt through a running gateway: every algorithm, issuer and token source, what is asked, what is passed on, what is refused.
// Over 300 lines because it is the list of what the page of the plugin promises.
import { createSecretKey, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { JwksServer } from '../support/jwks-server.ts'
import type { RawClient, RawResponse } from '../support/raw-client.ts'
import { RawUpstream, type SeenRequest } from '../support/raw-upstream.ts'
import { compact, segment, signer, standard, token } from '../support/tokens.ts'

const rs256 = signer('RS256')
const es256 = signer('ES256')

interface Chain {
  readonly up: RawUpstream
  readonly gateway: TestGateway
  readonly client: RawClient
}

async function chain(t: Test, jwt: object, engine = 'native'): Promise<Chain> {
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    listener: { engine },
    up: { endpoints: [up.address] },
    route: { plugins: [{ jwt }] },
  })
  return { up, gateway, client: await gateway.connect() }
}

async function ask({ client }: Chain, fields: readonly string[], target = '/a'): Promise<RawResponse> {
  return client.head(`GET ${target} HTTP/1.1`, 'Host: h.test', ...fields).response()
}

const bearer = (text: string) => [`Authorization: Bearer ${text}`]

/** Ask, and give what the upstream saw; null and an assertion of 401 or 403 where it saw nothing. */
async function seen(chain: Chain, fields: readonly string[], target?: string): Promise<SeenRequest | null> {
  const before = chain.up.requests.length
  const answer = await ask(chain, fields, target)
  return answer.status === 200 ? chain.up.requests[before]! : null
}

t.test('every algorithm', async t => {
  const algorithms = [
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
    'Ed25519',
  ]
  const signers = algorithms.map(alg => signer(alg))
  const jwks = await JwksServer.start(
    t,
    signers.map(by => by.jwk),
  )
  const secret = randomBytes(64)
  const hs = ['HS256', 'HS384', 'HS512']
  const c = await chain(t, {
    issuers: [
      { issuer: 'https://id.test', jwks: jwks.url, audiences: ['orders'], algorithms },
      { issuer: 'https://hs.test', secret: `base64url:${secret.toString('base64url')}`, algorithms: hs },
    ],
  })
  for (const by of signers) {
    t.equal((await ask(c, bearer(token(by)))).status, 200, by.alg)
    const other = signer(by.alg, by.kid)
    t.equal((await ask(c, bearer(token(other)))).status, 401, `${by.alg} by another key of that name`)
  }
  for (const alg of hs) {
    const claims = { ...standard(), iss: 'https://hs.test' }
    t.equal((await ask(c, bearer(compact({ alg }, claims, alg, secret)))).status, 200, alg)
    t.equal(
      (await ask(c, bearer(compact({ alg }, claims, alg, randomBytes(64))))).status,
      401,
      `${alg}, another secret`,
    )
    t.equal(
      (await ask(c, bearer(compact({ alg }, standard(), alg, secret)))).status,
      401,
      `${alg} for the other issuer`,
    )
  }
  t.equal(jwks.requests.length, 1, 'one fetch for all')
})

t.test('issuers', async t => {
  const one = signer('ES256', 'same')
  const two = signer('ES256', 'same')
  const any = signer('EdDSA')
  const folder = t.testdir({ 'any.pem': any.publicKey.export({ type: 'spki', format: 'pem' }) as string })
  writeFileSync(join(folder, 'two.json'), JSON.stringify({ keys: [two.jwk] }))
  const jwks = await JwksServer.start(t, [one.jwk])
  const c = await chain(t, {
    issuers: [
      { issuer: 'https://one.test', jwks: jwks.url },
      { issuer: 'https://two.test', jwksFile: join(folder, 'two.json'), audiences: ['orders', 'billing'] },
      { key: join(folder, 'any.pem') },
    ],
  })
  const status = async (by: typeof one, claims: object) => (await ask(c, bearer(token(by, claims)))).status
  t.equal(await status(one, { iss: 'https://one.test' }), 200)
  t.equal(await status(one, { iss: 'https://two.test' }), 401, "one issuer's key is not another's")
  t.equal(await status(two, { iss: 'https://one.test' }), 401)
  t.equal(await status(two, { iss: 'https://two.test' }), 200)
  t.equal(await status(any, { iss: 'https://three.test' }), 200, 'the entry without issuer takes any other')
  t.equal(await status(any, { iss: undefined }), 200, '… and none')
  t.equal(await status(any, { iss: 'https://one.test' }), 401, '… but not what belongs to an entry')
  t.equal(await status(any, { iss: 7 }), 401)
  t.equal(await status(two, { iss: 'https://two.test', aud: ['x', 'billing'] }), 200)
  t.equal(await status(two, { iss: 'https://two.test', aud: 'billing' }), 200)
  for (const aud of ['order', 'ORDERS', '', [], ['x'], [['orders']], { 0: 'orders' }, null, 7, ['orders', 7]]) {
    t.equal(await status(two, { iss: 'https://two.test', aud }), 401, `aud ${JSON.stringify(aud)}`)
  }
  t.equal(await status(two, { iss: 'https://two.test', aud: undefined }), 401, 'no aud')
  t.equal(await status(one, { iss: 'https://one.test', aud: undefined }), 200, 'no aud where none is asked')
})

for (const engine of ['native', 'uws']) {
  t.test(`every token source, keep and strip, on ${engine}`, async t => {
    const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
    const issuers = [{ issuer: 'https://id.test', jwksFile: join(folder, 'k.json') }]
    const good = token(es256)
    const from = ['header.authorization', 'header.x-token', 'cookie.session', 'query.access_token']

    await t.test('header', async t => {
      const keep = await chain(t, { issuers }, engine)
      t.equal((await seen(keep, bearer(good)))!.get('authorization'), `Bearer ${good}`, 'kept')
      for (const scheme of ['bearer', 'BEARER']) {
        t.ok(await seen(keep, [`Authorization: ${scheme} ${good}`]), scheme)
      }
      t.notOk(await seen(keep, [], `/a?access_token=${good}`), 'no other place unless asked')
      t.notOk(await seen(keep, [`Cookie: session=${good}`]))
      for (const text of ['Bearer', `Bearer${good}`, `Bearer ${good} x`, `Bearer "${good}"`, `Token ${good}`, good]) {
        t.notOk(await seen(keep, [`Authorization: ${text}`]), text.slice(0, 12))
      }
      t.notOk(await seen(keep, [...bearer(`${good.slice(0, -8)}AAAAAAAA`), ...bearer(good)]), 'two, the second good')
      t.notOk(await seen(keep, [...bearer(good), ...bearer(good)]), 'two')

      const strip = await chain(t, { issuers, from, forward: { token: 'strip' } }, engine)
      const request = await seen(strip, [...bearer(good), `x_token: ${good}`, 'Accept: */*'])
      t.same(request!.all('authorization'), [])
      t.same(request!.all('x_token'), [], 'every place is emptied')
      t.equal(request!.get('accept'), '*/*')
      t.same((await seen(strip, [`X-Token: ${good}`]))!.all('x-token'), [])
      t.ok(await seen(strip, [`X-Token: Bearer ${good}`]), 'a scheme may stand in another header too')
    })

    await t.test('strip takes tokens, and leaves credentials of other schemes', async t => {
      const places = ['header.authorization', 'header.x-token', 'cookie.session', 'query.access_token']
      const c = await chain(t, { issuers, from: places, forward: { token: 'strip' } }, engine)
      const last = await chain(t, { issuers, from: [...places].reverse(), forward: { token: 'strip' } }, engine)
      const session = `Cookie: session=${good}; theme=dark`
      const digest = 'Digest username="bearer", realm="a.b.c", uri="/x.y.z"'
      for (const other of ['Basic dTpw', digest, 'AWS4-HMAC-SHA256 Credential=a/b, Signature=0f'])
        for (const by of [c, last]) {
          const request = (await seen(by, [`Authorization: ${other}`, session]))!
          t.same(request.all('authorization'), [other])
          t.same(request.all('cookie'), ['theme=dark'])
        }
      for (const text of [
        `Bearer ${good}`,
        'bearer x',
        'Bearer',
        `Bearer${good}`,
        `Basic dTpw, Bearer ${good}`,
        'Basic dTpw,bearer x',
        `Token ${good}`,
        `Token token="${good}"`,
        good,
      ])
        t.same((await seen(last, [`Authorization: ${text}`, session]))!.all('authorization'), [], text.slice(0, 20))
      const both = (await seen(last, ['Authorization: Basic dTpw', ...bearer('x.y.z'), session]))!
      t.same(both.all('authorization'), ['Basic dTpw'])
      const elsewhere = await seen(last, ['X-Token: opaque', 'x_token: opaque', session], '/a?access_token=&b')
      t.equal(elsewhere?.target, '/a?b', 'an empty one is no token, and goes too')
      const all = (await seen(last, ['Authorization: Basic dTpw', 'X-Token: opaque', 'x_token: opaque', session]))!
      t.same([all.all('x-token'), all.all('x_token'), all.all('authorization')], [[], [], ['Basic dTpw']])
    })

    await t.test('cookie', async t => {
      const c = await chain(t, { issuers, from: ['cookie.session'], forward: { token: 'strip' } }, engine)
      t.equal((await seen(c, [`Cookie: a=1; session=${good}; b=2`]))!.get('cookie'), 'a=1; b=2')
      t.same((await seen(c, [`Cookie: session=${good}`]))!.all('cookie'), [])
      t.ok(await seen(c, [`Cookie: session="${good}"`]), 'quoted')
      t.notOk(await seen(c, [`Cookie: xsession=${good}`]))
      t.notOk(await seen(c, [`Cookie: session=${good}; session=${good}`]), 'two')
      t.notOk(await seen(c, ['Cookie: session=']))
      const keep = await chain(t, { issuers, from: ['cookie.session'] }, engine)
      t.equal((await seen(keep, [`Cookie: a=1; session=${good}`]))!.get('cookie'), `a=1; session=${good}`)
    })

    await t.test('query', async t => {
      const c = await chain(t, { issuers, from: ['query.access_token'], forward: { token: 'strip' } }, engine)
      const target = async (path: string) => (await seen(c, [], path))?.target
      t.equal(await target(`/a?x=%41+b&access_token=${good}&y=%c3%a9&&z`), '/a?x=%41+b&y=%c3%a9&&z', 'byte for byte')
      t.equal(await target(`/a?access_token=${good}`), '/a')
      t.equal(await target(`/a?%61ccess_token=${good}`), '/a', 'an escaped name is the name')
      t.equal(await target(`/a?access_token=${good.replaceAll('.', '%2E')}`), '/a')
      t.equal(await target(`/a?access_token=${good}&access_token=${good}`), undefined, 'two')
      t.equal(await target('/a?access_token='), undefined)
      t.equal(await target('/a?access_token'), undefined)
      const keep = await chain(t, { issuers, from: ['query.access_token'] }, engine)
      t.equal((await seen(keep, [], `/a?b&access_token=${good}`))!.target, `/a?b&access_token=${good}`)
    })

    await t.test('the first place that has a token counts', async t => {
      const c = await chain(t, { issuers, from }, engine)
      t.ok(await seen(c, ['Authorization: Basic dTpw', `X-Token: ${good}`]), 'another scheme is no token')
      t.notOk(await seen(c, [...bearer('x.y.z'), `X-Token: ${good}`]))
      t.ok(await seen(c, [...bearer(good), 'X-Token: x.y.z']))
    })
  })
}

t.test('answers', async t => {
  const jwks = await JwksServer.start(t, [es256.jwk])
  const c = await chain(t, {
    issuers: [{ issuer: 'https://id.test', jwks: jwks.url, audiences: ['orders'] }],
    require: { claims: { role: ['admin', 'editor'] } },
  })
  const answer = async (fields: readonly string[]) => {
    const { status, get, text } = await ask(c, fields)
    return `${status} ${JSON.parse(text).code} ${get('www-authenticate')}`
  }
  const invalid = (text: string) => `401 SLUICE_UNAUTHORIZED Bearer error="invalid_token", error_description="${text}"`
  t.equal(await answer([]), '401 SLUICE_UNAUTHORIZED Bearer realm="sluice"', 'no error code without a token')
  t.equal(await answer(['Authorization: Basic dTpw']), '401 SLUICE_UNAUTHORIZED Bearer realm="sluice"')
  t.equal(await answer(bearer('x')), invalid('the token is malformed'))
  const now = Math.floor(Date.now() / 1000)
  const said = async (claims: object, header = {}, by = es256) =>
    (await answer(bearer(token(by, { role: 'admin', ...claims }, header)))).replace(/.*_description=|"/g, '')
  t.equal(await said({ exp: now - 40 }), 'the token has expired')
  t.equal(await said({ nbf: now + 40 }), 'the token is not valid yet')
  t.equal(await said({ exp: undefined }), 'the token has no expiry')
  t.equal(await said({ iss: 'https://x.test' }), 'the token is from another issuer')
  t.equal(await said({ aud: 'x' }), 'the token is for another audience')
  t.equal(await said({}, { typ: 'logout+jwt' }), 'the token is of another type')
  // Key, algorithm and signature are all one to the outside.
  const same = 'the token cannot be verified'
  t.equal(await said({}, { kid: 'nope' }), same)
  t.equal(await said({}, { alg: 'RS256' }), same)
  t.equal(await said({}, { alg: 'none' }), same)
  t.equal(await said({}, {}, signer('ES256')), same)
  t.equal(
    await answer(bearer(token(es256))),
    '403 SLUICE_FORBIDDEN Bearer error="insufficient_scope", error_description="the claims of the token do not allow this"',
  )
  t.equal(c.up.requests.length, 0, 'nothing of it went upstream')
  t.equal((await ask(c, bearer(token(es256, { role: 'editor' })))).status, 200)
  t.notOk(
    c.gateway.log.some(line => JSON.stringify(line).includes(token(es256).slice(0, 20))),
    'no token is logged',
  )
})

t.test('leeway, types and exp as told', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const issuers = [{ jwksFile: join(folder, 'k.json') }]
  const now = Math.floor(Date.now() / 1000)
  const usual = await chain(t, { issuers })
  const status = async (c: Chain, claims: object, header: object = {}) =>
    (await ask(c, bearer(token(es256, claims, header)))).status
  t.equal(await status(usual, { exp: now - 20 }), 200, 'within the leeway')
  t.equal(await status(usual, { exp: now - 31 }), 401)
  t.equal(await status(usual, { nbf: now + 20 }), 200)
  for (const claims of [{ exp: now + 60.5 }, { nbf: now - 0.5 }, { iat: now - 0.25 }])
    t.equal(await status(usual, claims), 401, `parts of a second: ${JSON.stringify(claims)}`)
  for (const typ of ['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/JWT']) {
    t.equal(await status(usual, {}, { typ }), 200, typ)
  }
  for (const typ of ['', 'JWE', 'logout+jwt', 'jwt ', 'application/', null, 7, ['JWT']]) {
    t.equal(await status(usual, {}, { typ }), 401, `typ ${JSON.stringify(typ)}`)
  }
  t.equal(await status(usual, {}, { typ: undefined }), 200, 'absent')
  const strict = await chain(t, { issuers, leeway: '0s', types: ['at+jwt'] })
  t.equal(await status(strict, { exp: now - 1 }, { typ: 'at+jwt' }), 401)
  t.equal(await status(strict, {}, { typ: 'JWT' }), 401)
  t.equal(await status(strict, {}, { typ: 'at+jwt' }), 200)
  const eternal = await chain(t, { issuers, require: { exp: false } })
  t.equal(await status(eternal, { exp: undefined }), 200)
  t.equal(await status(eternal, { exp: undefined }), 200, 'and from memory')
  t.equal(await status(eternal, { exp: null }), 401)
})

t.test('claims that a route asks for', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const c = await chain(t, {
    issuers: [{ jwksFile: join(folder, 'k.json') }],
    require: { claims: { role: ['admin', 'editor'], 'scope[]': 'orders:read', level: 3, 'realm.roles[]': 'x' } },
  })
  const fitting = { role: 'admin', scope: 'openid orders:read', level: 3, realm: { roles: ['x'] } }
  const status = async (claims: object) => (await ask(c, bearer(token(es256, { ...fitting, ...claims })))).status
  t.equal(await status({}), 200)
  t.equal(await status({ role: 'editor', scope: ['orders:read'] }), 200, 'a list is as good as words')
  t.equal(await status({ 'realm.roles': ['x'], realm: undefined }), 200, 'a claim with a dot in its name')
  t.equal(await status({ role: 'Admin' }), 403)
  t.equal(await status({ role: ['admin'] }), 403, 'a list is no value')
  t.equal(await status({ role: undefined }), 403)
  t.equal(await status({ scope: 'orders:readwrite' }), 403)
  t.equal(await status({ scope: { 'orders:read': true } }), 403)
  t.equal(await status({ level: '3' }), 403)
  t.equal(await status({ realm: { roles: 'y' } }), 403)
  t.equal(await status({ realm: ['roles'] }), 403)
  t.equal(await status({ role: 'nobody' }), 403)
  t.equal(await status({ role: 'nobody' }), 403, 'also from memory')
})

t.test('claims as headers, never the client’s own', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const claims = { sub: 'x-user-id', email: 'x-email', roles: 'x-roles', level: 'x-level', 'org.name': 'x-org' }
  const c = await chain(t, { issuers: [{ jwksFile: join(folder, 'k.json') }], forward: { claims } })
  const spoof = [
    'X-User-Id: admin',
    'x_user_id: admin',
    'X_User-Id: admin',
    'X-USER-ID: admin',
    'X-Email: a@b',
    'x_other: 1',
  ]
  const good = bearer(token(es256, { sub: 'ann', email: 'zoë@ü', roles: ['a', 'é"'], level: 3, org: { name: 'o' } }))
  for (const from of ['verified', 'remembered']) {
    const request = (await seen(c, [...spoof, ...good]))!
    t.same(
      request.fields.filter(([name]) => /user.id/i.test(name)),
      [['x-user-id', 'ann']],
      from,
    )
    t.equal(Buffer.from(request.get('x-email'), 'latin1').toString(), 'zoë@ü', 'UTF-8')
    t.same(JSON.parse(request.get('x-roles')), ['a', 'é"'])
    t.match(request.get('x-roles'), /^[\x20-\x7e]+$/)
    t.equal(request.get('x-level'), '3')
    t.equal(request.get('x-org'), 'o')
    t.equal(request.get('x_other'), '1', 'other names with an underscore pass')
  }
  const bare = (await seen(c, [...spoof, ...bearer(token(es256, { sub: undefined, email: null }))]))!
  t.same(bare.all('x-user-id').concat(bare.all('x_user_id'), bare.all('x-email')), [], 'removed where no claim is')
  for (const sub of ['a\r\nx-admin: 1', 'a\nb', 'a\0', ' admin', 'admin ', '\u007f', '\ud800', '\t']) {
    t.equal((await ask(c, bearer(token(es256, { sub })))).status, 401, JSON.stringify(sub))
  }
  const number = (level: string) => {
    const payload = JSON.stringify({ ...standard(), level: 0 }).replace('"level":0', `"level":${level}`)
    return bearer(compact({ alg: 'ES256' }, payload, 'ES256', es256.privateKey))
  }
  t.equal((await seen(c, number('9007199254740991')))!.get('x-level'), '9007199254740991')
  for (const level of ['9007199254740992', '-9007199254740993', '12345678901234567891', '1e400', '{"n":[1e16]}'])
    t.equal((await ask(c, number(level))).status, 401, `${level} may stand for another, rounded`)
})

t.test('a header named with underscores leaves no twin of the client’s', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const c = await chain(t, {
    issuers: [{ jwksFile: join(folder, 'k.json') }],
    forward: { claims: { sub: 'x_user_id' } },
  })
  const names = ['X-User-Id', 'X-User_Id', 'x_user-id', 'x_user_id']
  for (const spoof of [names, names.slice(0, 1)]) {
    const request = (await seen(c, [...spoof.map(name => `${name}: admin`), ...bearer(token(es256, { sub: 'ann' }))]))!
    t.same(
      request.fields.filter(([name]) => /user.id/i.test(name)),
      [['x_user_id', 'ann']],
    )
  }
})

t.test('optional', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const c = await chain(t, {
    issuers: [{ jwksFile: join(folder, 'k.json') }],
    optional: true,
    forward: { claims: { sub: 'x-user-id' } },
    require: { claims: { role: 'admin' } },
  })
  const anonymous = (await seen(c, ['X-User-Id: admin', 'x_user_id: admin']))!
  t.same(anonymous.all('x-user-id').concat(anonymous.all('x_user_id')), [])
  t.ok(await seen(c, ['Authorization: Basic dTpw']))
  for (const text of ['Bearer', 'Bearer x', 'BearerX', `Bearer ${token(signer('ES256'))}`]) {
    t.equal((await ask(c, [`Authorization: ${text}`])).status, 401, text.slice(0, 10))
  }
  t.equal((await ask(c, bearer(token(es256)))).status, 403)
  t.equal((await seen(c, bearer(token(es256, { role: 'admin' }))))!.get('x-user-id'), 'user-1')
})

t.test('an empty text is no token', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const issuers = [{ jwksFile: join(folder, 'k.json') }]
  const from = ['header.x-token', 'cookie.session', 'query.access_token', 'header.authorization']
  const optional = await chain(t, { issuers, from, optional: true })
  const asked = await chain(t, { issuers, from })
  for (const [field, target] of [
    ['X-Token:', '/a'],
    ['Cookie: session=', '/a'],
    ['Cookie: session=""', '/a'],
    ['A: b', '/a?access_token='],
    ['A: b', '/a?access_token&b'],
  ] as const) {
    t.equal((await ask(optional, [field], target)).status, 200, `${field} ${target}`)
    const answer = await ask(asked, [field], target)
    t.same([answer.status, answer.get('www-authenticate')], [401, 'Bearer realm="sluice"'])
    t.ok(await seen(asked, [field, ...bearer(token(es256))], target), 'the next place counts')
  }
  t.equal((await ask(optional, ['Authorization:'])).status, 200)
})

t.test('strip, where the request is anonymous', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [es256.jwk] }) })
  const c = await chain(t, {
    issuers: [{ jwksFile: join(folder, 'k.json') }],
    from: ['header.authorization', 'cookie.session', 'query.access_token'],
    optional: true,
    forward: { token: 'strip' },
  })
  const good = token(es256)
  for (const text of [good, `DPoP ${good}`, `Basic dTpw, Bearer ${good}`])
    t.same((await seen(c, [`Authorization: ${text}`]))!.all('authorization'), [], text.slice(0, 12))
  const request = (await seen(c, ['Authorization: Basic dTpw', 'Cookie: a=1; session='], '/a?access_token=&b'))!
  t.same([request.get('authorization'), request.get('cookie'), request.target], ['Basic dTpw', 'a=1', '/a?b'])
})

t.test('what a token says reaches other plugins', async t => {
  const up = await RawUpstream.start(t)
  const secret = 's'.repeat(32)
  const gateway = await startGateway(t, {
    up: { endpoints: [up.address] },
    plugins: [
      { jwt: { issuers: [{ secret }] } },
      { headers: { request: { set: { 'x-a': `\${consumer} \${jwt.org} \${jwt.constructor}` } } } },
    ],
  })
  const client = await gateway.connect()
  const text = compact({ alg: 'HS256' }, { ...standard(), org: 'acme' }, 'HS256', createSecretKey(Buffer.from(secret)))
  for (let i = 0; i < 2; i++) {
    await client.head('GET / HTTP/1.1', 'Host: h.test', ...bearer(text)).response()
    t.equal(up.requests[i]!.get('x-a').trim(), 'user-1 acme')
  }
})

t.test('no cache', async t => {
  const folder = t.testdir({ 'k.json': JSON.stringify({ keys: [rs256.jwk] }) })
  const c = await chain(t, { issuers: [{ jwksFile: join(folder, 'k.json') }], cache: 0 })
  const good = bearer(token(rs256))
  for (let i = 0; i < 3; i++) t.equal((await ask(c, good)).status, 200)
  t.match([...c.gateway.snapshot.sites.values()][0]!.plugin.inspect!(), { cached: 0 })
  t.equal((await ask(c, [`Authorization: Bearer ${segment('{}')}.${segment('{}')}.AAAA`])).status, 401)
})
