// Smooth weighted round robin against nginx's loop, the vectors of ../shared/corpora where they are, and its laws.
import fs from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { RoundRobin, smoothSchedule } from '../../../../src/upstream/balance/round-robin.ts'
import { endpoints } from '../../../support/endpoints.ts'

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
const corpus = new URL('../../../../../shared/corpora/balancer/balancer-reference.json', import.meta.url)
if (fs.existsSync(corpus)) {
  const reference = JSON.parse(fs.readFileSync(corpus, 'utf8'))
  vectors.push(...reference.smooth_weighted_round_robin.vectors)
}

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
