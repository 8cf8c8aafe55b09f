// A POST with a body of 1 KiB: head and body in one segment, as most API writes are.
import type { Scenario } from './scenario.ts'

export const post1k: Scenario = {
  name: 'post-1k',
  question: 'What does one forwarded POST with a body of 1 KiB cost?',
  method: 'POST',
  paths: ['/orders?bytes=150'],
  body: Buffer.alloc(1024, 'x'),
  answerBytes: 150,
  pipelining: 1,
  routes: 1,
}
