// The plain case with a token in each request, always the same one: what a check from memory costs.
import { jwtEntry, makeCredentials } from './credentials.ts'
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const jwt: Scenario = {
  ...plain,
  name: 'jwt',
  question: 'What does an RS256 token that was verified before add to the plain GET?',
  async prepare(folder) {
    const credentials = makeCredentials(folder)
    return { headers: { authorization: credentials.authorization }, plugins: `[${jwtEntry(credentials)}]` }
  },
}
