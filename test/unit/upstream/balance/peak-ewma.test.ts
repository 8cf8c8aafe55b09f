// Peak EWMA: how a latency is remembered and forgotten, and that slow, failing and untried endpoints get what they are due.
import fc from 'fast-check'
import t from 'tap'
import { PeakEwma } from '../../../../src/upstream/balance/peak-ewma.ts'
import type { Endpoint } from '../../../../src/upstream/endpoint.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { Random } from '../../../support/fuzz/random.ts'
import { countPicks, offChance } from './chance.ts'
import { Clock, serve } from './service.ts'

function peakEwma(all: readonly Endpoint[], clock: Clock, seed = 3): PeakEwma {
  const random = new Random(seed)
  return new PeakEwma(all, () => random.next(), clock.time)
}

function one(): Endpoint {
  return endpoints([1])[0]!
}

t.test('a slower answer counts at once, a faster one by the time since the last', async t => {
  const endpoint = one()
  endpoint.answeredIn(40, 1000)
  t.equal(endpoint.latency, 40)
  endpoint.answeredIn(100, 1001)
  t.equal(endpoint.latency, 100, 'the peak')
  endpoint.answeredIn(10, 11_001)
  t.ok(Math.abs(endpoint.latency - (10 + 90 / Math.E)) < 1e-9, String(endpoint.latency))
  t.equal(endpoint.latencyAt, 11_001)
  endpoint.answeredIn(20, 11_000)
  t.ok(endpoint.latency > 43 && endpoint.latency < 44, 'a clock that goes back moves nothing')
})

t.test('laws of the memory', async () => {
  const answers = fc.array(fc.tuple(fc.double({ min: 0, max: 5000, noNaN: true }), fc.nat(30_000)), { minLength: 1 })
  fc.assert(
    fc.property(answers, list => {
      const endpoint = one()
      let now = 0
      let most = 0
      for (const [ms, pause] of list) {
        now += pause
        endpoint.answeredIn(ms, now)
        most = Math.max(most, ms)
        // Never faster than the last answer, never slower than the slowest, and never none.
        if (endpoint.latency < ms || endpoint.latency > Math.max(most, 0.001) || endpoint.latency === 0) return false
      }
      return true
    }),
  )
})

t.test('the same answers in pieces of time fade as in one', async t => {
  const [often, seldom] = endpoints([1, 1]) as [Endpoint, Endpoint]
  for (const endpoint of [often, seldom]) endpoint.answeredIn(500, 0)
  for (let now = 10; now <= 20_000; now += 10) often.answeredIn(5, now)
  seldom.answeredIn(5, 20_000)
  t.ok(Math.abs(often.latency - seldom.latency) < 1e-6, `${often.latency} ${seldom.latency}`)
})

t.test('a failure makes slower, however quick it was', async t => {
  const endpoint = one()
  endpoint.failedIn(0, 1)
  t.ok(endpoint.latency > 0, 'known from now on')
  endpoint.answeredIn(8, 2)
  endpoint.failedIn(0.2, 3)
  t.equal(endpoint.latency, 16)
  endpoint.failedIn(30_000, 4)
  t.equal(endpoint.latency, 30_000)
  for (let i = 0; i < 10; i++) endpoint.failedIn(1, 5)
  t.equal(endpoint.latency, 60_000, 'within bounds')
})

t.test('goes by latency, requests under way and share', async t => {
  const clock = new Clock()
  const picked = (one: [ms: number, inFlight: number, share: number], two: [number, number, number]) => {
    const all = endpoints([one[2], two[2]])
    for (const [i, [ms, inFlight]] of [one, two].entries()) {
      all[i]!.answeredIn(ms, clock.now)
      all[i]!.inFlight = inFlight
    }
    const balancer = peakEwma(all, clock)
    const names = new Set(Array.from({ length: 40 }, () => balancer.pick(0, null)!.host))
    return [...names].sort().join('')
  }
  t.equal(picked([10, 0, 1], [11, 0, 1]), 'a', 'the faster')
  t.equal(picked([10, 2, 1], [10, 1, 1]), 'b', 'the less busy')
  t.equal(picked([10, 4, 1], [40, 1, 1]), 'a', 'five times 10 beside two times 40')
  t.equal(picked([10, 9, 1], [40, 1, 1]), 'b', 'ten times 10 beside two times 40')
  t.equal(picked([10, 2, 1], [10, 3, 2]), 'b', 'four for two shares beside three for one')
  t.equal(picked([10, 1, 1], [10, 1, 1]), 'ab', 'a tie goes by chance')
})

t.test('with equal latencies each gets its part', async t => {
  for (const n of [2, 5, 10]) {
    const all = endpoints(Array(n).fill(1))
    const clock = new Clock()
    const counts = serve(peakEwma(all, clock), { requests: 20_000, every: 2, takes: () => 10 }, clock, new Random(n))
    t.equal(offChance([...counts.values()], Array(n).fill(1)), '', [...counts.values()].join())
  }
})

t.test('before any answer all are dealt as by least requests', async t => {
  const all = endpoints([3, 1, 1])
  const idle = countPicks(peakEwma(all, new Clock()), 50_000)
  t.equal(offChance([...idle.values()], [3, 1, 1]), '', 'by shares while nothing is under way')
  const balancer = peakEwma(all, new Clock())
  for (let i = 0; i < 500; i++) balancer.pick(0, null)!.inFlight++
  for (const { inFlight, share } of all) t.ok(Math.abs(inFlight - share * 100) <= 5, `${share}: ${inFlight}`)
})

t.test('a slow one gets less than a quarter of its part, in a busy service and in a quiet one', async t => {
  for (const every of [0.2, 50]) {
    const all = endpoints(Array(10).fill(1))
    const clock = new Clock()
    const takes = (endpoint: Endpoint) => (endpoint === all[0] ? 100 : 10)
    const counts = serve(peakEwma(all, clock), { requests: 20_000, every, takes }, clock, new Random(5))
    const slow = counts.get(all[0]!)!
    t.ok(slow > 0 && slow < (20_000 / 10) * 0.25, `${slow} of 20,000, one each ${every} ms`)
  }
})

t.test('an untried one is tried at once, and gets one at a time until it answers', async t => {
  const clock = new Clock()
  const all = endpoints([1, 1, 1])
  const fresh = all[2]!
  for (const endpoint of all.slice(0, 2)) {
    endpoint.answeredIn(5, clock.now)
    endpoint.inFlight = 20
  }
  const balancer = peakEwma(all, clock)
  let got = 0
  for (let i = 0; i < 200; i++) {
    const endpoint = balancer.pick(0, null)!
    endpoint.inFlight++
    if (endpoint === fresh) {
      got++
      t.equal(endpoint.inFlight, 1)
      t.ok(i < 20, `no. ${i}`)
    }
  }
  t.equal(got, 1, 'tried, not flooded')
  fresh.answeredIn(5, clock.now)
  const then = new Set(Array.from({ length: 20 }, () => balancer.pick(0, null)))
  t.ok(then.has(fresh), 'its answer brings it in')
})

t.test('one that was slow comes back by itself, one request at a time', async t => {
  const clock = new Clock()
  const all = endpoints([1, 1])
  const [slow, quick] = all as [Endpoint, Endpoint]
  slow.answeredIn(500, clock.now)
  quick.answeredIn(5, clock.now)
  const balancer = peakEwma(all, clock)
  const picksIn = (ms: number) => {
    clock.now += ms
    quick.answeredIn(5, clock.now)
    return balancer.pick(0, null)
  }
  t.equal(picksIn(10), quick)
  t.equal(picksIn(40_000), quick, 'e^-4 of 500 ms is 9')
  t.equal(picksIn(10_000), slow, 'e^-5 of them is 3')
  slow.inFlight++
  quick.inFlight = 50
  t.equal(balancer.pick(0, null), quick, 'not a second before the first is answered')
  slow.answeredIn(5, clock.now)
  slow.inFlight--
  t.equal(balancer.pick(0, null), slow)
  t.ok(slow.latency < 10, 'what it did long ago is forgotten by its first good answer')
})
