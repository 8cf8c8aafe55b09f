// The options of the circuit breaker: their schema, and what a schema cannot check.
import {
  duration,
  fieldMap,
  fieldValue,
  GATEWAY_FIELDS,
  noSuch,
  PluginOptionsError,
  type PluginSurroundings,
  share,
  size,
  z,
} from '../../src/plugin-api.ts'
import { type BreakerRules, LONGEST } from './breaker.ts'

/** Calls that the rates need where `minimumCalls` is not given. */
const MINIMUM_CALLS = 20

const rate = () => share().refine(value => value > 0, { error: 'must be more than 0%' })

const fallback = z
  .strictObject({
    status: z.int().min(200).max(599).optional().describe('Answer with this status.'),
    headers: fieldMap(fieldValue(), GATEWAY_FIELDS).optional().describe('Headers of that answer.'),
    body: z.string().optional().describe('Body of that answer.'),
    upstream: z.string().min(1).optional().describe('Send the request to this upstream instead.'),
    stale: duration(1000)
      .optional()
      .describe('Answer a GET with the last good answer to the same request, as long as it is no older than this.'),
    entries: z.int().min(1).max(1_000_000).optional().describe('Good answers to keep, with `stale`; 1000 by default.'),
    bytes: size(1024).optional().describe('Memory for them, with `stale`; 16MiB by default.'),
  })
  .superRefine((given, context) => {
    const fault = (message: string, ...path: string[]) => context.addIssue({ code: 'custom', message, path })
    const kinds = (['status', 'upstream', 'stale'] as const).filter(key => given[key] !== undefined)
    const [kind, second] = kinds
    if (kind === undefined) return fault('a fallback has one of status, upstream and stale')
    if (second !== undefined) return fault(`a fallback has one of status, upstream and stale; ${kind} is there`, second)
    for (const key of ['headers', 'body'] as const)
      if (given[key] !== undefined && kind !== 'status') fault(`goes with status, not with ${kind}`, key)
    for (const key of ['entries', 'bytes'] as const)
      if (given[key] !== undefined && kind !== 'stale') fault(`goes with stale, not with ${kind}`, key)
    if ([204, 205, 304].includes(given.status ?? 0) && (given.body ?? '') !== '')
      fault('an answer with this status has no body (RFC 9110 15)', 'body')
  })

export const options = z.strictObject({
  scope: z
    .enum(['upstream', 'route', 'endpoint'])
    .default('upstream')
    .describe('Who shares one breaker: all requests to an upstream, all of a route, or all to one endpoint.'),
  window: duration(100).optional().describe('The rates are those of this time, in 10 buckets; 10s by default.'),
  calls: z
    .int()
    .min(1)
    .max(100_000)
    .optional()
    .describe('The rates are those of this many last calls, instead of `window`.'),
  minimumCalls: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe('The rates mean nothing with fewer calls than this; 20 by default, or `calls` where that is fewer.'),
  failureRate: rate()
    .default(0.5)
    .describe(
      'Share of failed calls that opens: no connection, reset, timeout, a malformed answer, or one of `statuses`.',
    ),
  statuses: z
    .array(z.int().min(400).max(599))
    .default([500, 502, 503, 504])
    .describe('Statuses of the upstream that are failures.'),
  slowCall: z
    .strictObject({
      over: duration(1).default(2000).describe('A call is slow when its answer begins later than this.'),
      rate: rate().default(0.8).describe('Share of slow calls that opens.'),
    })
    .optional()
    .describe('Open for slow calls too.'),
  consecutiveFailures: z.int().min(0).max(1_000_000).default(0).describe('Failures in a row that open; 0 is off.'),
  openFor: duration(100)
    .refine(value => value <= LONGEST, { error: 'must be at most 5m' })
    .default(10_000)
    .describe('How long it stays open, give or take 20%; doubles with each failed recovery, up to 5m.'),
  halfOpenCalls: z
    .int()
    .min(1)
    .max(10_000)
    .default(3)
    .describe('Probes that decide whether it closes again: exactly this many, and no more at once.'),
  rampUp: duration()
    .default(10_000)
    .describe('After good probes the share that is let through grows for this long; 0ms is off.'),
  fallback: fallback.optional().describe('What to do instead of 503 while it is open.'),
})

export type Options = z.output<typeof options>
export type Fallback = NonNullable<Options['fallback']>

/** Check what concerns several options or the rest of the configuration. Throws PluginOptionsError. */
export function check(given: Options, { upstreams, part }: PluginSurroundings): void {
  part(() => {
    if (given.window !== undefined && given.calls !== undefined)
      throw new PluginOptionsError('there is a window already; the rates are those of one or the other', ['calls'])
  })
  part(() => {
    if (given.calls !== undefined && given.minimumCalls !== undefined && given.minimumCalls > given.calls)
      throw new PluginOptionsError(`can never be reached with ${given.calls} calls`, ['minimumCalls'])
  })
  const upstream = given.fallback?.upstream
  if (upstream !== undefined && !upstreams.has(upstream))
    throw new PluginOptionsError(noSuch('upstream', upstream, upstreams), ['fallback', 'upstream'])
}

/** What the breaker goes by. */
export function rules(given: Options): BreakerRules {
  const calls = given.calls ?? 0
  return {
    window: given.calls === undefined ? (given.window ?? 10_000) : null,
    calls,
    minimumCalls: given.minimumCalls ?? (given.calls === undefined ? MINIMUM_CALLS : Math.min(MINIMUM_CALLS, calls)),
    failureRate: given.failureRate,
    slowRate: given.slowCall?.rate ?? Number.POSITIVE_INFINITY,
    consecutiveFailures: given.consecutiveFailures,
    openFor: given.openFor,
    halfOpenCalls: given.halfOpenCalls,
    rampUp: given.rampUp,
  }
}
