// A service without a network: endpoints that take their time for each request, and the requests that a balancer deals to them.
import type { Balancer } from '../../../../src/upstream/balance/balancer.ts'
import type { Endpoint } from '../../../../src/upstream/endpoint.ts'
import type { Random } from '../../../support/fuzz/random.ts'

/** Time that goes on by hand. */
export class Clock {
  /** Milliseconds. */
  now = 1
  readonly time = (): number => this.now
}

/** How a service is used. */
export interface Traffic {
  readonly requests: number
  /** Mean time between two requests, in milliseconds; they come by chance. */
  readonly every: number
  /** How long an endpoint takes for an answer, in milliseconds. */
  readonly takes: (endpoint: Endpoint) => number
}

/** Deal requests and let them end; returns how many each endpoint got. All have ended then, and the clock has gone on. */
export function serve(balancer: Balancer, traffic: Traffic, clock: Clock, random: Random): Map<Endpoint, number> {
  const counts = new Map(balancer.endpoints.map(endpoint => [endpoint, 0]))
  /** By the time of their end, latest first. */
  const underWay: { endpoint: Endpoint; begun: number; ends: number }[] = []
  const endUntil = (time: number) => {
    while (underWay.length > 0 && underWay.at(-1)!.ends <= time) {
      const { endpoint, begun, ends } = underWay.pop()!
      endpoint.inFlight--
      endpoint.answeredIn(ends - begun, ends)
    }
  }
  for (let i = 0; i < traffic.requests; i++) {
    // In steps that add and subtract without rounding: equal times stay equal.
    const now = clock.now + Math.round(-Math.log(1 - random.next()) * traffic.every * 1024) / 1024
    endUntil(now)
    clock.now = now
    const endpoint = balancer.pick(0, null)!
    counts.set(endpoint, counts.get(endpoint)! + 1)
    endpoint.inFlight++
    const ends = now + traffic.takes(endpoint)
    let at = underWay.length
    while (at > 0 && underWay[at - 1]!.ends < ends) at--
    underWay.splice(at, 0, { endpoint, begun: now, ends })
  }
  if (underWay.length > 0) clock.now = underWay[0]!.ends
  endUntil(clock.now)
  return counts
}
