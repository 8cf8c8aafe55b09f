// The options of health checks as they stand under an upstream.
import { z } from 'zod'
import { duration, share, untold, whereSound } from '../../units.ts'

const EXPECT = /^\s*\d{3}(?:\s*-\s*\d{3})?(?:\s*,\s*\d{3}(?:\s*-\s*\d{3})?)*\s*$/

/** Take `200-399,404` apart: pairs of the first and the last status. */
export function statusRanges(text: string): [number, number][] {
  return text.split(',').map(part => {
    const [first, last = first] = part.split('-').map(Number) as [number, number?]
    return [first, last as number]
  })
}

const expected = z
  .string({ error: 'statuses are due, such as "200-399" or "200,204" (in quotes)' })
  .regex(EXPECT, { error: 'statuses are due, such as "200-399" or "200,204"' })
  .refine(text => statusRanges(text).every(([first, last]) => first >= 100 && first <= last && last <= 599), {
    error: 'a range from a lower to a higher status between 100 and 599 is due',
    when: untold,
  })

const active = z.strictObject({
  path: z
    .string()
    .regex(/^\/[\x21-\x22\x24-\x7e]*$/, { error: 'a path that begins with / is due' })
    .default('/healthz')
    .describe('What is asked for, by GET.'),
  interval: duration(10).prefault('5s').describe('Between two probes of one endpoint, give or take a tenth.'),
  timeout: duration(10).prefault('2s').describe('How long a probe may take.'),
  healthyAfter: z.int().min(1).max(1000).default(2).describe('Successes in a row that make it healthy again.'),
  unhealthyAfter: z.int().min(1).max(1000).default(3).describe('Failures in a row that make it unhealthy.'),
  expect: expected.default('200-399').describe('Statuses that count as success.'),
})

/** Longest ejection where nothing is said of it, in milliseconds. */
const MAX_EJECT_FOR = 300_000

const passive = z
  .strictObject({
    consecutiveFailures: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(5)
      .describe('Failures in a row (no answer, or a 5xx) that eject an endpoint.'),
    failureShare: share().optional().describe('Share of failed requests within `window` that ejects as well.'),
    minRequests: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(20)
      .describe('Requests within `window` before the share counts.'),
    window: duration(100).prefault('10s').describe('Span that the share is taken over.'),
    ejectFor: duration(10)
      .prefault('30s')
      .describe('Length of the first ejection; the n-th in a row lasts n times that.'),
    maxEjectFor: duration(10).optional().describe('Longest ejection; 5m by default, or `ejectFor` where that is more.'),
    maxEjected: share().prefault('50%').describe('Largest share of the endpoints that may be ejected; one may always.'),
  })
  .refine(({ ejectFor, maxEjectFor = ejectFor }) => ejectFor <= maxEjectFor, {
    error: 'must be at least ejectFor',
    path: ['maxEjectFor'],
    when: whereSound('ejectFor', 'maxEjectFor'),
  })
  // A default never contradicts what was asked for: it rises with it.
  .transform(given => ({ ...given, maxEjectFor: given.maxEjectFor ?? Math.max(MAX_EJECT_FOR, given.ejectFor) }))

/** `health:` of an upstream. Without `active` nothing is probed; without `passive` nothing is ejected. */
export const healthOptions = z.strictObject({
  active: active.optional().describe('Ask every endpoint by itself, off the way of the requests.'),
  passive: passive.optional().describe('Leave out endpoints whose requests fail.'),
  panicBelow: share()
    .prefault('50%')
    .describe('With a smaller share of healthy endpoints than this, all are used; 0% never does.'),
})

/** Checked options of active probes. */
export type ActiveOptions = z.output<typeof active>

/** Checked options of passive ejection. */
export type PassiveOptions = z.output<typeof passive>
