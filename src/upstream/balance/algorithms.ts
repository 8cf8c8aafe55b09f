// The balancers by the name they have in the YAML.
import type { MakeBalancer } from './balancer.ts'
import { LeastRequest } from './least-request.ts'
import { PeakEwma } from './peak-ewma.ts'
import { Random } from './random.ts'
import { RingHash } from './ring-hash.ts'
import { RoundRobin } from './round-robin.ts'

/** Every name that `balance:` takes, and how it is made. */
export const BALANCERS = {
  'round-robin': (endpoints, previous) => new RoundRobin(endpoints, previous),
  'least-request': endpoints => new LeastRequest(endpoints),
  'peak-ewma': endpoints => new PeakEwma(endpoints),
  'ring-hash': (endpoints, previous) => new RingHash(endpoints, previous),
  random: endpoints => new Random(endpoints),
} as const satisfies Record<string, MakeBalancer>
