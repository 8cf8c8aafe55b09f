// Smooth weighted round robin against nginx's loop, the vectors of ../shared/corpora where they are, and its laws.
import fc from 'fast-check'
import t from 'tap'
import type { Balancer } from '../../../../src/upstream/balance/balancer.ts'
import { RoundRobin, smoothSchedule } from '../../../../src/upstream/balance/round-robin.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { Random } from '../../../support/fuzz/random.ts'
import { reference } from './reference.ts'

/** ngx_http_upstream_get_peer, without failures: the picks of `turns` turns. */
function nginx(weights: readonly number[], turns: number): number[] {
  const peers = weights.map((weight, i) => ({ i, weight, current: 0 })).filter(peer => peer.weight > 0)
  const total = peers.reduce((sum, peer) => sum + peer.weight, 0)
  return Array.from({ length: turns }, () => {
    let best = peers[0]!
    for (const peer of peers) {
      peer.current += peer.weight
      if (peer !== best && peer.current > best.current) best = peer
    }
    best.current -= total
    return best.i
  })
}

function picks(weights: readonly number[], turns: number): string {
  const balancer = new RoundRobin(endpoints(weights))
  return Array.from({ length: turns }, () => balancer.pick(0, null)!.host).join('')
}

const vectors: { weights: number[]; sequence: string }[] = [
  { weights: [5, 1, 1], sequence: 'aabacaa' },
  { weights: [1, 1, 1], sequence: 'abcabc' },
  { weights: [4, 2, 1], sequence: 'abacaba' },
  { weights: [3, 0, 1], sequence: 'aacaaaca' },
  { weights: [0, 7], sequence: 'bbb' },
  { weights: [10, 20], sequence: 'babbab' },
]
vectors.push(...(reference?.smooth_weighted_round_robin.vectors ?? []))

t.test('known sequences', async t => {
  for (const { weights, sequence } of vectors) t.equal(picks(weights, sequence.length), sequence, String(weights))
})

const anyWeights = fc
  .array(fc.oneof(fc.nat(9), fc.nat(100)), { minLength: 1, maxLength: 8 })
  .filter(list => list.some(w => w > 0))

t.test("plays nginx's sequence", async () => {
  fc.assert(
    fc.property(anyWeights, weights => {
      const sum = weights.reduce((a, b) => a + b, 0)
      const names = endpoints(weights).map(endpoint => endpoint.host)
      return (
        picks(weights, 2 * sum) ===
        nginx(weights, 2 * sum)
          .map(i => names[i])
          .join('')
      )
    }),
    { numRuns: 500 },
  )
})

t.test('laws', async () => {
  fc.assert(
    fc.property(anyWeights, fc.nat(50), (weights, start) => {
      const sum = weights.reduce((a, b) => a + b, 0)
      const sequence = picks(weights, start + sum).slice(start)
      // Whatever the window of one cycle, each is picked as often as its weight says.
      return endpoints(weights).every(({ host, weight }) => sequence.split(host).length - 1 === weight)
    }),
    { numRuns: 500 },
  )
})

t.test('large weights are scaled down and keep their shares', async t => {
  const weights = [1_000_000, 333_333, 1, 0]
  const order = smoothSchedule(weights)
  t.ok(order.length <= 4096 + weights.length, `${order.length} turns`)
  const sum = weights.reduce((a, b) => a + b, 0)
  for (const [i, weight] of weights.entries()) {
    const share = order.filter(pick => pick === i).length / order.length
    t.ok(Math.abs(share - weight / sum) < 1 / 2048, `${weight}: ${share}`)
    t.equal(share === 0, weight === 0, 'a small weight is not lost and none is invented')
  }
  t.equal(smoothSchedule([1000, 500]).length, 3, 'what reduces is not scaled')
})

t.test('a small share beside a large one is what its weight says', async t => {
  for (const weights of [
    [9999, 1],
    [1, 50_000],
    [30_000, 9, 1],
    [12_000, 1, 1, 1, 1, 1, 1, 1, 1],
  ]) {
    const order = smoothSchedule(weights)
    t.same(
      weights.map((_, i) => order.filter(pick => pick === i).length),
      weights,
    )
  }
})

t.test('none, one, and one to avoid', async t => {
  t.equal(new RoundRobin([]).pick(0, null), null)
  t.equal(new RoundRobin(endpoints([0, 0])).pick(0, null), null, 'weight 0 gets nothing')
  const alone = endpoints([1])
  t.equal(new RoundRobin(alone).pick(0, alone[0]!), alone[0], 'where there is no other')
  for (const weights of [
    [1, 1, 1],
    [9, 1, 2],
    [1, 0, 5],
  ]) {
    const all = endpoints(weights)
    const balancer = new RoundRobin(all)
    t.same(balancer.endpoints, all)
    for (let i = 0; i < 30; i++) t.not(balancer.pick(0, all[0]!), all[0], 'the one that failed is left out')
  }
})

/** How often each index comes in a cycle. */
function counts(order: Int32Array, n: number): number[] {
  const found = new Array<number>(n).fill(0)
  for (const i of order) found[i]!++
  return found
}

t.test('fractional shares', async t => {
  t.equal(picks([0.5, 1], 6), 'babbab', 'in the order of 1 and 2')
  t.same([...smoothSchedule([1, 1, 0.35])].length, 47, 'exact where the cycle allows')
  t.same(counts(smoothSchedule([0.1, 0.2, 0.3]), 3), [1, 2, 3], 'whatever binary fractions make of them')
  const share = fc.double({ min: 0.05, max: 1, noNaN: true })
  fc.assert(
    fc.property(fc.array(share, { minLength: 2, maxLength: 100 }), list => {
      const order = smoothSchedule(list)
      const sum = list.reduce((a, b) => a + b, 0)
      // Half a turn for being rounded, and as much of the cycle's length for all hundred of them.
      return counts(order, list.length).every((turns, i) => {
        const due = (list[i]! / sum) * order.length
        return Math.abs(turns - due) <= 0.5 + due * (50 / 4046)
      })
    }),
    { numRuns: 50 },
  )
  t.same(
    counts(smoothSchedule([1, 1e-9, 5e-324]), 3).map(turns => turns > 0),
    [true, true, true],
    'none is lost for being small',
  )
})

t.test('large uneven sets are spread evenly, each over the whole cycle', async t => {
  const random = new Random(3)
  for (const [n, weight] of [
    [500, () => 1 + random.below(100)],
    [10_000, () => 1 + random.below(100)],
    [10_000, () => random.next() + 0.05],
    [10_000, () => 1 + random.below(2)],
  ] as const) {
    const weights = Array.from({ length: n }, weight)
    const sum = weights.reduce((a, b) => a + b, 0)
    const order = smoothSchedule(weights)
    t.ok(order.length <= 16.5 * n, `${order.length} turns`)
    const turns = counts(order, n)
    const due = weights.map(weight => (weight / sum) * order.length)
    t.ok(
      turns.every((count, i) => count === Math.max(1, Math.round(due[i]!)) || Math.abs(count - due[i]!) < 0.6),
      'by weight',
    )
    // The distance between two turns of one endpoint, beside the even one.
    let worst = 0
    const last = new Map<number, number>()
    for (let turn = 0; turn < 2 * order.length; turn++) {
      const i = order[turn % order.length]!
      const before = last.get(i)
      const even = order.length / turns[i]!
      if (before !== undefined) worst = Math.max(worst, Math.abs(turn - before - even) / even)
      last.set(i, turn)
    }
    t.ok(worst < 0.25, `${n}: at worst off by ${(worst * 100).toFixed(1)} %`)
  }
})

t.test('one that takes over goes on where the other was', async t => {
  const all = endpoints([5, 1, 1])
  let balancer: Balancer = new RoundRobin(all)
  let sequence = ''
  for (let i = 0; i < 14; i++) {
    sequence += balancer.pick(0, null)!.host
    balancer = new RoundRobin(all, balancer)
  }
  t.equal(sequence, 'aabacaaaabacaa', 'the same set plays the same sequence')

  const [a, b, c, d] = endpoints([1, 1, 1, 1])
  balancer = new RoundRobin([a!, b!, c!, d!])
  balancer.pick(0, null)
  const next = (...list: (typeof a)[]) => new RoundRobin(list as NonNullable<typeof a>[], balancer).pick(0, null)!.host
  t.equal(next(a, b, c, d), 'b')
  t.equal(next(a, c, d), 'c', 'whose turn it was is gone: who came after it')
  t.equal(next(d, c, b, a), 'b', 'the order of the list does not matter')
  t.equal(next(...endpoints([1, 1])), 'a', 'all others')
})

t.test('sets that change at every pick favour none', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5), { minLength: 30, maxLength: 90 }), toggled => {
      const all = endpoints(Array(8).fill(1))
      const counts = new Map(all.map(endpoint => [endpoint, 0]))
      const out = new Set<number>()
      let balancer: Balancer = new RoundRobin(all)
      for (const which of toggled) {
        if (!out.delete(which)) out.add(which)
        balancer = new RoundRobin(
          all.filter((_, i) => !out.has(i)),
          balancer,
        )
        const picked = balancer.pick(0, null)!
        counts.set(picked, counts.get(picked)! + 1)
      }
      // The last two are always in: each has its turn when the other had.
      return Math.abs(counts.get(all[6]!)! - counts.get(all[7]!)!) <= 1
    }),
  )
})

t.test('a share that grows step by step, a balancer for each pick', async t => {
  const all = endpoints([1, 1, 1])
  const got = new Map(all.map(endpoint => [endpoint, 0]))
  let balancer: Balancer = new RoundRobin(all)
  let due = 0
  for (let i = 1; i <= 2000; i++) {
    all[2]!.share = 0.1 + 0.9 * (i / 2000)
    due += all[2]!.share / (2 + all[2]!.share)
    balancer = new RoundRobin(all, balancer)
    const picked = balancer.pick(0, null)!
    got.set(picked, got.get(picked)! + 1)
  }
  t.ok(Math.abs(got.get(all[2]!)! / due - 1) < 0.15, `${got.get(all[2]!)} where ${due.toFixed(0)} are due`)
  t.ok(Math.abs(got.get(all[0]!)! / got.get(all[1]!)! - 1) < 0.1, `${[...got.values()]}`)
})
