// Hashes of API keys and whose they are: read from the YAML or a file, asked with a key that a client presents.
import crypto, { timingSafeEqual } from 'node:crypto'

/** A hashed key as it is written. */
export const HASHED = /^[Ss][Hh][Aa]256:[0-9A-Fa-f]{64}$/

/** A name that a consumer may have: what fits a header, a metric and a log line. */
export const CONSUMER = /^[\w.@:+-]{1,128}$/

/** How to come from a key to what is written. */
export const HINT = "write its hash, sha256: and 64 hex digits, which `printf %s 'KEY' | sha256sum` gives"

interface Owner {
  readonly consumer: string
  readonly digest: Buffer
}

/** See the head of this file. */
export class KeyTable {
  readonly #owners = new Map<string, Owner>()

  get size(): number {
    return this.#owners.size
  }

  /** Note `hashed` (HASHED) as a key of `consumer`. The name of the other when it is already another's. */
  add(hashed: string, consumer: string): string | null {
    const hex = hashed.slice('sha256:'.length).toLowerCase()
    const other = this.#owners.get(hex)
    if (other !== undefined && other.consumer !== consumer) return other.consumer
    this.#owners.set(hex, { consumer, digest: Buffer.from(hex, 'hex') })
    return null
  }

  /** Add all keys of another table. The first consumer whose key is already another's, or null. */
  addAll(from: KeyTable): string | null {
    for (const [hex, { consumer }] of from.#owners) {
      if (this.add(`sha256:${hex}`, consumer) !== null) return consumer
    }
    return null
  }

  /**
   * Whose key this is, or null. Finding the hash in a map tells nothing by its time: to come closer to a known hash
   * one would have to choose keys by their hashes, and how far two of those agree says nothing about the keys. The
   * comparison that decides is in constant time all the same.
   */
  consumer(key: Buffer): string | null {
    const hex = crypto.hash('sha256', key, 'hex')
    const owner = this.#owners.get(hex)
    if (owner === undefined) return null
    return timingSafeEqual(owner.digest, Buffer.from(hex, 'hex')) ? owner.consumer : null
  }
}

const LINE = /^(?:"([^"]*)"|'([^']*)'|([^\s"'#:][^\s:#]*))\s*:\s*(?:"([^"]*)"|'([^']*)'|(\S+))\s*(?:#.*)?$/

/**
 * Read a key file: lines of `consumer: sha256:…`, as YAML or JSON would quote them or bare; empty lines and comments.
 * A consumer may have several lines. Throws an Error naming the line, never its text, which may hold a plain key.
 */
export function readKeyFile(text: string): KeyTable {
  const table = new KeyTable()
  for (const [i, line] of text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .entries()) {
    const bare = line.trim()
    if (bare === '' || bare.startsWith('#') || bare === '---') continue
    const found = LINE.exec(bare)
    const fail = (message: string) => new Error(`line ${i + 1}: ${message}`)
    if (found === null) throw fail('`consumer: sha256:…` is due')
    const consumer = found[1] ?? found[2] ?? found[3] ?? ''
    const hashed = found[4] ?? found[5] ?? found[6] ?? ''
    if (!CONSUMER.test(consumer)) throw fail('a consumer is named with letters, digits and .@:+-_')
    if (!HASHED.test(hashed)) throw fail(`a key is not written plainly: ${HINT}`)
    const other = table.add(hashed, consumer)
    if (other !== null) throw fail(`this key is already one of ${other}`)
  }
  return table
}
