// What is told again stays the object that it was, from the registry's answer to the endpoints of an upstream.
import fc from 'fast-check'
import t from 'tap'
import type { Instance } from '../../../src/discovery/provider.ts'
import { reuse, sameInstance } from '../../../src/discovery/same.ts'
import { bench, instance } from '../../support/scripted-poller.ts'

const some = fc.record({
  host: fc.constantFrom('a', 'b'),
  port: fc.integer({ min: 1, max: 3 }),
  weight: fc.integer({ min: 0, max: 1 }),
  labels: fc.constantFrom<Record<string, string>>({}, { v: '1' }, { v: '2' }, { w: '1' }),
  ports: fc.option(fc.constantFrom({ http: 1 }, { http: 2 }), { nil: undefined }),
}) as fc.Arbitrary<Instance>

t.test('whatever was told before, what is told now counts', async t => {
  fc.assert(
    fc.property(fc.array(some, { maxLength: 20 }), fc.array(some, { maxLength: 20 }), (before, now) => {
      const kept = reuse(before, now, sameInstance)
      t.same(kept, now)
      if (new Set(kept).size !== kept.length) t.fail('one object stands for two')
    }),
  )
})

t.test('one that comes, goes or changes leaves the others', async t => {
  const before = Array.from({ length: 50 }, (_, i) => instance(i + 1))
  const copies = before.map(one => ({ ...one, labels: {} }))
  const others = (now: readonly Instance[]) =>
    reuse(before, now, sameInstance).filter(one => before.includes(one)).length
  t.equal(others(copies), 50)
  t.equal(others(copies.toSpliced(20, 1)), 49)
  t.equal(others(copies.toSpliced(20, 0, instance(99))), 50)
  t.equal(others(copies.with(20, instance(21, { weight: 2 }))), 49)
  t.equal(others(copies.toSpliced(0, 5, instance(99), instance(98))), 45)
})

t.test('endpoints stay what they are through answers that say the same of them', async t => {
  const { script, pace, poller, view } = bench(t)
  const list = (...ports: number[]) => ports.map(port => instance(port))
  script.tell(list(1, 2, 3))
  poller.start()
  await poller.ready
  const [one, , three] = view.endpoints
  script.tell([instance(1), instance(2, { weight: 2 }), instance(3), instance(4)])
  await pace.pass(10_000)
  t.same(
    view.endpoints.map(({ port, weight }) => [port, weight]),
    [
      [1, 1],
      [2, 2],
      [3, 1],
      [4, 1],
    ],
  )
  t.equal(view.endpoints[0], one)
  t.equal(view.endpoints[2], three)
})
