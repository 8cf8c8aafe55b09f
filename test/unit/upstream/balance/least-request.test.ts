// Least requests of two choices: who is never picked, what an idle set is dealt, and how evenly a busy one ends up.
import fc from 'fast-check'
import t from 'tap'
import { LeastRequest } from '../../../../src/upstream/balance/least-request.ts'
import type { Endpoint } from '../../../../src/upstream/endpoint.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { Random } from '../../../support/fuzz/random.ts'
import { countPicks, offChance } from './chance.ts'
import { Clock, serve } from './service.ts'

function leastRequest(all: readonly Endpoint[], seed = 3): LeastRequest {
  const random = new Random(seed)
  return new LeastRequest(all, () => random.next())
}

/** Picks that all stay under way. */
function hold(balancer: LeastRequest, picks: number): void {
  for (let i = 0; i < picks; i++) balancer.pick(0, null)!.inFlight++
}

t.test('of two the busier is never picked', async () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(50), fc.nat(), (one, two, seed) => {
      const [a, b] = endpoints([1, 1]) as [Endpoint, Endpoint]
      a.inFlight = one
      b.inFlight = two
      const balancer = leastRequest([a, b], seed)
      return Array.from({ length: 20 }, () => balancer.pick(0, null)!).every(
        ({ inFlight }) => inFlight <= Math.min(one, two),
      )
    }),
  )
})

t.test('the busiest by its share is never picked, however many there are', async () => {
  const set = fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.nat(20)), { minLength: 2, maxLength: 10 })
  fc.assert(
    fc.property(set, fc.nat(), (list, seed) => {
      const all = endpoints(list.map(([weight]) => weight))
      for (const [i, [, load]] of list.entries()) all[i]!.inFlight = load
      const load = ({ inFlight, share }: Endpoint) => inFlight / share
      const most = Math.max(...all.map(load))
      const busiest = all.filter(endpoint => load(endpoint) === most)
      if (busiest.length > 1) return true
      const balancer = leastRequest(all, seed)
      return Array.from({ length: 50 }, () => balancer.pick(0, null)).every(picked => picked !== busiest[0])
    }),
    { numRuns: 300 },
  )
})

t.test('an idle set is dealt by shares', async t => {
  for (const weights of [[1, 1], [99, 1], [5, 3, 2, 0], [1000, 1, 1], [1, 0.35], Array(10).fill(1)]) {
    const counts = countPicks(leastRequest(endpoints(weights)), 50_000)
    t.equal(offChance([...counts.values()], weights), '', String(weights))
  }
})

t.test('what stays under way ends up even, and by shares', async t => {
  const even = endpoints(Array(10).fill(1))
  hold(leastRequest(even), 10_000)
  t.ok(Math.max(...even.map(({ inFlight }) => inFlight)) - 1000 <= 30, even.map(({ inFlight }) => inFlight).join())

  const uneven = endpoints([1, 2, 5, 0.35, 0])
  hold(leastRequest(uneven), 8350)
  for (const { inFlight, share } of uneven) t.ok(Math.abs(inFlight - share * 1000) <= 30, `${share}: ${inFlight}`)

  const many = endpoints(Array(1000).fill(1))
  hold(leastRequest(many), 100_000)
  const loads = many.map(({ inFlight }) => inFlight)
  t.ok(Math.max(...loads) <= 105 && Math.min(...loads) >= 90, `${Math.min(...loads)} to ${Math.max(...loads)}`)
})

t.test('a share that changes draws what is under way to it', async t => {
  const all = endpoints([1, 1])
  const [a, b] = all as [Endpoint, Endpoint]
  hold(leastRequest(all), 200)
  t.same([a.inFlight, b.inFlight], [100, 100])
  a.share = 3
  hold(leastRequest(all), 200)
  t.same([a.inFlight, b.inFlight], [300, 100])
})

t.test('a slow one gets less than a quarter of its part of a busy service', async t => {
  const all = endpoints(Array(10).fill(1))
  const random = new Random(5)
  const counts = serve(
    leastRequest(all),
    { requests: 50_000, every: 0.2, takes: endpoint => (endpoint === all[0] ? 100 : 10) },
    new Clock(),
    random,
  )
  t.ok(counts.get(all[0]!)! < (50_000 / 10) * 0.25, `${counts.get(all[0]!)} of 50,000`)
  t.ok(all.every(({ inFlight }) => inFlight === 0))
  const rest = [...counts.values()].slice(1)
  t.ok(Math.max(...rest) / Math.min(...rest) < 1.1, rest.join())
})
