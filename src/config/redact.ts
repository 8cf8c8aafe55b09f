// What the admin pages and faults may show of the configuration: as it was written, without its secrets.

import { quote } from '../nearest.ts'
import { isUserPlugin } from '../pipeline/catalog.ts'
import { isRecord, valueAt } from '../value-at.ts'
import type { Path } from './fault.ts'
import type { Substitution } from './tree.ts'

/** What stands in a secret's place. */
export const REDACTED = '[redacted]'

/** Parts of names that mean a secret wherever they stand: apiToken, DB_PASSWORD, AWS_ACCESS_KEY_ID, JSESSIONID. */
const SECRET =
  /secret|passw(?:or)?d|passphrase|(?:pass|pwd|keys?)$|access[-_]?key|token|credential|authorization|signature|sess(?:ion)?[-_]?id|^x-auth/i
/** Words that mean one unless the name goes on to say where something is: AUTH_URL, SESSION_COOKIE_NAME. */
const WORDS = new Set([
  ...['pass', 'pwd', 'pw', 'auth', 'oauth', 'cred', 'creds', 'private'],
  ...['cookie', 'session', 'sess', 'sid', 'sig', 'bearer'],
])
const PLACES = new Set([
  ...['url', 'uri', 'host', 'hostname', 'port', 'address', 'addr', 'endpoint', 'service', 'domain', 'issuer'],
  ...['name', 'path'],
])
/** What a limit counts by is called `key` and is no secret: attributes, joined with `+`. */
const ATTRIBUTES =
  /^(?:all|client\.ip|route|host|path|method|consumer|(?:header|query|cookie|jwt)\.[\w-]+)(?:\+[\w.-]+)*$/

// Each of these takes time that is linear in the text, whatever it holds: what one try reads, no other does.
/** `scheme://user:password@`, wherever it stands in a text. */
const USERINFO = /(^|:)\/\/[^\s/?#]*@/g
/** A parameter of a query. */
const PARAMETER = /([?&])([^=&?#\s]*)=([^&#\s"]*)/g
/** A signed or encrypted JWT: three to five parts, the first of which is JSON in base64url. */
const JWT = /(?<![\w-])eyJ[\w-]*(?:\.[\w-]*){2,4}/g
/** A short key can be guessed from its hash. */
const HASH = /\bsha256:[0-9a-f]{64}\b/gi

/**
 * True for the name of an option, header, cookie, query parameter or variable that holds a secret. A file of secrets
 * and a bound on them (`tokenFile`, `maxKeys`) hold none.
 */
export function isSecretName(name: string): boolean {
  const bare = name.replace(/^(?:header|query|cookie|jwt)\./, '')
  const words = bare
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
  const last = words.at(-1)!
  if (last === 'file' || words[0] === 'max') return false
  return SECRET.test(bare) || (words.some(word => WORDS.has(word)) && !PLACES.has(last))
}

/** What tells no secret though its name sounds like one. */
function isPlain(name: string, value: string): boolean {
  if (value === 'present' || value === 'absent') return true
  // The name of a cookie; with `=` it is the cookie.
  if (/^(?:set-)?cookie$/i.test(name)) return !value.includes('=')
  return name === 'key' && ATTRIBUTES.test(value)
}

/** Is a scalar that stands under this key a secret? */
function isSecret(name: string, value: unknown): boolean {
  return isSecretName(name) && !isPlain(name, String(value))
}

/** A text without credentials in addresses, parameters named like secrets, tokens and hashes of keys. */
export function redactText(text: string): string {
  return text
    .replace(USERINFO, `$1//${REDACTED}@`)
    .replace(PARAMETER, (whole, mark: string, name: string) =>
      isSecretName(name) ? `${mark}${name}=${REDACTED}` : whole,
    )
    .replace(JWT, REDACTED)
    .replace(HASH, REDACTED)
}

/**
 * A copy of raw configuration with `[redacted]` for every scalar, and every scalar in a list, under a key that is named
 * like a secret, for what came from a variable that is named like one, and in texts for what `redactText` takes out.
 */
export function redact(value: unknown, substituted: readonly Pick<Substitution, 'path' | 'names'>[] = []): unknown {
  const hidden = new Set<string>()
  for (const { path, names } of substituted) if (names.some(isSecretName)) hidden.add(JSON.stringify(path))
  const path: (string | number)[] = []
  return copy(value, '')

  /** `name` is the key that the value, or the list that it is in, stands under. */
  function copy(from: unknown, name: string): unknown {
    if (Array.isArray(from)) return from.map((item, i) => step(i, item, name))
    if (isRecord(from)) {
      return Object.fromEntries(Object.entries(from).map(([key, inner]) => [key, step(key, inner, key)]))
    }
    if (from === null || typeof from === 'boolean') return from
    if (hidden.size > 0 && hidden.has(JSON.stringify(path))) return REDACTED
    if (isSecret(name, from)) return REDACTED
    return typeof from === 'string' ? redactText(from) : from
  }

  function step(key: string | number, inner: unknown, name: string): unknown {
    path.push(key)
    const copied = copy(inner, name)
    path.pop()
    return copied
  }
}

/** So much of a secret in a row is not told. */
const PIECE = 4

/** Takes the secrets of a configuration out of what is said of it: `path` is the place that a message is about. */
export function concealer(raw: unknown, substituted: readonly Substitution[]): (message: string, path: Path) => string {
  const secrets = substituted.filter(({ names }) => names.some(isSecretName))
  return (message, path) => {
    const about = valueAt(raw, path)
    // Only then: an example of ours may hold a password too.
    let told = typeof about === 'string' && redactText(about) !== about ? redactText(message) : message
    const own = secretAt(path)
    for (const text of [...secrets.map(secret => secret.text), ...secretsOfModule(path), own ?? '']) {
      if (text === '') continue
      told = told.replaceAll(quote(text), REDACTED)
      // A shorter one is a part of other words by chance.
      if (text.length >= PIECE) told = told.replaceAll(text, REDACTED)
    }
    return own !== null && repeats(told, own) ? 'cannot be used; its value is a secret and not shown' : told
  }

  /** A module of a user says what it likes of its options: all secrets among them, where the place is one of its. */
  function secretsOfModule(path: Path): string[] {
    const at = path.findIndex(key => typeof key === 'string' && isUserPlugin(key))
    return at === -1 ? [] : secretsIn(valueAt(raw, path.slice(0, at + 1)), '')
  }

  /** The secret that stands at the place, or around it; null where there is none. */
  function secretAt(path: Path): string | null {
    const around = secrets.find(secret => secret.path.every((key, i) => path[i] === key))
    if (around !== undefined) return around.text
    const value = valueAt(raw, path)
    if (typeof value !== 'string' && typeof value !== 'number') return null
    const name = path.findLast(key => typeof key === 'string') ?? ''
    // A `key` may be an attribute or a file as well, and a typo in one has to be seen.
    const secret = name !== 'key' && isSecret(name, value)
    // How it is written is no part of it.
    return secret ? String(value).replace(/^base64url:/, '') : null
  }
}

/** Every text and number under a key that is named like a secret; `name` is the key that the value stands under. */
function secretsIn(value: unknown, name: string): string[] {
  if (Array.isArray(value)) return value.flatMap(item => secretsIn(item, name))
  if (isRecord(value)) return Object.entries(value).flatMap(([key, inner]) => secretsIn(inner, key))
  if (typeof value !== 'string' && typeof value !== 'number') return []
  return isSecret(name, value) ? [String(value)] : []
}

/** Does a message hold a piece of a text? Faults quote what they could not read, and no more than its beginning. */
function repeats(message: string, text: string): boolean {
  const last = Math.min(text.length, 200) - PIECE
  for (let i = 0; i <= last; i++) if (message.includes(text.slice(i, i + PIECE))) return true
  return false
}
