// The plain case: a small GET over keep-alive connections; what a proxy costs when it does nothing but forward.
import type { Scenario } from './scenario.ts'

export const plain: Scenario = {
  name: 'plain',
  question: 'What does one forwarded GET with an answer of 150 bytes cost?',
  method: 'GET',
  paths: ['/orders/42?bytes=150'],
  body: null,
  answerBytes: 150,
  pipelining: 1,
  routes: 1,
}
