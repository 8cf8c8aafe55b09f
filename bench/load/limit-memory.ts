// The plain case behind a rate limit that nobody reaches, counted in memory: key, decision and headers.
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const limitMemory: Scenario = {
  ...plain,
  name: 'limit-memory',
  question: 'What does a rate limit in memory add to the plain GET?',
  plugins: '[{ rate-limit: { limit: 100000000, window: 1m } }]',
}
