// An answer of 64 KiB: more than one read, so that what a chunk costs shows.
import type { Scenario } from './scenario.ts'

export const body64k: Scenario = {
  name: 'body-64k',
  question: 'What does one forwarded answer of 64 KiB cost?',
  method: 'GET',
  paths: ['/files/report?bytes=65536'],
  body: null,
  answerBytes: 65_536,
  pipelining: 1,
  routes: 1,
}
