// The kinds of shared store as they stand under `stores:`; `memory` exists without being declared.
import { z } from 'zod'
import { duration } from '../units.ts'

/** The store that every gateway has by itself. */
export const MEMORY_STORE = 'memory'

const redis = z.strictObject({
  kind: z.literal('redis').describe('A Redis server, shared by all gateways.'),
  url: z
    .string()
    .regex(/^rediss?:\/\/[^\s]+$/, { error: 'a redis:// or rediss:// address is due' })
    .refine(text => URL.canParse(text), { error: 'a redis:// or rediss:// address is due' })
    .describe('redis:// or rediss:// (TLS) address, with credentials and database where needed.'),
  budget: duration(1).default(10).describe('How long a request may wait for the store.'),
  onFailure: z
    .enum(['local', 'allow', 'deny'])
    .default('local')
    .describe('When it does not answer: local (each gateway counts its share), allow, or deny with 503.'),
})

/** One entry under `stores:`. */
export const storeOptions = z.discriminatedUnion('kind', [redis], {
  error: issue => (issue.code === 'invalid_union' ? 'the kind of a store is redis' : undefined),
})

/** Checked options of one store. */
export type StoreOptions = z.output<typeof storeOptions>
