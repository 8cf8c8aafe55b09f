// The options of jwt, and what of them can be judged without reading a file.
import { duration, fieldName, GATEWAY_FIELDS, z } from '../../src/plugin-api.ts'
import { isExact } from './claims.ts'
import { ALGORITHMS, type Algorithm, isSymmetric, secretBytes } from './keys.ts'
import { SOURCE } from './token-source.ts'

const names = Object.keys(ALGORITHMS) as [Algorithm, ...Algorithm[]]

const KEY_SOURCES = ['jwks', 'secret', 'key', 'jwksFile'] as const

/** Adds a fault at a path below the value. */
type Complain = (message: string, ...path: (string | number)[]) => void

const issuer = z
  .strictObject({
    issuer: z.string().min(1).optional().describe('The `iss` of its tokens; one entry without it takes any other.'),
    jwks: z
      .string()
      .optional()
      .describe('URL of its JWKS: fetched at start, refreshed every 10 minutes or by Cache-Control.'),
    secret: z
      .string()
      .optional()
      .describe('Shared secret for HS256, HS384, HS512, at least as long as the hash; `base64url:…` for bytes.'),
    key: z.string().min(1).optional().describe('File with its public key or certificate in PEM form.'),
    jwksFile: z.string().min(1).optional().describe('File with its JWKS.'),
    audiences: z
      .array(z.string().min(1))
      .min(1)
      .optional()
      .describe('A token must name one of these in `aud`; absent: any token of the issuer.'),
    algorithms: z
      .array(
        z.enum(names, {
          error: ({ input }) =>
            typeof input === 'string' && input.toLowerCase() === 'none'
              ? 'none is never allowed: it is no signature'
              : `is no algorithm that can be allowed; use ${names.join(', ')}`,
        }),
      )
      .min(1)
      .optional()
      .describe('Algorithms allowed. Default: RS256, ES256, EdDSA; HS256 with a secret.'),
  })
  .superRefine((entry, context) => {
    const complain: Complain = (message, ...path) => context.addIssue({ code: 'custom', message, path })
    const given = KEY_SOURCES.filter(name => entry[name] !== undefined)
    if (given.length === 0) complain(`one of ${KEY_SOURCES.join(', ')} is due`)
    if (given.length > 1) complain(`${given.join(' and ')} exclude each other`, given[1]!)
    if (given.length !== 1) return
    if (entry.secret === undefined) {
      const wrong = entry.algorithms?.findIndex(isSymmetric) ?? -1
      if (wrong >= 0) complain(`${entry.algorithms![wrong]} takes a secret, not a public key`, 'algorithms', wrong)
    } else secretFaults(entry.secret, entry.algorithms ?? ['HS256'], complain)
    if (entry.jwks !== undefined) urlFaults(entry.jwks, complain)
  })

/** One entry of `issuers` as the schema gives it. */
export type IssuerOptions = z.output<typeof issuer>

function secretFaults(secret: string, algorithms: readonly Algorithm[], complain: Complain): void {
  const wrong = algorithms.findIndex(alg => !isSymmetric(alg))
  if (wrong >= 0) complain(`${algorithms[wrong]} takes a public key, not a secret`, 'algorithms', wrong)
  const looks = secret.trimStart()
  if (looks.startsWith('-----BEGIN') || /^\{.*"kty"/s.test(looks)) {
    complain('this is a key and no secret: whoever knows the public key could sign; use `key` or `jwksFile`', 'secret')
    return
  }
  const bytes = secretBytes(secret)
  if (bytes === null) {
    complain('what follows base64url: is no base64url', 'secret')
    return
  }
  // RFC 7518 3.2: a key of the hash's length or larger.
  for (const alg of algorithms) {
    const kind = ALGORITHMS[alg]
    if (kind.kty !== 'oct' || bytes.length >= kind.bytes) continue
    complain(`${alg} takes a secret of at least ${kind.bytes} bytes, this one has ${bytes.length}`, 'secret')
    return
  }
}

function urlFaults(text: string, complain: Complain): void {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    complain('a URL is due, such as https://id.example.com/.well-known/jwks.json', 'jwks')
    return
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') complain('an https or http URL is due', 'jwks')
  else if (url.username !== '' || url.password !== '') complain('a URL without credentials is due', 'jwks')
}

const wanted = z.union([z.string(), z.number(), z.boolean()])

export const options = z
  .strictObject({
    issuers: z
      .array(issuer, { error: 'a list of issuers is due' })
      .min(1, { error: 'at least one issuer is due' })
      .describe('Whose tokens are taken. The token’s `iss` picks the entry.')
      .superRefine((issuers, context) => {
        const seen = new Set<string | undefined>()
        for (const [i, { issuer }] of issuers.entries()) {
          if (seen.has(issuer)) {
            const message =
              issuer === undefined ? 'only one entry may be without issuer' : `${issuer} has an entry already`
            context.addIssue({ code: 'custom', message, path: issuer === undefined ? [i] : [i, 'issuer'] })
          }
          seen.add(issuer)
        }
      }),
    from: z
      .array(z.string().regex(SOURCE, { error: 'header.NAME, cookie.NAME or query.NAME is due' }))
      .min(1)
      .default(['header.authorization'])
      .describe('Where the token is; the first place that has one counts. header.authorization: the Bearer scheme.'),
    leeway: duration().default(30_000).describe('By how much clocks may differ, for exp and nbf.'),
    types: z
      .array(z.string().min(1))
      .min(1)
      .default(['JWT', 'at+jwt'])
      .describe('`typ` values that are taken, compared without case; an absent one passes.'),
    require: z
      .strictObject({
        exp: z.boolean().default(true).describe('A token without `exp` is refused.'),
        claims: z
          .record(z.string().min(1), z.union([wanted, z.array(wanted).min(1)]))
          .default({})
          .superRefine((claims, context) => {
            for (const [claim, values] of Object.entries(claims)) {
              const complain = (message: string) => context.addIssue({ code: 'custom', message, path: [claim] })
              if (claim === '[]') complain('a claim is due before []')
              if (!isExact(values)) complain('a number past 9007199254740991 (2^53-1) is not exact; no claim fits it')
            }
          })
          .describe('Claim to value or values; 403 where one does not fit. `name[]`: the list, or words, hold one.'),
      })
      .prefault({})
      .describe('What a token must say.'),
    forward: z
      .strictObject({
        token: z.enum(['keep', 'strip']).default('keep').describe('Whether the token goes on to the upstream.'),
        claims: z
          .record(
            z.string().min(1),
            fieldName().refine(name => !GATEWAY_FIELDS.has(name), {
              error: 'this header is set by the gateway itself',
            }),
          )
          .default({})
          .describe('Claim to header for the upstream. The client’s own headers of these names are always removed.')
          .superRefine((claims, context) => {
            const seen = new Set<string>()
            for (const [claim, header] of Object.entries(claims)) {
              const same = header.replaceAll('_', '-')
              if (seen.has(same))
                context.addIssue({ code: 'custom', message: 'two claims have one header', path: [claim] })
              seen.add(same)
            }
          }),
      })
      .prefault({})
      .describe('What the upstream gets.'),
    optional: z
      .boolean()
      .default(false)
      .describe('true: a request without token passes as anonymous; a bad token is still 401.'),
    cache: z.int().min(0).max(1_000_000).default(10_000).describe('Verified tokens remembered, until exp; 0 = off.'),
  })
  .describe('Options of jwt.')

/** Options as the schema gives them. */
export type JwtOptions = z.output<typeof options>
