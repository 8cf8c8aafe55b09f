// The plain case behind a rate limit that nobody reaches, counted in Redis: one script a request, pipelined.
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const limitRedis: Scenario = {
  ...plain,
  name: 'limit-redis',
  question: 'What does a rate limit that is exact over all gateways, in Redis, add to the plain GET?',
  plugins: '[{ rate-limit: { limit: 100000000, window: 1m, store: shared } }]',
  redis: true,
}
