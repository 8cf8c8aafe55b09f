// The plain case with endpoints that discovery found and active health watches: what both cost while nothing changes.
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const discovery: Scenario = {
  ...plain,
  name: 'discovery',
  question: 'What do discovery and active health checks add to the plain GET?',
  discovered: true,
}
