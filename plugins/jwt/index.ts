// jwt: who is this? Takes a request's token, has it verified once, and tells upstream and other plugins what it says.
import {
  checkAttribute,
  compileAttribute,
  compileClaim,
  definePlugin,
  type Exchange,
  type Plugin,
  type PluginContext,
  type Reply,
} from '../../src/plugin-api.ts'
import { challenge, forbidden, refusal } from './challenge.ts'
import { compileRequirements } from './claims.ts'
import { type Clock, systemClock } from './clock.ts'
import { mediaType } from './compact.ts'
import { type Issuer, isCurrent, readIssuer } from './issuer.ts'
import { acquireJwks, type JwksLease, type JwksObserver, type JwksSource } from './jwks.ts'
import { type JwtOptions, options } from './options.ts'
import { TokenCache, type Verified } from './token-cache.ts'
import { SEVERAL, tokenSource } from './token-source.ts'
import { type Refused, Verifier } from './verifier.ts'

const TWO_TOKENS: Refused = { refused: 'the request carries more than one token', retryAfter: null }

/** Make an instance; its time comes from `clock`. */
export function createJwt(given: JwtOptions, context: PluginContext, clock: Clock = systemClock): Plugin {
  const issuers = given.issuers.map((entry, i) => readIssuer(entry, i, context.baseDir))
  const from = given.from.map(tokenSource)
  const forwards = Object.entries(given.forward.claims).map(([name, header]) => ({ claim: compileClaim(name), header }))
  const { optional } = given
  const strip = given.forward.token === 'strip'
  const cache = new TokenCache(given.cache)
  const count = {
    verified: context.counter('verified'),
    anonymous: context.counter('anonymous'),
    missing: context.counter('missing'),
    invalid: context.counter('invalid'),
    forbidden: context.counter('forbidden'),
    unavailable: context.counter('unavailable'),
    jwks_refreshed: context.counter('jwks_refreshed'),
    jwks_failed: context.counter('jwks_failed'),
  }
  const observer: JwksObserver = { log: context.log, count: event => count[event]() }
  // Last, because from here on there is something to close.
  const leases: JwksLease[] = []
  const sources = new Map<Issuer, JwksSource>()
  for (const issuer of issuers) {
    if (issuer.jwks === null) continue
    const lease = acquireJwks(issuer.jwks, observer, clock)
    leases.push(lease)
    sources.set(issuer, lease.source)
  }
  const verifier = new Verifier({
    issuers,
    sources,
    types: new Set(given.types.map(mediaType)),
    leeway: given.leeway,
    requireExp: given.require.exp,
    allows: compileRequirements(given.require.claims),
    forwards,
    clock,
  })

  /** Take out what must not reach the upstream from the client, known or anonymous: tokens, and headers only set here. */
  function disown(x: Exchange): void {
    if (strip) for (const source of from) source.strip(x)
    for (let i = 0; i < forwards.length; i++) x.removeRequestHeader(forwards[i]!.header)
  }

  function admit(x: Exchange, { allowed, claims, consumer, headers }: Verified): Reply | undefined {
    if (!allowed) {
      count.forbidden()
      return forbidden(x)
    }
    x.claims = claims
    if (consumer !== null) x.consumer = consumer
    disown(x)
    // Made when the token was verified, of what a field can carry.
    for (let i = 0; i < headers.length; i += 2) x.addProven(x.head.headers, headers[i]!, headers[i + 1]!)
    return undefined
  }

  function refuse(x: Exchange, refused: Refused): Reply {
    if (refused.retryAfter === null) count.invalid()
    else count.unavailable()
    return refusal(x, refused)
  }

  function verify(x: Exchange, token: string): Reply | Promise<Reply | undefined> {
    const result = verifier.verify(token)
    if (!(result instanceof Promise)) return refuse(x, result)
    return result.then(outcome => {
      if ('refused' in outcome) return refuse(x, outcome)
      count.verified()
      if (clock.now() < outcome.until) cache.set(token, outcome)
      return admit(x, outcome)
    })
  }

  return {
    authenticates: true,
    onRequest(x) {
      for (let i = 0; i < from.length; i++) {
        const source = from[i]!
        const text = source.read(x)
        if (text === undefined || text === '') continue
        if (text === SEVERAL) return refuse(x, TWO_TOKENS)
        const token = source.tokenIn(text)
        if (token === null) continue
        const known = cache.get(token, clock.now())
        return known === null ? verify(x, token) : admit(x, known)
      }
      if (!optional) {
        count.missing()
        return challenge(x)
      }
      count.anonymous()
      disown(x)
      return undefined
    },
    inspect: () => ({
      cached: cache.size,
      issuers: issuers.map(issuer => {
        const source = sources.get(issuer)
        return {
          issuer: issuer.issuer,
          ...(source !== undefined && {
            jwks: source.place,
            keys: source.current?.keys.length ?? 0,
            fetchedAt: source.fetchedAt === 0 ? null : new Date(source.fetchedAt).toISOString(),
            failingSince: source.failingSince === 0 ? null : new Date(source.failingSince).toISOString(),
          }),
        }
      }),
    }),
    current: () => issuers.every((issuer, i) => isCurrent(issuer, given.issuers[i]!, context.baseDir)),
    close() {
      for (const lease of leases) lease.release()
    },
  }
}

export default definePlugin({
  name: 'jwt',
  description: 'Verifies JSON Web Tokens, asks something of their claims, and tells the upstream who it is.',
  options,
  check(given, { baseDir, part }) {
    // A field of the connection or of framing reaches no plugin.
    for (const [i, text] of given.from.entries()) part(() => checkAttribute(['from', i], () => compileAttribute(text)))
    for (const [i, entry] of given.issuers.entries()) part(() => void readIssuer(entry, i, baseDir))
  },
  vouches: true,
  create: (given, context) => createJwt(given, context),
})
