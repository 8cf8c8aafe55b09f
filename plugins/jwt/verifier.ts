// From the text of a token to what it proves, or to why it does not: all checks in their order, none of them cached.
import { type Forward, forwardedHeaders, isForUs, type Requirement, timeFault } from './claims.ts'
import type { Clock } from './clock.ts'
import { type CompactToken, freeze, parseClaims, parseCompact } from './compact.ts'
import type { Issuer } from './issuer.ts'
import type { JsonObject } from './json-object.ts'
import type { JwksSource } from './jwks.ts'
import type { Key, KeyRing } from './keys.ts'
import { signer } from './signature.ts'
import type { Verified } from './token-cache.ts'

/** A token that proves nothing. `retryAfter` in seconds: nobody can tell, because there are no keys yet. */
export interface Refused {
  readonly refused: string
  readonly retryAfter: number | null
}

/** What a verifier goes by. */
export interface VerifierRules {
  readonly issuers: readonly Issuer[]
  /** Sources of the issuers that have `jwks`. */
  readonly sources: ReadonlyMap<Issuer, JwksSource>
  /** Accepted types as `mediaType` gives them. */
  readonly types: ReadonlySet<string>
  /** In milliseconds. */
  readonly leeway: number
  readonly requireExp: boolean
  readonly allows: Requirement
  readonly forwards: readonly Forward[]
  readonly clock: Clock
}

const refuse = (refused: string): Refused => ({ refused, retryAfter: null })

const MALFORMED = refuse('the token is malformed')
// One text for key, algorithm and signature: which of them it was would help only a forger (RFC 8725 3.1).
const UNPROVEN = refuse('the token cannot be verified')
const FOREIGN = refuse('the token is from another issuer')
const WRONG_TYPE = refuse('the token is of another type')
const NOT_FOR_US = refuse('the token is for another audience')
const UNSPEAKABLE = refuse('a claim of the token cannot be passed on')

/** See the head of this file. */
export class Verifier {
  readonly #rules: VerifierRules
  readonly #byName = new Map<string, Issuer>()
  readonly #any: Issuer | null

  constructor(rules: VerifierRules) {
    this.#rules = rules
    for (const issuer of rules.issuers) if (issuer.issuer !== null) this.#byName.set(issuer.issuer, issuer)
    this.#any = rules.issuers.find(issuer => issuer.issuer === null) ?? null
  }

  /** Verify a token. What needs no key is decided at once; rejects only on a defect. */
  verify(text: string): Refused | Promise<Verified | Refused> {
    const token = parseCompact(text)
    const claims = token === null ? null : parseClaims(token)
    if (token === null || claims === null) return MALFORMED
    if (token.typ !== undefined && !this.#rules.types.has(token.typ)) return WRONG_TYPE
    const { iss } = claims
    if (iss !== undefined && typeof iss !== 'string') return MALFORMED
    // Unverified: it only picks whose keys the signature must be of, and no entry has another's keys.
    const issuer = (iss === undefined ? undefined : this.#byName.get(iss)) ?? this.#any
    if (issuer === null) return FOREIGN
    if (!issuer.algorithms.has(token.alg)) return UNPROVEN
    return this.#prove(token, claims, issuer)
  }

  async #prove(token: CompactToken, claims: JsonObject, issuer: Issuer): Promise<Verified | Refused> {
    const found = await this.#keys(token, issuer)
    if (!Array.isArray(found)) return found as Refused
    const key = await signer(token, found)
    // It may have left its set while the signature was checked.
    return key === null || !key.live ? UNPROVEN : this.#judge(claims, issuer, key)
  }

  /** Keys of the issuer that fit; waits for those that are being fetched. */
  async #keys({ kid, alg }: CompactToken, issuer: Issuer): Promise<readonly Key[] | Refused> {
    if (issuer.keys !== null) return issuer.keys.find(kid, alg)
    const source = this.#rules.sources.get(issuer)!
    if (source.current === null) await source.first
    // A fetch that was under way may have begun before the key was published: so one more look is worth it.
    for (let looks = 0; ; looks++) {
      const keys: KeyRing | null = source.current
      if (keys === null) return { refused: 'the keys of the issuer are not known yet', retryAfter: source.retryAfter }
      const again = kid === undefined || keys.knows(kid) || looks === 2 ? null : source.lookAgain()
      if (again === null) return keys.find(kid, alg)
      await again
    }
  }

  /** The signature is good: what do the claims say? */
  #judge(claims: JsonObject, issuer: Issuer, key: Key): Verified | Refused {
    const { leeway, requireExp, allows, forwards, clock } = this.#rules
    const fault = timeFault(claims, clock.now(), leeway, requireExp)
    if (fault !== null) return refuse(fault)
    if (!isForUs(claims.aud, issuer.audiences)) return NOT_FOR_US
    const headers = forwardedHeaders(claims, forwards)
    if (headers === null) return UNSPEAKABLE
    const { sub, exp } = claims
    return {
      claims: freeze(claims),
      key,
      until: exp === undefined ? Number.POSITIVE_INFINITY : (exp as number) * 1000,
      consumer: typeof sub === 'string' ? sub : null,
      allowed: allows(claims),
      headers,
    }
  }
}
