// Ten thousand routes and requests spread over them: does a lookup cost more when there is more to look through?
import { routePrefix, type Scenario } from './scenario.ts'

const ROUTES = 10_000
const TARGETS = 500

export const routes10k: Scenario = {
  name: 'routes-10k',
  question: 'What does one forwarded GET cost with 10,000 routes in the configuration?',
  method: 'GET',
  // A stride that is coprime to the count, so that the targets are neither neighbours nor in order.
  paths: Array.from({ length: TARGETS }, (_, i) => `${routePrefix((i * 7919) % ROUTES)}/items/42?bytes=150`),
  body: null,
  answerBytes: 150,
  pipelining: 1,
  routes: ROUTES,
}
