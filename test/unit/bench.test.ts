// What the bench makes of its runs: medians, and what one kind of request adds to another.
import t from 'tap'
import { added, median, type Run } from '../../bench/round.ts'

const run = (cpuPerRequest: number, fault: string | null = null): Run => ({
  cpuPerRequest,
  requestsPerSecond: 1,
  p50: 1,
  p99: 1,
  rss: 1,
  ok: 1,
  fault,
})

t.test('the middle of an odd and an even number of values, and of none', async t => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.ok(Number.isNaN(median([])))
})

t.test('differences are taken within a round, and failed rounds count on neither side', async t => {
  const plain = [10, 20, 30, 40].map(cpu => run(cpu))
  const mine = [run(11), run(22), run(99, 'cut off'), run(41)]
  t.same(added(mine, plain), { median: 1, low: 1, high: 2 })
  t.equal(added(null, plain), null)
  t.equal(added([run(1, 'failed')], [run(1)]), null)
})

t.test('the interval of many rounds leaves out the outliers on both sides', async t => {
  const plain = Array.from({ length: 101 }, () => run(100))
  const mine = plain.map((_, i) => run(100 + i))
  // For 101 values the 41st and the 61st: n / 2 ± 0.98 √n.
  t.same(added(mine, plain), { median: 50, low: 40, high: 60 })
})
