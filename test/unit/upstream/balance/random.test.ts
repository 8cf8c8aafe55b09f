// Weighted random choice: the alias tables hold the shares exactly, draws hold them within chance.
import fc from 'fast-check'
import t from 'tap'
import { Random as RandomBalancer } from '../../../../src/upstream/balance/random.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { Random } from '../../../support/fuzz/random.ts'
import { countPicks, offChance } from './chance.ts'
import { reference } from './reference.ts'

const cases: { weights: number[]; n: number }[] = [
  [1, 1],
  [95, 5],
  [99, 1],
  [5, 3, 2],
  [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  [1000, 1, 1],
  [0, 3, 0, 1],
  [1, 0.35, 0.1],
  [100, 0],
  Array.from({ length: 1000 }, (_, i) => 1 + (i % 7)),
].map(weights => ({ weights, n: 100_000 }))
cases.push(...(reference?.weighted_canary.tests ?? []))

t.test('shares, by chi-square', async t => {
  for (const { weights, n } of cases) {
    const random = new Random(7)
    const balancer = new RandomBalancer(endpoints(weights), () => random.next())
    t.equal(offChance([...countPicks(balancer, n).values()], weights), '', `${weights.slice(0, 12)}`)
  }
})

t.test('the tables are exact: every column in full steps', async () => {
  const weights = fc.array(fc.nat(20), { minLength: 2, maxLength: 7 }).filter(list => list.some(weight => weight > 0))
  fc.assert(
    fc.property(weights, list => {
      const usable = list.filter(weight => weight > 0)
      const n = usable.length
      const sum = usable.reduce((a, b) => a + b, 0)
      // Walk all columns, and within each all steps of 1 / sum: shares are then whole numbers of steps.
      const all = endpoints(list)
      let draw = 0
      const balancer = new RandomBalancer(all, () => {
        const column = Math.floor(draw / sum)
        const step = draw++ % sum
        return (column + (step + 0.5) / sum) / n
      })
      const counts = countPicks(balancer, n * sum)
      return all.every(endpoint => counts.get(endpoint) === endpoint.weight * n)
    }),
    { numRuns: 500 },
  )
})

t.test('around one to avoid, the others keep their shares', async t => {
  for (const weights of [
    [1, 1, 1],
    [1_000_000, 1, 3],
    [1000, 100, 10, 1],
    [2, 1, 1],
    [3, 2, 0, 1],
  ]) {
    const random = new Random(9)
    const all = endpoints(weights)
    const balancer = new RandomBalancer(all, () => random.next())
    for (const [i, avoid] of all.entries()) {
      const counts = [...countPicks(balancer, 50_000, avoid).values()]
      t.equal(
        offChance(
          counts,
          weights.map((w, j) => (i === j ? 0 : w)),
        ),
        '',
        `${weights}`,
      )
    }
  }
})

t.test('a share that changes counts from the next balancer on', async t => {
  const random = new Random(11)
  const all = endpoints([1, 1, 1])
  const next = () => random.next()
  const before = new RandomBalancer(all, next)
  all[0]!.share = 0.2
  all[1]!.share = 0
  t.equal(offChance([...countPicks(before, 50_000).values()], [1, 1, 1]), '')
  t.equal(offChance([...countPicks(new RandomBalancer(all, next), 50_000).values()], [0.2, 0, 1]), '')
})
