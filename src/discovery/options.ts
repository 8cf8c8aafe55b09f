// The options of a registry under `discovery:`: those of its kind, and those that every kind has.
import { z } from 'zod'
import type { CertificatePlaces } from '../http/certificates.ts'
import { meant } from '../nearest.ts'
import { duration } from '../units.ts'
import { asMap } from './ask.ts'
import { MAX_ENTRIES } from './provider.ts'
import { providers } from './providers.ts'

const common = {
  interval: duration(100).prefault('10s').describe('How often a registry that cannot wait for changes is asked.'),
  timeout: duration(100).prefault('5s').describe('How long one answer may take.'),
  onEmpty: z
    .enum(['keep', 'drop'])
    .default('keep')
    .describe('When a service has no instance any more: keep the last ones for `holdFor`, or drop them at once.'),
  holdFor: duration()
    .prefault('5m')
    .describe('How long instances are kept that the registry lost all at once, or more than half of within 30 s.'),
  maxInstances: z
    .int()
    .min(1)
    .max(MAX_ENTRIES)
    .default(20_000)
    .describe('Most instances of one service; an answer with more is a failure, and what was known stays in use.'),
  linkLocal: z
    .boolean()
    .default(false)
    .describe('Accept link-local addresses (169.254.0.0/16, fe80::/10), where clouds keep their credentials.'),
}

type Common = { [Key in keyof typeof common]: z.output<(typeof common)[Key]> }

/** Checked options of one registry: its kind, what every kind has, and the kind's own. Plain data. */
export type DiscoveryOptions = Common & { readonly kind: string } & Readonly<Record<string, unknown>>

const kinds = providers.map(({ kind, options }) =>
  options.safeExtend({ kind: z.literal(kind).describe('The kind of registry.'), ...common }),
)
const names = providers.map(({ kind }) => kind)

/** One entry under `discovery:`. */
export const discoveryOptions = z.discriminatedUnion(
  'kind',
  kinds as unknown as [z.core.$ZodTypeDiscriminable, ...z.core.$ZodTypeDiscriminable[]],
  {
    error: ({ code, input }) =>
      code === 'invalid_union'
        ? `the kind of a registry is one of ${names.join(', ')}${meant(asMap(input)['kind'], names)}`
        : undefined,
  },
) as unknown as z.ZodType<DiscoveryOptions>

/** Where the options of one registry name certificate files: checked options, or what stands in the file. */
export function certificatePlaces(options: unknown): CertificatePlaces {
  const given = asMap(options)
  return providers.find(({ kind }) => kind === given['kind'])?.certificates?.(given) ?? {}
}
