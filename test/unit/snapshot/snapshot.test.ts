// How long a snapshot is needed: until its own exchanges are over, and those of every snapshot before it.
import { deepEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { Config } from '../../../src/config/document.ts'
import type { Route } from '../../../src/route/route.ts'
import { RouteTableBuilder } from '../../../src/route/table.ts'
import { SharedStates } from '../../../src/snapshot/shared-state.ts'
import { Snapshot } from '../../../src/snapshot/snapshot.ts'

function snapshot(): Snapshot {
  const table = new RouteTableBuilder<Route>().build()
  const [none, shared] = [new Map(), new SharedStates()]
  return new Snapshot({} as Config, table, none, null, none, none, none, none, shared, none)
}

t.test('a retired snapshot is idle when its last exchange is over, and at once without one', async t => {
  const [a, b, c] = [snapshot(), snapshot(), snapshot()]
  const idle: string[] = []
  a.inFlight = 2
  a.retire(b, () => idle.push('a'))
  a.leave()
  t.same(idle, [])
  a.leave()
  t.same(idle, ['a'])
  b.retire(c, () => idle.push('b'))
  t.same(idle, ['a', 'b'])
})

t.test('a later snapshot waits for an earlier one, whose exchanges still use what was carried over', async t => {
  const [a, b, c] = [snapshot(), snapshot(), snapshot()]
  const idle: string[] = []
  a.inFlight = 1
  a.retire(b, () => idle.push('a'))
  b.retire(c, () => idle.push('b'))
  c.retire(null, () => idle.push('c'))
  t.same(idle, [], 'nothing ran under b and c, but a goes on')
  a.leave()
  t.same(idle, ['a', 'b', 'c'])
})

t.test('in any order of ends, each is idle once, in order, and never before those that came before it', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        (counts, choices) => {
          const all = counts.map(count => {
            const one = snapshot()
            one.inFlight = count
            return one
          })
          const idle: number[] = []
          let retired = 0
          const step = (choice: number) => {
            const busy = all.filter(one => one.inFlight > 0)
            if (retired < all.length && (choice % 2 === 0 || busy.length === 0)) {
              const at = retired++
              all[at]!.retire(all[at + 1] ?? null, () => idle.push(at))
            } else if (busy.length > 0) busy[choice % busy.length]!.leave()
            // What is idle is exactly the longest run of retired ones from the first without an exchange.
            let expected = 0
            while (expected < retired && all[expected]!.inFlight === 0) expected++
            deepEqual(idle, [...Array(expected).keys()])
          }
          for (const choice of choices) step(choice)
          while (retired < all.length || all.some(one => one.inFlight > 0)) step(1)
          return idle.length === all.length
        },
      ),
      { numRuns: 300 },
    ),
  )
})
