// Ring hash: which keys move when the set changes, what is the same everywhere, and how far a busy endpoint is spared.
import fc from 'fast-check'
import t from 'tap'
import type { Balancer } from '../../../../src/upstream/balance/balancer.ts'
import { RingHash } from '../../../../src/upstream/balance/ring-hash.ts'
import { Endpoint } from '../../../../src/upstream/endpoint.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { Random } from '../../../support/fuzz/random.ts'
import { offChance } from './chance.ts'

const { pool } = endpoints([1])[0]!

function at(address: string, weight: number): Endpoint {
  return new Endpoint({ address, host: address, port: 1, weight, labels: {} }, pool)
}

function set(n: number): Endpoint[] {
  return Array.from({ length: n }, (_, i) => at(`10.0.${i >> 8}.${i & 255}:8080`, 1))
}

const KEYS = 100_000
/** Well spread, as hashes are. */
const keyOf = (i: number) => Math.imul(i, 0x9e37_79b1) >>> 0

/** The endpoint of each key while nothing is under way. */
function mapping(balancer: Balancer, keys = KEYS): Endpoint[] {
  return Array.from({ length: keys }, (_, i) => balancer.pick(keyOf(i), null)!)
}

const moved = (a: readonly Endpoint[], b: readonly Endpoint[]) => a.filter((one, i) => one !== b[i]).length

t.test('the mapping is what another implementation makes of addresses and shares', async t => {
  // From a reference in Python: a change here moves every key of everybody, and apart in gateways of two versions.
  const all = [at('10.0.0.1:8080', 1), at('10.0.0.2:8080', 1), at('10.0.0.3:8080', 2), at('[2001:db8::1]:443', 0.35)]
  const owners = mapping(new RingHash(all), 24).map(endpoint => all.indexOf(endpoint))
  t.equal(owners.join(''), '210222212220212212111232')
  const arcs = new Map(all.map(endpoint => [endpoint, 0]))
  const balancer = new RingHash(all)
  for (let arc = 0; arc < 0x1_0000; arc++) {
    const owner = balancer.pick(arc * 0x1_0000, null)!
    arcs.set(owner, arcs.get(owner)! + 1)
  }
  t.same([...arcs.values()], [14_990, 15_158, 30_082, 5306])
})

t.test('ten of equal share: even, and only the keys of one that goes move', async t => {
  const all = set(10)
  const before = mapping(new RingHash(all))
  const counts = all.map(endpoint => before.filter(owner => owner === endpoint).length)
  t.ok(Math.max(...counts) / (KEYS / 10) <= 1.05, counts.join())
  for (const gone of all) {
    const after = mapping(new RingHash(all.filter(endpoint => endpoint !== gone)))
    t.ok(
      before.every((owner, i) => owner === gone || owner === after[i]),
      'none moves between those that stay',
    )
    t.ok(moved(before, after) <= (1.05 * KEYS) / 10, `${moved(before, after)} moved`)
  }
  t.equal(moved(before, mapping(new RingHash(all))), 0, 'back again, all is as it was')
  t.equal(moved(before, mapping(new RingHash([...all].reverse()))), 0, 'the order does not matter')
  const fresh = set(10)
  t.same(
    mapping(new RingHash(fresh)).map(owner => fresh.indexOf(owner)),
    before.map(owner => all.indexOf(owner)),
    'nor does who made them: nothing is left to chance',
  )
})

t.test('large sets keep it so', async t => {
  for (const n of [1000, 10_000]) {
    const all = set(n + 1)
    const before = mapping(new RingHash(all.slice(0, n)))
    const after = mapping(new RingHash(all))
    t.ok(
      after.every((owner, i) => owner === all[n] || owner === before[i]),
      'all that moves goes to the one that came',
    )
    t.ok(moved(before, after) <= KEYS * (1 / n + 0.05), `${moved(before, after)} of ${KEYS}`)
  }
  const more = set(70_000)
  const owners = new Set(mapping(new RingHash(more), 0x1_0000))
  t.ok(owners.size > 30_000 && [...owners].some(owner => more.indexOf(owner) > 65_535), `${owners.size} used`)
})

t.test('any set, any change of one share: keys move from it or to it, and nowhere else', async () => {
  const share = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constantFrom(0, 0.1, 0.35, 1 / 3, 1000))
  fc.assert(
    fc.property(fc.array(share, { minLength: 2, maxLength: 12 }), fc.nat(), share, (list, which, to) => {
      const all = endpoints(list)
      const one = all[which % all.length]!
      if (all.every(endpoint => endpoint === one || endpoint.share === 0)) return true
      const keys = 5000
      const from = one.share
      const first = new RingHash(all)
      const before = mapping(first, keys)
      one.share = to
      const then = new RingHash(all, first)
      const after = mapping(then, keys)
      const right = before.every((owner, i) => {
        if (owner === after[i]) return true
        return to > from ? after[i] === one : owner === one
      })
      one.share = from
      return right && moved(before, mapping(new RingHash(all, then), keys)) === 0
    }),
    { numRuns: 60 },
  )
})

t.test('arcs are held by share, whatever its unit', async t => {
  for (const weights of [
    [1, 1, 1],
    [5, 1, 1],
    [1, 0.35, 0.1, 0],
    [99, 1],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  ]) {
    const all = endpoints(weights)
    const balancer = new RingHash(all)
    const owners = Array.from({ length: 0x1_0000 }, (_, arc) => balancer.pick(arc * 0x1_0000, null)!)
    const counts = all.map(endpoint => owners.filter(owner => owner === endpoint).length)
    t.equal(offChance(counts, weights), '', `${weights}: ${counts}`)
    for (const endpoint of all) endpoint.share *= 1024
    const scaled = new RingHash(all)
    t.ok(owners.every((owner, arc) => scaled.pick(arc * 0x1_0000, null) === owner))
  }
})

t.test('none takes more than a quarter over its share of what is under way', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 8 }),
      fc.integer({ min: 1, max: 40 }),
      fc.nat(),
      (list, distinct, seed) => {
        const all = endpoints(list)
        const sum = list.reduce((a, b) => a + b, 0)
        const random = new Random(seed)
        const balancer = new RingHash(all)
        const underWay: Endpoint[] = []
        for (let i = 0; i < 600; i++) {
          const endpoint = balancer.pick(keyOf(1 + random.below(distinct)), null)!
          const bound = Math.ceil((1.25 * (underWay.length + 1) * endpoint.share) / sum + 1e-9)
          if (endpoint.inFlight >= bound) return false
          endpoint.inFlight++
          underWay.push(endpoint)
          if (random.chance(0.45)) underWay.splice(random.below(underWay.length), 1)[0]!.inFlight--
        }
        return true
      },
    ),
    { numRuns: 60 },
  )
})

t.test('one key that all ask for is spread, in sets that are counted bit by bit as well', async t => {
  for (const n of [9, 100, 2000]) {
    const all = set(n)
    const balancer = new RingHash(all)
    for (let i = 0; i < 50 * n; i++) balancer.pick(12_345, null)!.inFlight++
    const most = Math.max(...all.map(({ inFlight }) => inFlight))
    t.ok(most <= 1.25 * 50 + 1, `${n}: ${most} beside a mean of 50`)
    // A new balancer knows at once what is under way.
    const next = new RingHash(all, balancer)
    const owner = all.find(({ inFlight }) => inFlight < 50)!
    for (const endpoint of all) endpoint.inFlight = 50
    owner.inFlight = 0
    const picked = new Set(Array.from({ length: 3 }, (_, i) => next.pick(keyOf(i), null)))
    t.ok([...picked].every(endpoint => endpoint!.inFlight <= 50))
  }
})

t.test('a key that was sent on comes home when there is room', async t => {
  const all = set(5)
  const balancer = new RingHash(all)
  const home = balancer.pick(42 << 16, null)!
  home.inFlight = 3
  const away = balancer.pick(42 << 16, null)!
  t.not(away, home)
  t.equal(balancer.pick(42 << 16, null), away, 'each time to the same')
  t.equal(balancer.pick(42 << 16, home), away, 'as they do when it failed')
  home.inFlight = 0
  t.equal(balancer.pick(42 << 16, null), home)
})

t.test('another is found beside one that holds all arcs', async t => {
  const all = endpoints([1_000_000, 0.0001, 0.0001])
  const balancer = new RingHash(all)
  for (let i = 0; i < 20; i++) t.not(balancer.pick(keyOf(i), all[0]!), all[0])
})
