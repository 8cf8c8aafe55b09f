// Smooth weighted round robin: nginx's algorithm, played from a schedule that is made once per set of endpoints.
import type { Endpoint } from '../endpoint.ts'
import type { Balancer } from './balancer.ts'

/** Longest schedule that is made; past it weights are scaled down, which moves a share by less than 1/4096. */
const MAX_SCHEDULE = 4096

/**
 * The order in which nginx's smooth weighted round robin picks over one cycle: each turn every weight is added to its
 * current value, the largest is picked and the sum taken off it. {5,1,1} gives a a b a c a a.
 */
export function smoothSchedule(weights: readonly number[]): number[] {
  let scaled = reduce(weights)
  const sum = scaled.reduce((a, b) => a + b, 0)
  if (sum > MAX_SCHEDULE)
    scaled = reduce(scaled.map(weight => (weight === 0 ? 0 : Math.max(1, Math.round((weight * MAX_SCHEDULE) / sum)))))
  const total = scaled.reduce((a, b) => a + b, 0)
  const current = scaled.map(() => 0)
  const order: number[] = []
  for (let turn = 0; turn < total; turn++) {
    let best = -1
    for (let i = 0; i < scaled.length; i++) {
      current[i]! += scaled[i]!
      if (scaled[i]! > 0 && (best < 0 || current[i]! > current[best]!)) best = i
    }
    current[best]! -= total
    order.push(best)
  }
  return order
}

function reduce(weights: readonly number[]): number[] {
  let divisor = 0
  for (const weight of weights) divisor = gcd(divisor, weight)
  return divisor > 1 ? weights.map(weight => weight / divisor) : [...weights]
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b]
  return a
}

/** See the head of this file. */
export class RoundRobin implements Balancer {
  readonly endpoints: readonly Endpoint[]
  readonly #order: readonly Endpoint[]
  #at = 0

  constructor(endpoints: readonly Endpoint[]) {
    this.endpoints = endpoints
    const usable = endpoints.filter(endpoint => endpoint.weight > 0)
    const even = usable.every(endpoint => endpoint.weight === usable[0]!.weight)
    this.#order = even ? usable : smoothSchedule(usable.map(endpoint => endpoint.weight)).map(i => usable[i]!)
  }

  pick(_key: number, avoid: Endpoint | null): Endpoint | null {
    const order = this.#order
    const length = order.length
    if (length === 0) return null
    for (let tries = 0; tries < length; tries++) {
      if (this.#at >= length) this.#at = 0
      const endpoint = order[this.#at++]!
      if (endpoint !== avoid) return endpoint
    }
    return avoid
  }
}
