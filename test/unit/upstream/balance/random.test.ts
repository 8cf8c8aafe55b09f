// Weighted random choice: the alias tables hold the shares exactly, draws hold them within chance.
import fc from 'fast-check'
import t from 'tap'
import { BALANCERS } from '../../../../src/upstream/balance/algorithms.ts'
import { Random as RandomBalancer } from '../../../../src/upstream/balance/random.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { Random } from '../../../support/fuzz/random.ts'

/** Chi-square at p = 0.001 by degrees of freedom. */
const CRITICAL = [0, 10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877]

t.test('shares, by chi-square', async t => {
  const draws = 100_000
  for (const weights of [
    [1, 1],
    [95, 5],
    [99, 1],
    [5, 3, 2],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    [1000, 1, 1],
    [0, 3, 0, 1],
  ]) {
    const random = new Random(7)
    const all = endpoints(weights)
    const balancer = new RandomBalancer(all, () => random.next())
    const counts = new Map(all.map(endpoint => [endpoint, 0]))
    for (let i = 0; i < draws; i++) {
      const endpoint = balancer.pick(0, null)!
      counts.set(endpoint, counts.get(endpoint)! + 1)
    }
    const sum = weights.reduce((a, b) => a + b, 0)
    let chi = 0
    for (const endpoint of all) {
      const expected = (endpoint.weight * draws) / sum
      if (expected === 0) t.equal(counts.get(endpoint), 0, 'weight 0 is never picked')
      else chi += (counts.get(endpoint)! - expected) ** 2 / expected
    }
    const degrees = weights.filter(weight => weight > 0).length - 1
    t.ok(chi < CRITICAL[degrees]!, `${weights}: chi-square ${chi.toFixed(2)} with ${degrees} degrees`)
  }
})

t.test('the tables are exact: every column in full steps', async () => {
  const weights = fc.array(fc.nat(20), { minLength: 1, maxLength: 7 }).filter(list => list.some(weight => weight > 0))
  fc.assert(
    fc.property(weights, list => {
      const usable = list.filter(weight => weight > 0)
      const n = usable.length
      const sum = usable.reduce((a, b) => a + b, 0)
      // Walk all columns, and within each all steps of 1 / sum: shares are then whole numbers of steps.
      const all = endpoints(list)
      const counts = new Map(all.map(endpoint => [endpoint, 0]))
      let draw = 0
      const balancer = new RandomBalancer(all, () => {
        const column = Math.floor(draw / 2 / sum)
        const step = Math.floor(draw / 2) % sum
        return draw++ % 2 === 0 ? (column + 0.5) / n : (step + 0.5) / sum
      })
      for (let i = 0; i < n * sum; i++) {
        const endpoint = balancer.pick(0, null)!
        counts.set(endpoint, counts.get(endpoint)! + 1)
      }
      return all.every(endpoint => counts.get(endpoint) === endpoint.weight * n)
    }),
    { numRuns: 500 },
  )
})

t.test('none, one, and one to avoid', async t => {
  t.equal(new RandomBalancer([]).pick(0, null), null)
  t.equal(new RandomBalancer(endpoints([0])).pick(0, null), null)
  const alone = endpoints([1])
  t.equal(new RandomBalancer(alone).pick(0, alone[0]!), alone[0])
  const all = endpoints([1_000_000, 1, 3])
  const random = new Random(9)
  const balancer = new RandomBalancer(all, () => random.next())
  for (let i = 0; i < 200; i++) t.not(balancer.pick(0, all[0]!), all[0], 'another is found, however unlikely')
})

t.test('every name makes a balancer that keeps to its endpoints', async t => {
  for (const [name, make] of Object.entries(BALANCERS)) {
    const all = endpoints([1, 2, 0])
    const balancer = make(all)
    t.same(balancer.endpoints, all, name)
    for (let key = 0; key < 50; key++) t.ok(all.slice(0, 2).includes(balancer.pick(key * 0x9e3779b1, null)!))
    t.equal(make([]).pick(0, null), null)
  }
})
