// The options of canary, and what of them no schema can say.
import {
  type Attribute,
  checkAttribute,
  compileAttribute,
  condition,
  duration,
  fieldName,
  GATEWAY_FIELDS,
  isFieldValue,
  isToken,
  noSuch,
  PluginOptionsError,
  type PluginSurroundings,
  z,
} from '../../src/plugin-api.ts'
import { BUCKETS, bucketCounts } from './split.ts'

const upstream = z.string().min(1)
const weight = z
  .number({ error: 'a number from 0 to 1,000,000 is due' })
  .min(0, { error: 'a weight is 0 or more' })
  .max(1_000_000, { error: 'a weight is at most 1,000,000' })

const rule = z.strictObject({
  when: condition.describe('Attribute to expectation: equal, present, absent, `~regexp`, a network; all must hold.'),
  to: upstream.describe('Upstream that gets these requests.'),
})

const target = z.strictObject({
  to: upstream.describe('Upstream.'),
  weight: weight.describe('Its share beside the others; 0 is reached by a rule alone.'),
})

const cookie = z.strictObject({
  name: z
    .string()
    .refine(isToken, { error: 'a cookie name is due' })
    .default('sluice-canary')
    .describe('Name of the cookie.'),
  maxAge: duration(1000).prefault('576h').describe('How long the client keeps it.'),
})

/** The cookie where nothing is said of it. */
export const DEFAULT_COOKIE = cookie.parse({})

const sticky = z.strictObject({
  by: z
    .string()
    .min(1)
    .describe(
      'Attribute that names the user, such as jwt.sub; several joined with +; or `cookie`, for one of our own.',
    ),
  fallback: z
    .string()
    .min(1)
    .default('random')
    .describe('For requests without it: `cookie`, `random` (anew each time), or another attribute.'),
  cookie: cookie.optional().describe('The cookie, where there is one.'),
})

export const options = z.strictObject({
  rules: z
    .array(rule, { error: 'a list of { when, to } is due' })
    .default([])
    .describe('The first that holds decides, before the shares.'),
  split: z
    .array(target, { error: 'a list of { to, weight } is due' })
    .max(64)
    .default([])
    .describe(
      'Shares of the upstreams; the first is the stable one. Without it all others stay on the route’s upstream.',
    ),
  sticky: sticky.optional().describe('Who stays where they are; without it each request is dealt anew.'),
  seed: z
    .string()
    .default('')
    .describe('Another seed deals the users anew; canaries with the same seed deal them alike.'),
  label: fieldName().optional().describe('Response header that names the upstream which was chosen.'),
  unhealthy: z
    .enum(['stable', 'fail'])
    .default('stable')
    .describe('When the chosen upstream has no healthy endpoint: go to the first of `split`, or answer 503.'),
})

/** Checked options. */
export type Options = z.output<typeof options>

/** What concerns several options or the rest of the configuration. Throws PluginOptionsError. */
export function check(given: Options, { upstreams, part }: PluginSurroundings): void {
  const { rules, split, label } = given
  if (rules.length + split.length === 0) throw new PluginOptionsError('rules or a split are due')
  const known = (name: string, path: (string | number)[]) => {
    if (!upstreams.has(name)) throw new PluginOptionsError(noSuch('upstream', name, upstreams), path)
    // It becomes the label's value.
    if (label !== undefined && !isFieldValue(name))
      throw new PluginOptionsError(`the name "${name}" cannot stand in a header`, path)
  }
  for (const [i, { when, to }] of rules.entries()) {
    part(() => known(to, ['rules', i, 'to']))
    part(() => {
      if (Object.keys(when).length === 0)
        throw new PluginOptionsError('an empty condition always holds; name an attribute', ['rules', i, 'when'])
    })
  }
  const names = new Set<string>()
  for (const [i, { to }] of split.entries()) {
    part(() => {
      if (names.has(to)) throw new PluginOptionsError(`"${to}" stands twice`, ['split', i, 'to'])
      names.add(to)
      known(to, ['split', i, 'to'])
    })
  }
  part(() => checkWeights(split.map(({ weight }) => weight)))
  checkSticky(given, part)
  part(() => {
    if (label !== undefined && GATEWAY_FIELDS.has(label))
      throw new PluginOptionsError(`${label} is set by the gateway itself`, ['label'])
  })
}

function checkWeights(weights: readonly number[]): void {
  if (weights.length === 0) return
  if (weights.every(weight => weight === 0)) throw new PluginOptionsError('the weights sum to zero', ['split'])
  const counts = bucketCounts(weights)
  const least = weights.findIndex((weight, i) => weight > 0 && counts[i] === 0)
  if (least >= 0)
    throw new PluginOptionsError(`this is less than ${100 / BUCKETS}% of the sum, which is the least share`, [
      'split',
      least,
      'weight',
    ])
}

function checkSticky({ sticky, split }: Options, part: PluginSurroundings['part']): void {
  if (sticky === undefined) return
  part(() => {
    if (split.length === 0) throw new PluginOptionsError('there is no split to stick to', ['sticky'])
  })
  part(() => {
    if (sticky.by !== 'cookie') checkAttribute(['sticky', 'by'], () => userOf(sticky.by))
    else if (sticky.fallback !== 'random')
      throw new PluginOptionsError('a cookie of our own is always there: there is nothing to fall back from', [
        'sticky',
        'fallback',
      ])
  })
  part(() => {
    if (sticky.by === 'cookie') return
    if (sticky.fallback !== 'cookie' && sticky.fallback !== 'random')
      checkAttribute(['sticky', 'fallback'], () => userOf(sticky.fallback))
    if (sticky.cookie !== undefined && sticky.fallback !== 'cookie')
      throw new PluginOptionsError('no cookie is set: neither `by` nor `fallback` is `cookie`', ['sticky', 'cookie'])
  })
}

/** Compile what names a user; undefined when a part of it is missing or empty. Throws AttributeError. */
export function userOf(text: string): Attribute {
  const parts = text.split('+').map(part => compileAttribute(part.trim()))
  const [only] = parts
  if (parts.length === 1) return x => only!(x) || undefined
  return x => {
    let user = ''
    // Lengths keep `a` + `bc` from meaning the same as `ab` + `c`.
    for (const part of parts) {
      const value = part(x)
      if (value === undefined || value === '') return undefined
      user += `${value.length}:${value}|`
    }
    return user
  }
}
