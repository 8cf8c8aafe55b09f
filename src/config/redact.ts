// The configuration as the admin pages may show it: as it was written, without its secrets.
import type { Path } from './fault.ts'

/** What stands in a secret's place. */
export const REDACTED = '[redacted]'

const SECRET = /secret|password|token|keys?$|credential|authorization/i
/** `scheme://user:password@`, wherever it stands in a text. */
const USERINFO = /([a-z][a-z0-9+.-]*:\/\/)[^\s/?#]*@/gi
/** A short key can be guessed from its hash. */
const HASH = /\bsha256:[0-9a-f]{64}\b/gi
/** What a limit counts by is called `key` and is no secret: attributes, joined with `+`. */
const ATTRIBUTES = /^(?:client\.ip|route|host|path|method|consumer|(?:header|query|cookie|jwt)\.[\w-]+)(?:\+[\w.-]+)*$/

/** True for the name of an option or variable that holds a secret. */
export function isSecretName(name: string): boolean {
  return SECRET.test(name)
}

/**
 * A copy of raw configuration with `[redacted]` for every scalar, and every scalar in a list, under a key that is named
 * like a secret, for credentials in addresses, for hashes of keys, and for what came from a variable that is named like one.
 */
export function redact(
  value: unknown,
  substituted: readonly { readonly path: Path; readonly names: readonly string[] }[] = [],
): unknown {
  const hidden = new Set<string>()
  for (const { path, names } of substituted) if (names.some(isSecretName)) hidden.add(JSON.stringify(path))
  const path: (string | number)[] = []
  return copy(value, '')

  /** `name` is the key that the value, or the list that it is in, stands under. */
  function copy(from: unknown, name: string): unknown {
    if (Array.isArray(from)) return from.map((item, i) => step(i, item, name))
    if (typeof from === 'object' && from !== null) {
      return Object.fromEntries(Object.entries(from).map(([key, inner]) => [key, step(key, inner, key)]))
    }
    if (from === null || typeof from === 'boolean') return from
    if (hidden.size > 0 && hidden.has(JSON.stringify(path))) return REDACTED
    if (isSecretName(name) && !(name === 'key' && ATTRIBUTES.test(String(from)))) return REDACTED
    return typeof from === 'string' ? from.replace(USERINFO, `$1${REDACTED}@`).replace(HASH, REDACTED) : from
  }

  function step(key: string | number, inner: unknown, name: string): unknown {
    path.push(key)
    const copied = copy(inner, name)
    path.pop()
    return copied
  }
}
