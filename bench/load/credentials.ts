// A key pair and a token of it, for scenarios with JWTs.
import { generateKeyPairSync, sign } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

/** What proxies check and clients show. */
export interface Credentials {
  /** File with the key set, for Sluice. */
  readonly jwksFile: string
  /** File with the public key in PEM form, for HAProxy. */
  readonly pemFile: string
  /** Value of the Authorization field. */
  readonly authorization: string
}

/** Make an RS256 key of 2048 bits and a token that is good for a day. */
export function makeCredentials(folder: string): Credentials {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwksFile = path.join(folder, 'keys.json')
  const pemFile = path.join(folder, 'key.pem')
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'RS256', use: 'sig' }
  fs.writeFileSync(jwksFile, JSON.stringify({ keys: [jwk] }))
  fs.writeFileSync(pemFile, publicKey.export({ format: 'pem', type: 'spki' }))
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: 'bench', aud: 'bench', sub: 'user-4711', iat: now, exp: now + 86_400 }
  const text = `${part({ alg: 'RS256', typ: 'JWT', kid: 'bench' })}.${part(claims)}`
  const signature = sign('RSA-SHA256', Buffer.from(text), privateKey).toString('base64url')
  return { jwksFile, pemFile, authorization: `Bearer ${text}.${signature}` }
}

/** The plugin jwt that takes such tokens, as an entry of a YAML list. */
export function jwtEntry({ jwksFile }: Credentials): string {
  return `{ jwt: { issuers: [{ issuer: bench, audiences: [bench], algorithms: [RS256], jwksFile: ${JSON.stringify(jwksFile)} }] } }`
}
