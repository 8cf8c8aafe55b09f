// Keys that a token's signature may be checked with, each bound to its kind and algorithm, and sets of them by key id.
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { decodeSegment } from './compact.ts'
import { isJsonObject } from './json-object.ts'

/** What an algorithm wants of a key: its kind, its curve, or for HS* the least bytes (RFC 7518 3.2). */
interface AlgorithmKind {
  readonly kty: 'RSA' | 'EC' | 'OKP' | 'oct'
  readonly crv?: string
  readonly bytes?: number
}

/** Algorithms that may be allowed: those of RFC 7518 3.1 and RFC 8037, without `none`. */
export const ALGORITHMS = {
  RS256: { kty: 'RSA' },
  RS384: { kty: 'RSA' },
  RS512: { kty: 'RSA' },
  PS256: { kty: 'RSA' },
  PS384: { kty: 'RSA' },
  PS512: { kty: 'RSA' },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  Ed25519: { kty: 'OKP', crv: 'Ed25519' },
  HS256: { kty: 'oct', bytes: 32 },
  HS384: { kty: 'oct', bytes: 48 },
  HS512: { kty: 'oct', bytes: 64 },
} as const satisfies Record<string, AlgorithmKind>

/** A name of the table above. */
export type Algorithm = keyof typeof ALGORITHMS

/** True for the algorithms whose key is a secret. */
export function isSymmetric(alg: Algorithm): boolean {
  return ALGORITHMS[alg].kty === 'oct'
}

/** One key. */
export class Key {
  /** What jose takes. */
  readonly material: KeyObject | Uint8Array
  readonly kid: string | undefined
  /** The one algorithm that it is for, when its owner says so. */
  readonly alg: string | undefined
  readonly kty: string
  readonly crv: string | undefined
  /** Two keys with one identity are the same key, under the same name, for the same use. */
  readonly identity: string
  /** False once it has left the set it came from: what was verified with it no longer counts. */
  live = true

  constructor(material: KeyObject | Uint8Array, kty: string, crv?: string, kid?: string, alg?: string) {
    this.material = material
    this.kty = kty
    this.crv = crv
    this.kid = kid
    this.alg = alg
    const bytes =
      material instanceof Uint8Array
        ? Buffer.from(material).toString('base64')
        : material.export({ type: 'spki', format: 'der' }).toString('base64')
    this.identity = JSON.stringify([kid ?? null, alg ?? null, bytes])
  }

  /** True when a signature with `alg` may be checked with this key (RFC 8725 3.1). */
  fits(alg: string): boolean {
    if (!Object.hasOwn(ALGORITHMS, alg)) return false
    if (this.alg !== undefined && this.alg !== alg) return false
    const kind: AlgorithmKind = ALGORITHMS[alg as Algorithm]
    if (kind.kty !== this.kty || kind.crv !== this.crv) return false
    return !(this.material instanceof Uint8Array) || this.material.length >= kind.bytes!
  }
}

/** Where the keys for a token are looked for. */
export interface KeyRing {
  /** Keys that fit, in order; empty when there is none. */
  find(kid: string | undefined, alg: string): readonly Key[]
  /** True when no further look elsewhere could find a key of this id. */
  knows(kid: string): boolean
}

/** The one key of an issuer: whatever `kid` a token names, there is no other. */
export class OneKey implements KeyRing {
  readonly #keys: readonly Key[]

  constructor(key: Key) {
    this.#keys = [key]
  }

  find(_kid: string | undefined, alg: string): readonly Key[] {
    return this.#keys.filter(key => key.fits(alg))
  }

  knows(): boolean {
    return true
  }
}

/** A token without `kid` is tried with at most this many keys of its kind. */
const MAX_TRIES = 4
/** Most keys in a set: issuers have two or three. */
const MAX_KEYS = 200

/** A JSON Web Key Set (RFC 7517 5). Compares ids as they are; a Map, so that no id is more than a text. */
export class KeySet implements KeyRing {
  readonly keys: readonly Key[]
  readonly #byId = new Map<string, Key[]>()
  readonly #ids: ReadonlySet<string>

  /** `ids` are those of all keys of the document, also of the ones that are not for checking signatures. */
  constructor(keys: readonly Key[], ids: ReadonlySet<string>) {
    this.keys = keys
    this.#ids = ids
    for (const key of keys) {
      if (key.kid === undefined) continue
      const same = this.#byId.get(key.kid)
      if (same === undefined) this.#byId.set(key.kid, [key])
      else same.push(key)
    }
  }

  find(kid: string | undefined, alg: string): readonly Key[] {
    const named = kid === undefined ? this.keys : (this.#byId.get(kid) ?? [])
    return named.filter(key => key.fits(alg)).slice(0, MAX_TRIES)
  }

  knows(kid: string): boolean {
    return this.#ids.has(kid)
  }

  /** This set with the very objects of `previous` for the keys that both have; the others of `previous` are ended. */
  succeed(previous: KeySet | null): KeySet {
    if (previous === null) return this
    const before = new Map(previous.keys.map(key => [key.identity, key]))
    const keys = this.keys.map(key => before.get(key.identity) ?? key)
    const kept = new Set(keys)
    for (const key of previous.keys) if (!kept.has(key)) key.live = false
    return new KeySet(keys, this.#ids)
  }

  /** None of its keys counts any more. */
  end(): void {
    for (const key of this.keys) key.live = false
  }
}

/** A key set that was read, and why some of its keys are left out. */
export interface ReadKeySet {
  readonly set: KeySet
  readonly leftOut: readonly string[]
}

/** Read a JWKS document. Throws an Error when it is none; single keys that cannot be used are left out (RFC 7517 5). */
export function readKeySet(document: unknown): ReadKeySet {
  if (!isJsonObject(document) || !Array.isArray(document.keys))
    throw new Error('it is no JWKS: there is no list "keys"')
  // One odd entry is left out; nothing but odd ones is another document, for which no key is given up.
  if (document.keys.length > 0 && !document.keys.some(isJsonObject))
    throw new Error('it is no JWKS: no entry of "keys" is an object')
  if (document.keys.length > MAX_KEYS) throw new Error(`it holds more than ${MAX_KEYS} keys`)
  const keys: Key[] = []
  const ids = new Set<string>()
  const leftOut: string[] = []
  for (const [i, jwk] of document.keys.entries()) {
    if (!isJsonObject(jwk)) {
      leftOut.push(`keys[${i}] is no object`)
      continue
    }
    if (typeof jwk.kid === 'string') ids.add(jwk.kid)
    try {
      keys.push(publicKey(jwk))
    } catch (error) {
      leftOut.push(`keys[${i}] ${(error as Error).message}`)
    }
  }
  return { set: new KeySet(keys, ids), leftOut }
}

/** Make a key of a JWK. Throws an Error that says why it cannot check signatures. */
function publicKey(jwk: Readonly<Record<string, unknown>>): Key {
  const { kty, use, key_ops: operations, kid, alg } = jwk
  if (kty === 'oct') throw new Error('is symmetric: a secret has no place in a key set')
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') throw new Error('is of an unknown kind')
  if (kid !== undefined && typeof kid !== 'string') throw new Error('has a kid that is no text')
  if (alg !== undefined && typeof alg !== 'string') throw new Error('has an alg that is no text')
  if (use !== undefined && use !== 'sig') throw new Error('is not for signatures (use)')
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    throw new Error('is not for checking signatures (key_ops)')
  if (jwk.d !== undefined) throw new Error('is a private key')
  const members = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] }[kty]
  const shown: Record<string, unknown> = { kty }
  for (const name of members) {
    if (typeof jwk[name] !== 'string') throw new Error(`has no ${name}`)
    shown[name] = jwk[name]
  }
  let material: KeyObject
  try {
    // OpenSSL refuses a point that is not on its curve.
    material = createPublicKey({ key: shown as JsonWebKey, format: 'jwk' })
  } catch {
    throw new Error('is malformed')
  }
  return fromKeyObject(material, kid, alg)
}

/** Make a key of a PEM text: a public key or a certificate. Throws an Error that says what is wrong. */
export function publicKeyFromPem(pem: string): Key {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) throw new Error('is a private key; give the public one')
  let material: KeyObject
  try {
    material = createPublicKey(pem)
  } catch {
    throw new Error('holds no public key in PEM form')
  }
  return fromKeyObject(material, undefined, undefined)
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }

function fromKeyObject(material: KeyObject, kid: string | undefined, alg: string | undefined): Key {
  const { modulusLength = 0, publicExponent = 0n, namedCurve = '' } = material.asymmetricKeyDetails ?? {}
  switch (material.asymmetricKeyType) {
    case 'rsa':
      // RFC 7518 3.3; an exponent of 1 makes every text its own signature, an even one none at all.
      if (modulusLength < 2048) throw new Error(`has ${modulusLength} bits: RSA keys need 2048`)
      if (modulusLength > 8192) throw new Error(`has ${modulusLength} bits: RSA keys may have 8192`)
      if (publicExponent <= 1n || publicExponent % 2n === 0n) throw new Error('has a public exponent that is 1 or even')
      if (isRoca(material)) throw new Error('is of a make whose keys can be factored (CVE-2017-15361)')
      return new Key(material, 'RSA', undefined, kid, alg)
    case 'ec': {
      const crv = CURVES[namedCurve]
      if (crv === undefined) throw new Error(`is on the curve ${namedCurve}: P-256, P-384 or P-521 is due`)
      return new Key(material, 'EC', crv, kid, alg)
    }
    case 'ed25519':
      return new Key(material, 'OKP', 'Ed25519', kid, alg)
    default:
      throw new Error(`is of the kind ${material.asymmetricKeyType}: RSA, EC or Ed25519 is due`)
  }
}

/** Primes by which keys of the broken generator are told: modulo each, their moduli are powers of 65537. */
const ROCA_PRIMES = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157]

/** True for a key of the generator of CVE-2017-15361 (one honest key in 100 million looks like one). */
function isRoca(key: KeyObject): boolean {
  const { n } = key.export({ format: 'jwk' })
  const modulus = BigInt(`0x${Buffer.from(n!, 'base64url').toString('hex')}`)
  return ROCA_PRIMES.every(prime => {
    const rest = Number(modulus % BigInt(prime))
    for (let power = 1, i = 0; i < prime; i++, power = (power * 65537) % prime) if (power === rest) return true
    return false
  })
}

/** Bytes of a secret as it stands in the configuration; null when `base64url:` is followed by something else. */
export function secretBytes(text: string): Uint8Array | null {
  if (!text.startsWith('base64url:')) return Buffer.from(text, 'utf8')
  return decodeSegment(text.slice('base64url:'.length))
}
