// The plain case dealt to two upstreams by weight, each user to the same one.
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

/** As an entry of a YAML list; `by` is an attribute. */
export const canaryEntry = (by: string): string =>
  `{ canary: { split: [{ to: bench, weight: 95 }, { to: bench-v2, weight: 5 }], sticky: { by: ${by} } } }`

export const canary: Scenario = {
  ...plain,
  name: 'canary',
  question: 'What does a sticky canary by weight add to the plain GET?',
  plugins: `[${canaryEntry('client.ip')}]`,
}
