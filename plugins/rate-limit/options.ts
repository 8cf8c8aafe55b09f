// The options of rate-limit, and what of them no schema can say.
import {
  checkAttribute,
  compileAttribute,
  compileKey,
  duration,
  noSuch,
  PluginOptionsError,
  type PluginSurroundings,
  share,
  z,
} from '../../src/plugin-api.ts'

/** A log keeps every admitted unit: 80 KB a key at most. */
const LONGEST_LOG = 10_000

const units = z.int({ error: 'a whole number from 1 to 1,000,000,000 is due' }).min(1).max(1_000_000_000)
/** Half the longest timer: two windows are one expiry. */
const window = duration(1).refine(ms => ms <= 12 * 24 * 3_600_000, { error: 'must be at most 288h' })
const policyName = z
  .string()
  .regex(/^[A-Za-z0-9 ._:/-]{1,64}$/, { error: 'letters, digits, blanks and . _ : / - are due, at most 64 of them' })

const oneLimit = z.strictObject({
  limit: units.describe('Units that are admitted in a window.'),
  window: window.describe('Length of the window.'),
  burst: units.optional().describe('Units that a full bucket holds (token-bucket); the limit unless told.'),
  name: policyName.optional().describe('Name in the RateLimit headers; the window unless told.'),
})

const COST = 'a whole number or an attribute is due'

export const options = z.strictObject({
  limit: units.optional().describe('Units that are admitted in a window; or `limits`.'),
  window: window.optional().describe('Length of the window; 1m unless told.'),
  burst: units.optional().describe('Units that a full bucket holds (token-bucket); the limit unless told.'),
  limits: z
    .array(oneLimit, { error: 'a list of limits is due' })
    .min(1, { error: 'at least one limit is due' })
    .max(8, { error: 'at most 8 limits are due' })
    .optional()
    .describe('Several limits instead: all must allow, and none is charged when one refuses.'),
  name: policyName.default('default').describe('Name of a single limit in the RateLimit headers.'),
  key: z
    .string()
    .min(1)
    .default('client.ip')
    .describe('Whose requests are counted together: attributes joined with +.'),
  cost: z
    .union([units, z.string().regex(/^\D/, { error: COST })], { error: COST })
    .default(1)
    .describe('Units of one request: a number, or an attribute that holds one (1 where it holds none).'),
  algorithm: z
    .enum(['sliding-window', 'sliding-log', 'token-bucket'])
    .default('sliding-window')
    .describe(
      'sliding-window (two counters), sliding-log (exact, limit at most 10,000), or token-bucket (with burst).',
    ),
  store: z.string().min(1).default('memory').describe('Where the counts are: memory, or a name under `stores`.'),
  mode: z
    .enum(['exact', 'lease'])
    .default('exact')
    .describe('With a shared store: ask it for every request, or take units on credit (lease).'),
  lease: share()
    .refine(part => part >= 0.01 && part <= 0.05, { error: 'must be between 1% and 5%' })
    .prefault('2%')
    .describe('Units of a lease as a share of the smallest limit, 1% to 5%.'),
  maxKeys: z.int().min(1).max(16_000_000).default(1_000_000).describe('Most keys that are remembered in this process.'),
  dryRun: z.boolean().default(false).describe('Count and report, but refuse nobody.'),
})

/** Checked options. */
export type Options = z.output<typeof options>

/** One limit, complete. */
export interface Policy {
  readonly name: string
  readonly limit: number
  readonly window: number
  readonly burst: number
}

/** The limits in one form, whichever way they were written. */
export function policies({ limit, window = 60_000, burst, limits, name }: Options): Policy[] {
  if (limits === undefined) return [{ name, limit: limit!, window, burst: burst ?? limit! }]
  return limits.map(one => ({
    name: one.name ?? short(one.window),
    limit: one.limit,
    window: one.window,
    burst: one.burst ?? one.limit,
  }))
}

function short(ms: number): string {
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`
  if (ms % 60_000 === 0) return `${ms / 60_000}m`
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`
}

/** What concerns several options or the rest of the configuration. Throws PluginOptionsError. */
export function check(given: Options, { stores, part }: PluginSurroundings): void {
  const { cost, key, mode, store } = given
  part(() => {
    if (!stores.has(store)) throw new PluginOptionsError(noSuch('store', store, stores), ['store'])
    if (mode === 'lease' && store === 'memory')
      throw new PluginOptionsError('a lease is taken from a shared store; memory needs none', ['mode'])
  })
  part(() => checkAttribute(['key'], () => compileKey(key)))
  if (typeof cost === 'string') part(() => checkAttribute(['cost'], () => compileAttribute(cost)))
  checkLimits(given, part)
}

function checkLimits(given: Options, part: PluginSurroundings['part']): void {
  const { algorithm, cost, limits } = given
  if ((given.limit === undefined) === (limits === undefined)) {
    if (limits === undefined) throw new PluginOptionsError('a limit is due: `limit` and `window`, or `limits`')
    throw new PluginOptionsError('either `limit` or `limits` is due, not both', ['limit'])
  }
  if (limits !== undefined && (given.window ?? given.burst) !== undefined) {
    const extra = given.window === undefined ? 'burst' : 'window'
    throw new PluginOptionsError(`\`${extra}\` stands with each of the \`limits\``, [extra])
  }
  const names = new Set<string>()
  for (const [i, policy] of policies(given).entries()) {
    const path = limits === undefined ? [] : ['limits', i]
    part(() => {
      if (algorithm === 'sliding-log' && policy.limit > LONGEST_LOG)
        throw new PluginOptionsError(`sliding-log takes limits up to ${LONGEST_LOG}`, [...path, 'limit'])
      const burst = limits === undefined ? given.burst : limits[i]!.burst
      if (burst !== undefined && algorithm !== 'token-bucket')
        throw new PluginOptionsError('only the token-bucket has a burst', [...path, 'burst'])
      if (typeof cost === 'number' && cost > (algorithm === 'token-bucket' ? policy.burst : policy.limit))
        throw new PluginOptionsError(`no request would ever pass: it costs ${cost}`, [...path, 'limit'])
    })
    part(() => {
      if (names.has(policy.name))
        throw new PluginOptionsError(`two limits are named "${policy.name}"; give them names`, path)
      names.add(policy.name)
    })
  }
}
