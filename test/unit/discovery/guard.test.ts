// What the guard believes: additions, small losses, large losses, nothing at all.
import fc from 'fast-check'
import t from 'tap'
import { Guard, type Guarded } from '../../../src/discovery/guard.ts'

const at = (...ports: number[]): Guarded[] =>
  ports.toSorted((a, b) => a - b).map(port => ({ address: `h:${port}`, host: 'h', port }))
const ports = (guard: Guard<Guarded>): number[] => guard.believed.map(({ port }) => port)
const keep = { onEmpty: 'keep', holdFor: 300_000 } as const

t.test('additions and losses of up to a half count at once', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3, 4), 0)
  guard.take(at(1, 2, 3, 4, 5, 6), 1)
  t.same(ports(guard), [1, 2, 3, 4, 5, 6])
  guard.take(at(1, 2, 3), 2)
  t.same(ports(guard), [1, 2, 3])
  t.same(guard.held, [])
})

t.test('a loss of more than half is held, and let go after holdFor', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3), 0)
  guard.take(at(3), 1000)
  t.same(ports(guard), [1, 2, 3])
  t.equal(guard.held.length, 2)
  t.equal(guard.doubtful.length, 2)
  t.equal(guard.nextEnd, 301_000)
  t.notOk(guard.expire(300_999))
  t.ok(guard.expire(301_000))
  t.same(ports(guard), [3])
  t.equal(guard.nextEnd, Number.POSITIVE_INFINITY)
})

t.test('small losses within 30 s add up', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3, 4, 5, 6), 0)
  guard.take(at(1, 2, 3, 4), 1000)
  t.same(ports(guard), [1, 2, 3, 4])
  guard.take(at(1, 2), 10_000)
  t.same(ports(guard), [1, 2, 3, 4], 'four of six within 30 s')
  const later = new Guard<Guarded>(keep)
  later.take(at(1, 2, 3, 4, 5, 6), 0)
  later.take(at(1, 2, 3, 4), 1000)
  later.take(at(1, 2), 31_001)
  t.same(ports(later), [1, 2], 'two of four after it')
})

t.test('whoever comes back is held no longer', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3), 0)
  guard.take(at(3), 1)
  guard.take(at(1, 2, 3), 2)
  t.same(guard.held, [])
  t.same(ports(guard), [1, 2, 3])
})

t.test('a confirmed loss is believed', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3), 0)
  guard.take(at(3), 1)
  guard.confirmGone(guard.held[0]!.address)
  t.same(ports(guard), [2, 3])
})

t.test('nothing at all is kept for holdFor, or dropped', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2), 0)
  guard.take(at(), 1000)
  t.same(ports(guard), [1, 2])
  t.same(guard.doubtful, [], 'nobody is probed for it')
  guard.take(at(), 200_000)
  t.equal(guard.nextEnd, 301_000, 'the first empty answer counts')
  guard.expire(301_000)
  t.same(ports(guard), [])
  const drop = new Guard<Guarded>({ ...keep, onEmpty: 'drop' })
  drop.take(at(1, 2), 0)
  drop.take(at(), 1)
  t.same(ports(drop), [])
})

t.test('after an empty answer the next one is judged against all that was there', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3, 4), 0)
  guard.take(at(), 1)
  guard.take(at(1, 2, 3), 2)
  t.same(ports(guard), [1, 2, 3], 'one of four')
  const few = new Guard<Guarded>(keep)
  few.take(at(1, 2, 3, 4), 0)
  few.take(at(), 1)
  few.take(at(1), 2)
  t.same(ports(few), [1, 2, 3, 4], 'three of four')
})

t.test('what is told elsewhere is not lost', async t => {
  const guard = new Guard<Guarded>(keep)
  guard.take(at(1, 2, 3, 4), 0)
  guard.take(at(4), 1, ({ port }) => port < 4)
  t.same(ports(guard), [4])
  guard.take(at(1, 2, 3, 4), 2)
  guard.take(at(4), 3, ({ port }) => port === 1)
  t.same(ports(guard), [4], 'two of four')
  guard.take(at(5, 6), 4)
  t.same(ports(guard), [4, 5, 6], 'three of four within 30 s')
  guard.take(at(5, 6), 5, ({ port }) => port === 4)
  t.same(ports(guard), [5, 6], 'held ones too')
  guard.take(at(), 6, ({ port }) => port === 5)
  t.same(ports(guard), [6], 'where nothing is left')
})

t.test('no holding where holdFor is 0', async t => {
  const guard = new Guard<Guarded>({ onEmpty: 'keep', holdFor: 0 })
  guard.take(at(1, 2, 3), 0)
  guard.take(at(3), 1)
  t.same(ports(guard), [3])
  guard.take(at(), 2)
  t.same(ports(guard), [])
})

t.test('law: what is told is used, and never less than half goes at once', async () => {
  const sets = fc.array(fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 12 }), { maxLength: 20 })
  fc.assert(
    fc.property(sets, answers => {
      const guard = new Guard<Guarded>(keep)
      let before: number[] = []
      for (const [i, answer] of answers.entries()) {
        guard.take(at(...answer), i * 100)
        const now = ports(guard)
        if (!answer.every(port => now.includes(port))) return false
        const lost = before.filter(port => !now.includes(port)).length
        if (lost > before.length / 2) return false
        if (new Set(now).size !== now.length) return false
        before = now
      }
      return true
    }),
  )
})
