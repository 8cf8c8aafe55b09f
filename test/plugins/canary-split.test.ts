// How canary deals users out: the shares within chance, and the law of who moves when weights change.
import fc from 'fast-check'
import t from 'tap'
import { BUCKETS, bucketCounts, bucketOf, dealBuckets, Split, shuffledBuckets } from '../../plugins/canary/split.ts'
import { murmur3 } from '../../src/hash.ts'

/** Mulberry32: numbers in [0, 1) that are the same in every run. */
function seeded(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), 1 | state)
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z
    return ((z ^ (z >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** Critical values of chi-square at p = 0.001, by degrees of freedom. */
const CRITICAL = [0, 10.828, 13.816, 16.266, 18.467]

function chiSquare(seen: readonly number[], weights: readonly number[]): number {
  const draws = seen.reduce((a, b) => a + b, 0)
  const sum = weights.reduce((a, b) => a + b, 0)
  return seen.reduce((total, count, i) => {
    const expected = (weights[i]! / sum) * draws
    return total + (count - expected) ** 2 / expected
  }, 0)
}

function count(table: Uint8Array, targets: number): number[] {
  const counts = new Array<number>(targets).fill(0)
  for (const target of table) counts[target]!++
  return counts
}

t.test('buckets are what another implementation makes of seed and user', async t => {
  // From a reference in Python over UTF-16LE: a change here moves every user of everybody.
  const known: [string, string, number][] = [
    ['', 'user-1', 5657],
    ['', 'user-2', 7996],
    ['orders-2026-11', 'user-1', 2513],
    ['orders-2026-11', '3f1c9e0a-0b57-4a0e-9c5f-0a6d1f2b7c11', 2639],
    ['s', 'Jürgen', 7954],
    ['s', '李', 7387],
    ['s', '', 9291],
  ]
  for (const [seed, user, bucket] of known) t.equal(bucketOf(user, murmur3(seed, 0)), bucket, `${seed} ${user}`)
  t.equal(new Split([9000, 1000], 's').ofText('Jürgen'), 0)
  t.equal(new Split([9292, 708], 's').ofText(''), 0)
})

t.test('each target gets its buckets, exactly', async t => {
  t.same(bucketCounts([95, 5]), [9500, 500])
  t.same(bucketCounts([1, 1, 1]), [3334, 3333, 3333])
  t.same(bucketCounts([0, 1, 2]), [0, 3334, 6666])
  t.same(bucketCounts([0.71, 0.29]), [7100, 2900])
  t.same(bucketCounts([100, 0]), [BUCKETS, 0])
  t.same(bucketCounts([0, 100]), [0, BUCKETS])
  const weights = fc
    .array(fc.oneof(fc.constant(0), fc.double({ min: 0.001, max: 1e6, noNaN: true })), { minLength: 1, maxLength: 9 })
    .filter(list => list.some(weight => weight > 0))
  fc.assert(
    fc.property(weights, list => {
      const counts = bucketCounts(list)
      const sum = list.reduce((a, b) => a + b, 0)
      t.equal(
        counts.reduce((a, b) => a + b, 0),
        BUCKETS,
      )
      for (const [i, weight] of list.entries()) {
        if (weight === 0) t.equal(counts[i], 0)
        t.ok(Math.abs(counts[i]! - (weight / sum) * BUCKETS) < list.length, 'within rounding')
      }
      t.same(count(dealBuckets(list), list.length), counts)
    }),
    { numRuns: 40 },
  )
})

t.test('shares hold within chance over 100,000 users, and over 100,000 tickets', async t => {
  for (const weights of [
    [95, 5],
    [99, 1],
    [1, 1, 1],
    [50, 30, 15, 5],
    [20, 20, 20, 20, 20],
  ]) {
    for (const seed of ['', 'orders-2026-11', 'another']) {
      const split = new Split(weights, seed)
      const byUser = weights.map(() => 0)
      const byTicket = weights.map(() => 0)
      const random = seeded(murmur3(seed, 7))
      for (let i = 0; i < 100_000; i++) {
        byUser[split.ofText(`user-${i}`)]!++
        byTicket[split.ofTicket(Math.floor(random() * BUCKETS))]!++
      }
      const critical = CRITICAL[weights.length - 1]!
      t.ok(chiSquare(byUser, weights) < critical, `${weights} ${seed} by user: ${byUser}`)
      t.ok(chiSquare(byTicket, weights) < critical, `${weights} ${seed} by ticket: ${byTicket}`)
    }
  }
})

t.test('users that look much alike spread as well: numbers, addresses, mails, tokens', async t => {
  const kinds: ((i: number) => string)[] = [
    i => String(i),
    i => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
    i => `customer.${i}@example.com`,
    i => i.toString(16).padStart(32, '0'),
    i => `${'x'.repeat(200)}${i}`,
    i => String.fromCharCode(0x4e00 + (i % 20_000), 0x4e00 + Math.floor(i / 20_000)),
  ]
  for (const [kind, user] of kinds.entries()) {
    const seen = new Array<number>(100).fill(0)
    for (let i = 0; i < 100_000; i++) seen[Math.floor(bucketOf(user(i), murmur3('s', 0)) / 100)]!++
    // 99 degrees of freedom, p = 0.001.
    t.ok(chiSquare(seen, new Array(100).fill(1)) < 148.2, `kind ${kind}`)
  }
})

t.test('another seed deals anew: who is early under one is early under another by chance alone', async t => {
  const [one, other] = [new Split([1, 1], 'one'), new Split([1, 1], 'other')]
  const pairs = [0, 0, 0, 0]
  for (let i = 0; i < 100_000; i++) pairs[one.ofText(`user-${i}`) * 2 + other.ofText(`user-${i}`)]!++
  t.ok(chiSquare(pairs, [1, 1, 1, 1]) < CRITICAL[3]!, `${pairs}`)
  const tickets = [0, 0, 0, 0]
  for (let i = 0; i < BUCKETS; i++) tickets[one.ofTicket(i) * 2 + other.ofTicket(i)]!++
  t.ok(chiSquare(tickets, [1, 1, 1, 1]) < CRITICAL[3]!, `${tickets}`)
  t.same(
    [...shuffledBuckets(1)].sort((a, b) => a - b),
    Array.from({ length: BUCKETS }, (_, i) => i),
    'none is lost',
  )
})

/** Places of `table` at which `other` differs. */
function* moves(before: Uint8Array, after: Uint8Array): Generator<{ from: number; to: number }> {
  for (let i = 0; i < BUCKETS; i++) if (before[i] !== after[i]) yield { from: before[i]!, to: after[i]! }
}

t.test('5 % to 20 %, and 1 to 5 to 25 to 100: nobody moves back', async t => {
  const steps = [0, 1, 5, 20, 25, 100].map(share => dealBuckets([100 - share, share]))
  for (let i = 1; i < steps.length; i++) {
    const moved = [...moves(steps[i - 1]!, steps[i]!)]
    t.ok(moved.length > 0)
    t.ok(moved.every(({ from, to }) => from === 0 && to === 1))
  }
})

t.test('two targets, any weights: who moves, moves towards the share that grew', async () => {
  const weight = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.double({ min: 0, max: 1000, noNaN: true }))
  const pair = fc.tuple(weight, weight).filter(([a, b]) => a + b > 0)
  fc.assert(
    fc.property(pair, pair, (before, after) => {
      const [a, b] = [bucketCounts(before), bucketCounts(after)]
      const grown = b[0]! > a[0]! ? 0 : 1
      for (const { to } of moves(dealBuckets(before), dealBuckets(after))) if (to !== grown) return false
      return true
    }),
    { numRuns: 200 },
  )
})

/** Buckets of `targets` targets that add up to all of them. */
function shares(targets: number): fc.Arbitrary<number[]> {
  return fc
    .array(fc.integer({ min: 0, max: BUCKETS }), { minLength: targets - 1, maxLength: targets - 1 })
    .map(cuts => {
      const sorted = [0, ...cuts.sort((a, b) => a - b), BUCKETS]
      return sorted.slice(1).map((cut, i) => cut - sorted[i]!)
    })
}

t.test('any number of targets: nobody leaves the one whose share alone grew', async () => {
  const change = fc.integer({ min: 2, max: 9 }).chain(targets =>
    fc.record({
      before: shares(targets),
      grown: fc.integer({ min: 0, max: targets - 1 }),
      // What part of each of the others goes over to it.
      taken: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: targets, maxLength: targets }),
    }),
  )
  fc.assert(
    fc.property(change, ({ before, grown, taken }) => {
      const after = before.map((share, i) => (i === grown ? 0 : share - Math.floor(share * taken[i]!)))
      after[grown] = BUCKETS - after.reduce((a, b) => a + b, 0)
      for (const { from } of moves(dealBuckets(before), dealBuckets(after))) if (from === grown) return false
      return true
    }),
    { numRuns: 300 },
  )
})

t.test('what grows at the cost of the first takes from the first alone', async () => {
  // Beside the first: up to two of any size, three of a third each, five of a sixth each.
  const most = [0, 1, 1, 1 / 3, 1 / 6, 1 / 6]
  const change = fc.integer({ min: 1, max: 5 }).chain(later => {
    const share = fc.integer({ min: 0, max: Math.floor(most[later]! * BUCKETS) })
    return fc
      .record({
        later: fc.array(share, { minLength: later, maxLength: later }),
        grown: fc.integer({ min: 0, max: later - 1 }),
        to: share,
      })
      .filter(({ later, grown, to }) => {
        const others = later.reduce((a, b) => a + b, 0) - later[grown]!
        return to > later[grown]! && others + to <= BUCKETS
      })
  })
  fc.assert(
    fc.property(change, ({ later, grown, to }) => {
      const withFirst = (list: readonly number[]) => [BUCKETS - list.reduce((a, b) => a + b, 0), ...list]
      const after = later.map((share, i) => (i === grown ? to : share))
      const moved = [...moves(dealBuckets(withFirst(later)), dealBuckets(withFirst(after)))]
      return moved.length === to - later[grown]! && moved.every(one => one.from === 0 && one.to === grown + 1)
    }),
    { numRuns: 300 },
  )
})

t.test('a target that is added at the end, or set to zero, moves nobody else', async t => {
  const before = dealBuckets([90, 10])
  t.ok([...moves(before, dealBuckets([85, 10, 5]))].every(({ from, to }) => from === 0 && to === 2))
  t.ok([...moves(dealBuckets([85, 10, 5]), dealBuckets([95, 0, 5]))].every(({ from, to }) => from === 1 && to === 0))
})
