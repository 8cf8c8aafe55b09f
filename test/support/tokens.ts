// Keys, and tokens signed by hand: any header, any payload and any algorithm, as honest as a test wants them.
import {
  constants,
  createHmac,
  createSecretKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from 'node:crypto'

/** A key pair with what a key set shows of it. */
export interface Signer {
  readonly alg: string
  readonly kid: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** The public JWK with kid, alg and use. */
  readonly jwk: JsonWebKey & Record<string, unknown>
}

/** Make a pair for an algorithm; RSA with `bits`. */
export function signer(alg: string, kid: string = alg.toLowerCase(), bits = 2048): Signer {
  const { privateKey, publicKey } = pair(alg, bits)
  return { alg, kid, privateKey, publicKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } }
}

function pair(alg: string, bits: number): { privateKey: KeyObject; publicKey: KeyObject } {
  if (alg === 'EdDSA' || alg === 'Ed25519') return generateKeyPairSync('ed25519')
  if (alg.startsWith('ES')) {
    return generateKeyPairSync('ec', { namedCurve: { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg]! })
  }
  return generateKeyPairSync('rsa', { modulusLength: bits })
}

/** A segment of a token: bytes, a text, or an object as JSON. */
export function segment(value: object | string | Uint8Array): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64url')
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

/** The signature of `alg` over these bytes (RFC 7518 3.1). */
export function signature(alg: string, key: KeyObject, input: string): Buffer {
  const data = Buffer.from(input)
  const hash = `sha${alg.slice(2)}`
  if (alg.startsWith('HS')) return createHmac(hash, key).update(data).digest()
  if (alg.startsWith('Ed')) return sign(null, data, key)
  if (alg.startsWith('ES')) return sign(hash, data, { key, dsaEncoding: 'ieee-p1363' })
  if (!alg.startsWith('PS')) return sign(hash, data, key)
  return sign(hash, data, {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  })
}

/** A token of exactly this header and payload, signed with `alg` whatever the header says. */
export function compact(
  header: object | string | Uint8Array,
  payload: object | string | Uint8Array,
  alg: string,
  key: KeyObject | Uint8Array,
): string {
  const input = `${segment(header)}.${segment(payload)}`
  const material = key instanceof Uint8Array ? createSecretKey(key) : key
  return `${input}.${signature(alg, material, input).toString('base64url')}`
}

/** A token as an honest issuer makes it: `claims` beside iss, sub, aud, iat and an exp in an hour. */
export function token(by: Signer, claims: object = {}, header: object = {}): string {
  return compact(
    { alg: by.alg, typ: 'JWT', kid: by.kid, ...header },
    { ...standard(), ...claims },
    by.alg,
    by.privateKey,
  )
}

/** Claims that every check is content with. */
export function standard(): Record<string, unknown> {
  const now = Math.floor(Date.now() / 1000)
  return { iss: 'https://id.test', aud: 'orders', sub: 'user-1', iat: now, exp: now + 3600 }
}
