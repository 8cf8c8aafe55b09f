// The one list of load scenarios, in the order in which they run.
import { body64k } from './body-64k.ts'
import { breaker } from './breaker.ts'
import { canary } from './canary.ts'
import { discovery } from './discovery.ts'
import { jwt } from './jwt.ts'
import { limitLease } from './limit-lease.ts'
import { limitMemory } from './limit-memory.ts'
import { limitRedis } from './limit-redis.ts'
import { pipeline } from './pipeline.ts'
import { pipelining } from './pipelining.ts'
import { plain } from './plain.ts'
import { post1k } from './post-1k.ts'
import { routes10k } from './routes-10k.ts'
import type { Scenario } from './scenario.ts'

export const scenarios: readonly Scenario[] = [
  plain,
  pipelining,
  post1k,
  body64k,
  routes10k,
  discovery,
  breaker,
  limitMemory,
  limitRedis,
  limitLease,
  jwt,
  canary,
  pipeline,
]
