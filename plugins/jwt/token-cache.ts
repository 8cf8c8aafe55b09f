// Tokens that were verified, found again for the price of one look-up: bounded, and no longer valid than their keys.
import type { Key } from './keys.ts'

/** What verifying found out about a good token, ready to be used by every request that brings it. */
export interface Verified {
  readonly claims: Readonly<Record<string, unknown>>
  readonly key: Key
  /** Milliseconds since the epoch until which this may be remembered; Infinity for a token without expiry. */
  readonly until: number
  readonly consumer: string | null
  /** False when the route asks more of the claims. */
  readonly allowed: boolean
  /** Headers for the upstream, flat. */
  readonly headers: readonly string[]
}

interface Entry {
  readonly text: string
  readonly verified: Verified
  used: boolean
}

/** Characters of a token's end that stand for it in the map: of a signature, so that two tokens rarely share them. */
const TAIL = 32

/**
 * See the head of this file. The whole text is compared on every hit; only its end is hashed, which costs a tenth.
 * Evicts by second chance: a hit marks its entry instead of moving it, and what was marked is passed over once.
 */
export class TokenCache {
  readonly #entries = new Map<string, Entry>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get size(): number {
    return this.#entries.size
  }

  /** What is known of this token at `now` (milliseconds since the epoch), or null. */
  get(text: string, now: number): Verified | null {
    const entry = this.#entries.get(text.slice(-TAIL))
    if (entry === undefined || entry.text !== text) return null
    const { verified } = entry
    if (now >= verified.until || !verified.key.live) {
      this.#entries.delete(text.slice(-TAIL))
      return null
    }
    entry.used = true
    return verified
  }

  /** Remember a token by its text. */
  set(text: string, verified: Verified): void {
    if (this.#limit === 0) return
    // The given text may be a slice of a whole request's head, which would be kept alive with it.
    const own = Buffer.from(text, 'latin1').toString('latin1')
    const tail = own.slice(-TAIL)
    if (!this.#entries.has(tail)) {
      while (this.#entries.size >= this.#limit) this.#evict()
    }
    this.#entries.set(tail, { text: own, verified, used: false })
  }

  #evict(): void {
    for (const [tail, entry] of this.#entries) {
      this.#entries.delete(tail)
      if (!entry.used || !entry.verified.key.live) return
      entry.used = false
      this.#entries.set(tail, entry)
    }
  }
}
