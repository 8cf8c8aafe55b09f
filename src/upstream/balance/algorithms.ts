// The balancers by the name they have in the YAML.
import type { MakeBalancer } from './balancer.ts'
import { Random } from './random.ts'
import { RoundRobin } from './round-robin.ts'

/** Every name that `balance:` takes in this version, and how it is made. */
export const BALANCERS = {
  'round-robin': endpoints => new RoundRobin(endpoints),
  random: endpoints => new Random(endpoints),
} as const satisfies Record<string, MakeBalancer>
