// One entry of `issuers`: whose tokens it speaks for, and its keys, read and held against the algorithms at load.
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { PluginOptionsError } from '../../src/plugin-api.ts'
import {
  ALGORITHMS,
  type Algorithm,
  Key,
  type KeyRing,
  OneKey,
  publicKeyFromPem,
  readKeySet,
  secretBytes,
} from './keys.ts'
import type { IssuerOptions } from './options.ts'

/** Algorithms of an entry that names none. */
const PUBLIC: readonly Algorithm[] = ['RS256', 'ES256', 'EdDSA']
const SECRET: readonly Algorithm[] = ['HS256']
/** Largest file of keys, in bytes. */
const MAX_FILE = 1024 * 1024

/** An entry that is fit for use, but for keys that are yet to be fetched. */
export interface Issuer {
  /** Null: takes the tokens of any issuer that no other entry names. */
  readonly issuer: string | null
  readonly audiences: readonly string[] | null
  readonly algorithms: ReadonlySet<string>
  /** Keys at hand; null when `jwks` says where to fetch them. */
  readonly keys: KeyRing | null
  readonly jwks: string | null
  /** What the file with the keys said; null without one. */
  readonly text: string | null
}

/** Read one entry and its files. Throws PluginOptionsError with a path inside the plugin's options. */
export function readIssuer(options: IssuerOptions, index: number, baseDir: string): Issuer {
  const at = ['issuers', index]
  const given = options.algorithms ?? null
  const text = keyText(options, at, baseDir)
  const issuer = (algorithms: readonly Algorithm[], keys: KeyRing | null): Issuer => ({
    issuer: options.issuer ?? null,
    audiences: options.audiences ?? null,
    algorithms: new Set(algorithms),
    keys,
    jwks: options.jwks ?? null,
    text,
  })
  if (options.secret !== undefined) {
    const bytes = secretBytes(options.secret)
    if (bytes === null) throw new PluginOptionsError('what follows base64url: is no base64url', [...at, 'secret'])
    return issuer(given ?? SECRET, new OneKey(new Key(bytes, 'oct')))
  }
  if (options.jwks !== undefined) return issuer(given ?? PUBLIC, null)
  if (options.key !== undefined) return fromPem(text ?? options.key)
  return fromFile(options.jwksFile!, text!)

  function fromPem(pem: string): Issuer {
    const path = [...at, 'key']
    const key = attempt(path, () => publicKeyFromPem(pem))
    const fitting = (Object.keys(ALGORITHMS) as Algorithm[]).filter(alg => key.fits(alg))
    const wrong = given?.find(alg => !key.fits(alg))
    if (wrong !== undefined) {
      throw new PluginOptionsError(`${wrong} does not fit this key: ${fitting.join(', ')} would`, [...at, 'algorithms'])
    }
    const algorithms = given ?? PUBLIC.filter(alg => key.fits(alg))
    if (algorithms.length === 0) {
      throw new PluginOptionsError(`this key needs algorithms: [${fitting.join(', ')}]`, path)
    }
    return issuer(algorithms, new OneKey(key))
  }

  function fromFile(file: string, text: string): Issuer {
    const path = [...at, 'jwksFile']
    let document: unknown
    try {
      document = JSON.parse(text)
    } catch {
      throw new PluginOptionsError(`${file} is no JSON`, path)
    }
    const { set, leftOut } = attempt(path, () => readKeySet(document))
    // A published set may hold all sorts of keys; a file of one's own that holds a secret is a mistake.
    const secret = leftOut.find(text => /symmetric|private/.test(text))
    if (secret !== undefined) throw new PluginOptionsError(`${file}: ${secret}`, path)
    const algorithms = given ?? PUBLIC
    if (!algorithms.some(alg => set.keys.some(key => key.fits(alg)))) {
      const why = leftOut.length === 0 ? '' : ` (${leftOut.join('; ')})`
      throw new PluginOptionsError(`${file} holds no key for ${algorithms.join(', ')}${why}`, path)
    }
    return issuer(algorithms, set)
  }
}

/** False when the file with its keys can no longer be read, or says something else than it did. */
export function isCurrent({ text }: Issuer, options: IssuerOptions, baseDir: string): boolean {
  try {
    return keyText(options, [], baseDir) === text
  } catch {
    return false
  }
}

/** The text of the file that an entry names; null where it names none. Throws PluginOptionsError. */
function keyText({ key, jwksFile }: IssuerOptions, at: readonly (string | number)[], baseDir: string): string | null {
  if (jwksFile !== undefined) return read(baseDir, jwksFile, [...at, 'jwksFile'])
  if (key === undefined || key.trimStart().startsWith('-----BEGIN')) return null
  return read(baseDir, key, [...at, 'key'])
}

function read(baseDir: string, file: string, path: readonly (string | number)[]): string {
  const full = resolve(baseDir, file)
  try {
    const found = statSync(full)
    if (!found.isFile()) throw new Error('it is no file')
    if (found.size > MAX_FILE) throw new Error('it is larger than 1 MiB')
    // It takes off a byte order mark, with which Windows writes files.
    return new TextDecoder().decode(readFileSync(full))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new PluginOptionsError(
      `${file} cannot be read: ${code === 'ENOENT' ? 'there is no such file' : message}`,
      path,
    )
  }
}

function attempt<T>(path: readonly (string | number)[], make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw new PluginOptionsError(`the key ${(error as Error).message}`.replace('the key it ', 'it '), path)
  }
}
