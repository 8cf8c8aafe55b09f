// Slow start under a clock of its own.
import t from 'tap'
import { Wheel } from '../../../src/clock.ts'
import { SlowStart } from '../../../src/upstream/slow-start.ts'
import { endpoints } from '../../support/endpoints.ts'

t.test('the share grows from a tenth to the whole weight, and the timer ends', async t => {
  let now = 0
  const wheel = new Wheel(() => now)
  let changes = 0
  const slow = new SlowStart(10_000, () => changes++, wheel)
  const [a, b] = endpoints([4, 1])
  slow.begin(a!)
  t.equal(a!.share, 0.4)
  const shares: number[] = []
  for (now = 0; now <= 11_000; now += 100) {
    wheel.turn()
    shares.push(a!.share)
  }
  t.same(
    shares,
    [...shares].sort((x, y) => x - y),
    'it never shrinks',
  )
  t.ok(Math.abs(shares[50]! - 2) < 0.3, `${shares[50]} at half the time`)
  t.equal(a!.share, 4)
  t.equal(b!.share, 1, 'others are as they were')
  t.ok(changes >= 15 && changes <= 25, `${changes} changes`)
  wheel.turn()
  t.equal(wheel.size, 0)
  clearInterval(wheel.running ?? undefined)
})

t.test('a changed weight keeps its place on the ramp; one that goes is forgotten', async t => {
  let now = 0
  const wheel = new Wheel(() => now)
  const slow = new SlowStart(10_000, () => {}, wheel)
  const [a] = endpoints([4])
  slow.begin(a!)
  now = 5000
  wheel.turn()
  a!.weight = 8
  slow.apply(a!)
  t.equal(a!.share, 4)
  slow.forget(a!)
  t.equal(a!.share, 8, 'its share is whole: in panic it is used all the same')
  slow.apply(a!)
  t.equal(a!.share, 8)
  t.equal(wheel.size, 0)
  clearInterval(wheel.running ?? undefined)
})

t.test('none where the length is 0', async t => {
  const wheel = new Wheel(() => 0)
  const slow = new SlowStart(0, () => {}, wheel)
  const [a] = endpoints([4])
  slow.begin(a!)
  t.equal(a!.share, 4)
  t.equal(wheel.size, 0)
})

t.test('whoever comes puts off nobody’s next step', async t => {
  let now = 0
  const wheel = new Wheel(() => now)
  const slow = new SlowStart(10_000, () => {}, wheel)
  const [first, ...others] = endpoints(new Array(200).fill(1))
  slow.begin(first!)
  for (now = 100; now <= 11_000; now += 100) {
    wheel.turn()
    slow.begin(others.pop()!)
  }
  t.equal(first!.share, 1)
  slow.close()
  wheel.turn()
  t.equal(wheel.size, 0)
})
