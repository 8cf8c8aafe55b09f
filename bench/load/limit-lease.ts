// The plain case behind a rate limit that nobody reaches, taken from Redis on credit.
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const limitLease: Scenario = {
  ...plain,
  name: 'limit-lease',
  question: 'What does a rate limit on credit from Redis (2 % at a time) add to the plain GET?',
  // Small enough that leases are taken all the time, and never reached: 2,000 units a lease.
  plugins: '[{ rate-limit: { limit: 100000, window: 1s, store: shared, mode: lease } }]',
  redis: true,
}
