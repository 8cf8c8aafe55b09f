// The attack tokens and transport cases of ../shared/corpora through a running gateway, and Wycheproof's at the verifier.
import type { JsonWebKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseCompact } from '../../plugins/jwt/compact.ts'
import {
  ALGORITHMS,
  type Algorithm,
  isSymmetric,
  Key,
  type KeyRing,
  OneKey,
  readKeySet,
} from '../../plugins/jwt/keys.ts'
import { signer } from '../../plugins/jwt/signature.ts'
import { startGateway } from '../support/gateway.ts'
import { JwksServer } from '../support/jwks-server.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { ROOT } from '../support/root.ts'

const folder = join(ROOT, '../shared/corpora/jwt/')
const here = existsSync(folder)

function records<T>(name: string): T[] {
  const lines = readFileSync(`${folder}${name}`, 'utf8').split('\n')
  return lines.filter(line => line !== '').map(line => JSON.parse(line) as T)
}

interface Settings {
  readonly issuer: string
  readonly audience: string
  readonly algorithms: string[]
  readonly clockToleranceSeconds: number
  readonly hs256_provider: { readonly issuer: string; readonly secret_k: string }
}

/** The gateway under which the verdicts hold. */
async function start(t: Test) {
  const settings = JSON.parse(readFileSync(`${folder}config.json`, 'utf8')) as Settings
  const jwks = await JwksServer.start(t)
  jwks.reply(200, readFileSync(`${folder}jwks.json`), { 'content-type': 'application/json' })
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    // Tokens of 1 MiB are to reach the plugin.
    listener: { limits: { headers: '2MiB' } },
    up: { endpoints: [up.address] },
    plugins: [
      {
        jwt: {
          issuers: [
            {
              issuer: settings.issuer,
              jwks: jwks.url,
              audiences: [settings.audience],
              algorithms: settings.algorithms,
            },
            {
              issuer: settings.hs256_provider.issuer,
              secret: `base64url:${settings.hs256_provider.secret_k}`,
              audiences: [settings.audience],
            },
          ],
          leeway: `${settings.clockToleranceSeconds}s`,
          forward: { claims: { sub: 'x-user-id' } },
        },
      },
    ],
  })
  /** Status, with the upstream's view: `200` must have been seen there, all else must not. */
  const play = async (t: Test, fields: readonly string[], target = '/') => {
    const before = up.requests.length
    const client = await RawClient.connect(t, gateway.port)
    const answer = await client.head(`GET ${target} HTTP/1.1`, 'Host: h.test', ...fields).response()
    client.destroy()
    const passed = up.requests.slice(before)
    const challenge = answer.get('www-authenticate')
    const asDue = answer.status === 200 ? passed.length === 1 : passed.length === 0
    const challenged = answer.status !== 401 || challenge.startsWith('Bearer ')
    return { status: answer.status, asDue: asDue && challenged, challenge, passed }
  }
  return { play, jwks }
}

const fits: Record<string, (status: number) => boolean> = {
  accept: status => status === 200,
  'reject-401': status => status === 401,
  'reject-4xx': status => status >= 400 && status < 500,
  either: status => status === 200 || (status >= 400 && status < 500),
}

interface Attack {
  readonly id: string
  readonly title: string
  readonly verdict: string
  readonly token: string
}

interface TransportCase extends Attack {
  readonly headers: readonly (readonly [string, string])[]
}

interface Vector {
  readonly id: string
  readonly title: string
  readonly verdict: 'accept' | 'reject'
  readonly jws: unknown
  readonly public?: JsonWebKey | { keys: JsonWebKey[] }
  readonly private?: JsonWebKey | { keys: JsonWebKey[] }
}

/**
 * What Wycheproof accepts and this verifier refuses. A key whose owner names one algorithm is for that one alone
 * (RFC 7517 4.4, RFC 8725 3.1): as the same set asks elsewhere (UsingPS256 with a key for PS512).
 */
const STRICTER: Readonly<Record<string, string>> = {
  'wp-signature-347': 'ES512 with a key whose alg is the unregistered ES521',
  'wp-signature-350': 'PS384 with a key whose alg is PS256',
  'wp-signature-372': 'a question mark within the base64url of the header (RFC 7515 2)',
  'wp-crypto-67': 'an encrypted token (JWE), which is no signature at all',
}

/** The keys that a case gives, as an issuer of this plugin would have them. */
function ring(vector: Vector): { ring: KeyRing; algorithms: string[] } {
  const given = (vector.public ?? vector.private) as JsonWebKey & { keys?: JsonWebKey[] }
  const jwks = given.keys ?? [given]
  const secret = jwks.every(jwk => jwk.kty === 'oct') ? jwks[0]! : null
  const algorithms = (Object.keys(ALGORITHMS) as Algorithm[]).filter(alg => isSymmetric(alg) === (secret !== null))
  if (secret !== null) {
    const bytes = Buffer.from(secret.k!, 'base64url')
    return { ring: new OneKey(new Key(bytes, 'oct', undefined, undefined, secret.alg as string)), algorithms }
  }
  return { ring: readKeySet({ keys: jwks }).set, algorithms }
}

/** What the gateway does with a token up to its claims. */
async function verifies(vector: Vector): Promise<boolean> {
  if (typeof vector.jws !== 'string') return false
  const { ring: keys, algorithms } = ring(vector)
  const token = parseCompact(vector.jws)
  if (token === null || !algorithms.includes(token.alg)) return false
  return (await signer(token, keys.find(token.kid, token.alg))) !== null
}

if (!here) t.pass('../shared/corpora is not there: nothing of it was played')
else {
  t.test('jwt-attacks', async t => {
    const { play, jwks } = await start(t)
    const attacks = records<Attack>('jwt-attacks.jsonl')
    t.ok(attacks.length > 50)
    for (const { id, title, verdict, token } of attacks) {
      const { status, asDue, challenge } = await play(t, [`Authorization: Bearer ${token}`])
      t.ok(fits[verdict]!(status) && asDue, `${id} ${title}: ${verdict}`, { status, challenge })
      if (verdict === 'reject-401') t.match(challenge, /^Bearer error="invalid_token"/, id)
    }
    t.ok(jwks.requests.length <= 2, 'one fetch at start, one for all unknown key ids')
  })

  t.test('transport', async t => {
    const { play } = await start(t)
    const cases = records<TransportCase>('transport.jsonl')
    t.ok(cases.length > 5)
    for (const { id, title, verdict, headers } of cases) {
      const query = headers.find(([name]) => name === 'X-Query')?.[1]
      const fields = headers.filter(([name]) => name !== 'X-Query').map(([name, value]) => `${name}: ${value}`)
      const { status, asDue, passed } = await play(t, fields, query === undefined ? '/' : `/?${query}`)
      t.ok(fits[verdict]!(status) && asDue, `${id} ${title}: ${verdict}`, { status })
      for (const request of passed) {
        const identities = request.fields.filter(([name]) => name.toLowerCase().replaceAll('_', '-') === 'x-user-id')
        t.same(identities, [['x-user-id', 'user-1']], `${id}: one identity, and not the client's`)
      }
    }
  })

  t.test('Wycheproof', async t => {
    const vectors = records<Vector>('wycheproof-jws.jsonl')
    t.ok(vectors.length > 200)
    let accepted = 0
    for (const vector of vectors) {
      const { id, title, verdict } = vector
      const good = await verifies(vector)
      if (good) accepted++
      if (id in STRICTER) t.equal(good, false, `${id} ${title}: refused on purpose: ${STRICTER[id]}`)
      else t.equal(good, verdict === 'accept', `${id} ${title}: ${verdict}`)
    }
    t.ok(accepted > 15, `${accepted} were accepted`)
  })

  t.test('keys of the corpus are read as they should be', async t => {
    const { set, leftOut } = readKeySet(JSON.parse(readFileSync(`${folder}jwks.json`, 'utf8')))
    t.same(
      set.keys.map(key => key.kid),
      ['rsa-1', 'rsa-2', 'ec-1', 'ec-384', 'ed-1'],
    )
    t.match(leftOut, [/1024 bits/, /not for signatures/])
    t.ok(set.knows('rsa-weak'), 'a key that is left out is not looked for again')
  })
}
