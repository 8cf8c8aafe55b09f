// What every balancer keeps to, whichever it is: who may be picked, who is avoided, and what remains when the set changes.
import fc from 'fast-check'
import t from 'tap'
import { BALANCERS } from '../../../../src/upstream/balance/algorithms.ts'
import type { Balancer } from '../../../../src/upstream/balance/balancer.ts'
import { endpoints } from '../../../support/endpoints.ts'

const shares = fc.array(fc.oneof(fc.constant(0), fc.nat(20), fc.constantFrom(0.35, 1e-9, 5e-324, 1e6)), {
  maxLength: 12,
})
const loads = fc.array(fc.nat(5), { minLength: 12, maxLength: 12 })
const key = fc.integer({ min: 0, max: 0xffff_ffff })

for (const [name, make] of Object.entries(BALANCERS)) {
  t.test(name, async t => {
    t.test('picks one that has a share, and another than the one to avoid where there is one', async () => {
      fc.assert(
        fc.property(shares, loads, fc.array(key, { minLength: 1, maxLength: 20 }), fc.nat(), (list, load, keys, at) => {
          const all = endpoints(list)
          for (const [i, endpoint] of all.entries()) endpoint.inFlight = load[i]!
          const usable = all.filter(endpoint => endpoint.share > 0)
          const balancer = make(all, null)
          const avoid = all[at % all.length] ?? null
          const rest = usable.filter(endpoint => endpoint !== avoid)
          return keys.every(key => {
            const free = balancer.pick(key, null)
            const other = balancer.pick(key, avoid)
            if (usable.length === 0) return free === null && other === null
            return usable.includes(free!) && (rest.length > 0 ? rest : usable).includes(other!)
          })
        }),
        { numRuns: name === 'ring-hash' ? 60 : 500 },
      )
    })

    t.test('goes by shares, not by weights', async t => {
      const all = endpoints([1, 1, 0])
      all[0]!.share = 0
      all[2]!.share = 0.1
      const balancer = make(all, null)
      t.equal(balancer.endpoints, all)
      const picked = new Set(Array.from({ length: 500 }, (_, i) => balancer.pick(i * 0x9e37_79b1, null)))
      t.same(picked, new Set([all[1], all[2]]))
    })

    t.test('one, none, and one that is not of the set', async t => {
      const alone = endpoints([0, 3])
      const [zero, only] = alone
      for (const avoid of [null, zero!, only!]) t.equal(make(alone, null).pick(7, avoid), only)
      t.equal(make([], null).pick(7, only!), null)
      t.equal(make([zero!], null).pick(7, null), null)
      const others = endpoints([1, 1])
      t.ok(others.includes(make(others, null).pick(7, only!)!))
    })

    t.test('takes over from any other, and from itself', async t => {
      const before = endpoints([1, 2, 3, 4])
      const after = [...before.slice(1), ...endpoints([0, 0, 0, 0, 5]).slice(4)]
      for (const makeBefore of Object.values(BALANCERS)) {
        let balancer: Balancer = makeBefore(before, null)
        balancer.pick(1, null)
        for (const list of [after, [], after]) {
          balancer = make(list, balancer)
          const picked = balancer.pick(1, null)
          t.ok(list.length === 0 ? picked === null : list.includes(picked!))
        }
      }
    })
  })
}

t.test('only peak-ewma asks for the time of answers', async t => {
  const timed = Object.entries(BALANCERS).filter(([, make]) => make([], null).timed)
  t.same(
    timed.map(([name]) => name),
    ['peak-ewma'],
  )
})
