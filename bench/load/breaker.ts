// The plain case behind a closed circuit breaker that times its calls: what watching every outcome costs.
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const breaker: Scenario = {
  ...plain,
  name: 'breaker',
  question: 'What does a circuit breaker that stays closed add to the plain GET?',
  plugins: '[{ circuit-breaker: { slowCall: { over: 2s } } }]',
}
