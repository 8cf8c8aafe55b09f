// The scalars of the configuration: durations, sizes, shares, names and header fields, each one schema, type and text at once.
import { z } from 'zod'

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/
/** What one of each is worth in milliseconds, the least first. */
export const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const SIZE = /^(\d+)(B|KiB|MiB|GiB)$/
/** What one of each is worth in bytes, the least first. */
export const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }
const SHARE = /^(\d+(?:\.\d+)?)%$/
// setTimeout and every wheel below it count in 31 bits.
const LONGEST = 24 * 24 * 3_600_000

/** Milliseconds of a duration such as `250ms`, `5s`, `1m`, `24h`; NaN when it is none. */
function parseDuration(text: string): number {
  const found = DURATION.exec(text)
  return found === null ? Number.NaN : Math.round(Number(found[1]) * DURATION_UNITS[found[2]!]!)
}

/** Bytes of a size such as `64KiB`, `1MiB`; NaN when it is none. */
function parseSize(text: string): number {
  const found = SIZE.exec(text)
  return found === null ? Number.NaN : Number(found[1]) * SIZE_UNITS[found[2]!]!
}

/**
 * For the second check of a value and those behind it (`when` of a refinement): one fault of it is told. Not by zod's
 * `abort`, which ends the checks of all maps around it, too, whatever `whereSound` says.
 */
export function untold({ issues }: z.core.ParsePayload): boolean {
  return issues.length === 0
}

/** A duration with its unit; comes out in milliseconds. `least` is the smallest allowed, in milliseconds. */
export function duration(least = 0) {
  return z
    .string({ error: 'a duration with its unit is due, such as 250ms, 5s, 1m or 24h' })
    .regex(DURATION, { error: 'a duration with its unit is due, such as 250ms, 5s, 1m or 24h' })
    .refine(text => parseDuration(text) >= least, { error: `must be at least ${least}ms`, when: untold })
    .refine(text => parseDuration(text) <= LONGEST, { error: 'must be at most 576h', when: untold })
    .transform(parseDuration)
}

/** A size with its unit; comes out in bytes. */
export function size(least = 0) {
  return z
    .string({ error: 'a size with its unit is due, such as 512B, 64KiB or 1MiB' })
    .regex(SIZE, { error: 'a size with its unit is due, such as 512B, 64KiB or 1MiB' })
    .refine(text => parseSize(text) >= least, { error: `must be at least ${least}B`, when: untold })
    .refine(text => Number.isSafeInteger(parseSize(text)), { error: 'is too large', when: untold })
    .transform(parseSize)
}

/** A share such as `50%`; comes out between 0 and 1. */
export function share() {
  return z
    .string({ error: 'a share is due, such as 50%' })
    .regex(SHARE, { error: 'a share is due, such as 50%' })
    .refine(text => Number.parseFloat(text) <= 100, { error: 'must be at most 100%', when: untold })
    .transform(text => Number.parseFloat(text) / 100)
}

/**
 * For a check over several options of a map (`when` of a refinement), or of a list: it runs where each of `keys` passed
 * by itself, beside faults in all others, and not on what is no map or list. Without it, one wrong value would hide what
 * the check has to say.
 */
export function whereSound(...keys: string[]): (payload: z.core.ParsePayload) => boolean {
  return ({ issues }) =>
    !issues.some(({ code, path = [] }) =>
      path.length === 0 ? code === 'invalid_type' : keys.includes(path[0] as string),
    )
}

/** For a `refine`: two options of which neither means anything without the other. */
export function together<A extends string, B extends string>(a: A, b: B) {
  return [
    (given: { readonly [Key in A | B]?: unknown }) => (given[a] === undefined) === (given[b] === undefined),
    { error: `${a} and ${b} belong together: give both or neither`, when: whereSound(a, b) },
  ] as const
}

/** For a `refine` of one address or several, which `split` gives: credentials in a URL are escaped, and are decoded for use. */
export function readableCredentials(split: (text: string) => readonly string[]) {
  return [
    (text: string) => split(text).every(hasReadableCredentials),
    { error: 'a % in the credentials is written as %25', when: untold },
  ] as const
}

function hasReadableCredentials(text: string): boolean {
  const { username, password } = new URL(text)
  try {
    decodeURIComponent(username)
    decodeURIComponent(password)
    return true
  } catch {
    return false
  }
}

const pemFile = (what: string) => z.string().min(1).optional().describe(`${what} Relative to the YAML file.`)

/** Options of `tls` towards `whom`: files of certificates, and whether those of the other side are checked. */
export function tlsOptions(whom: string) {
  return z.strictObject({
    ca: pemFile('PEM file with the authorities to trust instead of the usual ones.'),
    cert: pemFile(`PEM file with the certificate to show to the ${whom}; needs \`key\`.`),
    key: pemFile('PEM file with the private key of `cert`.'),
    verify: z.boolean().default(true).describe(`Check the certificate of the ${whom}. Turn it off in tests only.`),
  })
}

/** Keys that a map does not take though people look for them there, and what to say of each. */
export const absentKeys = z.registry<Readonly<Record<string, string>>>()

/** An RFC 9110 token, such as a method or a field name. */
export const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

const aFieldName = () =>
  z.string().regex(TOKEN, { error: "a header name is due (letters, digits and !#$%&'*+-.^_`|~)" })

/** A field name, made lower-case. */
export function fieldName() {
  return aFieldName().transform(name => name.toLowerCase())
}

/** Field names, made lower-case, to values. A fault where one stands twice, or is one of `reserved`: the gateway's own. */
export function fieldMap<V extends z.ZodType>(value: V, reserved: ReadonlySet<string>) {
  return z
    .record(aFieldName(), value)
    .superRefine(
      (fields, context) => {
        const seen = new Set<string>()
        for (const given of Object.keys(fields)) {
          const complain = (message: string) => context.addIssue({ code: 'custom', message, path: [given] })
          const name = given.toLowerCase()
          if (reserved.has(name)) complain('is set by the gateway itself')
          if (seen.has(name)) complain('stands twice: header names are compared without case')
          seen.add(name)
        }
      },
      { when: whereSound() },
    )
    .transform(fields => Object.fromEntries(Object.entries(fields).map(([name, one]) => [name.toLowerCase(), one])))
}

/** What people call a thing: some text on one line, for it stands in lines and tables that are printed. */
export function label() {
  return z
    .string()
    .min(1)
    .regex(/^[^\x00-\x1f\x7f-\x9f]*$/, { error: 'a name must not hold control characters' })
}

/** A field value: no control characters, so that it can never become a second field (RFC 9110 5.5). */
export function fieldValue() {
  return z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/, { error: 'a header value must not hold control characters' })
}
