// Ten requests in flight on each client connection: does the proxy keep order and speed?
import type { Scenario } from './scenario.ts'

export const pipelining: Scenario = {
  name: 'pipelining',
  question: 'What does a forwarded GET cost when each client keeps ten requests in flight on its connection?',
  method: 'GET',
  paths: ['/orders/42?bytes=150'],
  body: null,
  answerBytes: 150,
  pipelining: 10,
  routes: 1,
}
