// The kinds of shared store as they stand under `stores:`; `memory` exists without being declared.
import { z } from 'zod'
import { duration, readableCredentials, whereSound } from '../units.ts'

/** The store that every gateway has by itself. */
export const MEMORY_STORE = 'memory'

/** The addresses of a `url`: one, or the known nodes of a cluster with commas between them. */
export function addresses(url: string): string[] {
  return url.split(',').map(address => address.trim())
}

/** Credentials, host and port; behind them a database at most. What ioredis would read from a query is set here alone. */
const ADDRESS = /^rediss?:\/\/[^\s,/?#]+(?:\/\d{0,5})?$/

function isAddress(text: string): boolean {
  return ADDRESS.test(text) && URL.canParse(text)
}

const redis = z
  .strictObject({
    kind: z.literal('redis').describe('A Redis server, or a Redis Cluster, shared by all gateways.'),
    url: z
      .string()
      .refine(text => addresses(text).every(isAddress), {
        error:
          'a redis:// or rediss:// address is due, such as redis://127.0.0.1:6379/0, with user:password@ before the host where needed',
      })
      .refine(...readableCredentials(addresses))
      .describe(
        'redis:// or rediss:// (TLS) address, with credentials and database where needed; of a cluster, some nodes with commas between them.',
      ),
    cluster: z.boolean().default(false).describe('The address is that of a Redis Cluster.'),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9:._-]{1,64}$/, { error: 'letters, digits and : . _ - are due, at most 64 of them' })
      .default('sluice')
      .describe('What every key begins with; gateways that share counters have it in common.'),
    budget: duration(1).default(10).describe('How long a request may wait for the store.'),
    onFailure: z
      .enum(['local', 'allow', 'deny'])
      .default('local')
      .describe('When it does not answer: local (each gateway counts its share), allow, or deny with 503.'),
  })
  .refine(({ cluster, url }) => cluster || addresses(url).length === 1, {
    error: 'several addresses are due for a cluster alone (`cluster: true`)',
    path: ['url'],
    when: whereSound('cluster', 'url'),
  })

/** One entry under `stores:`. */
export const storeOptions = z.discriminatedUnion('kind', [redis], {
  error: issue => (issue.code === 'invalid_union' ? 'the kind of a store is redis' : undefined),
})

/** Checked options of one store. */
export type StoreOptions = z.output<typeof storeOptions>
