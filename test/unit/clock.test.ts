// The timer wheel under a clock that the test turns: against a naive model, and the edges of setting, clearing and removing.
import fc from 'fast-check'
import t from 'tap'
import { Timer, Wheel } from '../../src/clock.ts'

const TICK = 20
/** A full turn of the wheel. */
const TURN = TICK * 256

/** A wheel whose time stands still until `to` moves it and turns the wheel, as its interval would. */
class Bench {
  now = 1000.5
  readonly wheel = new Wheel(() => this.now)
  readonly fired: string[] = []

  timer(name: string, fire: () => void = () => {}): Timer {
    return new Timer(this.wheel, () => {
      this.fired.push(name)
      fire()
    })
  }

  to(time: number): void {
    this.now = time
    this.wheel.turn()
  }

  /** Forward by `ms`, a tick at a time. */
  pass(ms: number): void {
    const end = this.now + ms
    while (this.now + TICK < end) this.to(this.now + TICK)
    this.to(end)
  }
}

t.test('fires once, not before its time and within a tick of it', async t => {
  const bench = new Bench()
  const start = bench.now
  const timer = bench.timer('a')
  timer.set(100)
  bench.to(start + 99)
  t.same(bench.fired, [])
  bench.to(start + 100 + TICK)
  t.same(bench.fired, ['a'])
  bench.pass(2 * TURN)
  t.same(bench.fired, ['a'], 'once')
  t.equal(bench.wheel.size, 0)
  t.equal(bench.wheel.running, null, 'a wheel without timers stands still')
  timer.set(50)
  bench.pass(50 + TICK)
  t.same(bench.fired, ['a', 'a'], 'and may be set again')
})

t.test('time, also while the wheel stands', async t => {
  const bench = new Bench()
  t.equal(bench.wheel.time(), 1000.5)
  bench.now = 5000
  t.equal(bench.wheel.time(), 5000)
  const timer = bench.timer('a')
  timer.set(1000)
  bench.now = 5010
  t.equal(bench.wheel.time(), 5000, 'coarse while it turns')
  bench.to(5030)
  t.equal(bench.wheel.time(), 5030)
  timer.remove()
  bench.to(5050)
  t.equal(bench.wheel.running, null)
})

t.test('moving a deadline', async t => {
  const bench = new Bench()
  const timer = bench.timer('a')
  timer.set(100)
  bench.pass(60)
  timer.set(200)
  t.equal(bench.wheel.size, 1, 'later: it stays where it is linked')
  bench.pass(190)
  t.same(bench.fired, [])
  timer.set(10)
  bench.pass(10 + TICK)
  t.same(bench.fired, ['a'], 'sooner: it is linked anew')
  timer.set(TURN * 3 + 15)
  bench.pass(TURN * 3)
  t.same(bench.fired, ['a'], 'longer than the wheel is round')
  bench.pass(15 + TICK)
  t.same(bench.fired, ['a', 'a'])
})

t.test('clearing and removing', async t => {
  const bench = new Bench()
  const timer = bench.timer('a')
  timer.set(100)
  timer.clear()
  t.equal(bench.wheel.size, 1, 'cleared: dropped when its slot comes by')
  bench.pass(200)
  t.equal(bench.wheel.size, 0)
  timer.set(100)
  timer.set(Number.POSITIVE_INFINITY)
  bench.pass(200)
  timer.set(100)
  timer.remove()
  t.equal(bench.wheel.size, 0, 'removed: at once')
  timer.remove()
  timer.clear()
  t.equal(bench.wheel.size, 0, 'twice does no harm')
  bench.pass(200)
  t.same(bench.fired, [])
  timer.set(40)
  timer.clear()
  timer.set(40)
  bench.pass(40 + TICK)
  t.same(bench.fired, ['a'], 'set again after it was cleared')
})

t.test('timers that touch each other while they fire', async t => {
  const bench = new Bench()
  const victim = bench.timer('victim')
  const moved = bench.timer('moved')
  const again: Timer = bench.timer('again', () => {
    if (bench.fired.length < 6) again.set(0)
  })
  const killer = bench.timer('killer', () => {
    victim.remove()
    moved.set(100)
  })
  // The last one set is the first of its slot.
  for (const timer of [victim, moved, killer]) timer.set(30)
  bench.pass(60)
  t.same(bench.fired, ['killer'], 'another of the same slot was removed, another put off')
  bench.pass(100 + TICK)
  t.same(bench.fired, ['killer', 'moved'])
  again.set(0)
  bench.to(bench.now + TICK)
  t.same(bench.fired, ['killer', 'moved', 'again'], 'what sets itself anew waits for the next tick')
  bench.pass(10 * TICK)
  t.equal(bench.fired.length, 6)
  t.equal(bench.wheel.size, 0)
})

t.test('a loop that was blocked for long', async t => {
  const bench = new Bench()
  const timers = Array.from({ length: 300 }, (_, i) => bench.timer(String(i)))
  for (const [i, timer] of timers.entries()) timer.set(i * 40)
  bench.to(bench.now + 20 * TURN)
  t.equal(bench.fired.length, 300, 'everything is due at the first turn after it')
  t.equal(new Set(bench.fired).size, 300)
  t.equal(bench.wheel.size, 0)
})

t.test('agrees with a naive model', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('set' as const), timer: fc.nat(5), ms: fc.oneof(fc.nat(200), fc.nat(3 * TURN)) }),
    fc.record({ do: fc.constant('clear' as const), timer: fc.nat(5), ms: fc.constant(0) }),
    fc.record({ do: fc.constant('remove' as const), timer: fc.nat(5), ms: fc.constant(0) }),
    fc.record({
      do: fc.constant('pass' as const),
      timer: fc.constant(0),
      ms: fc.oneof(fc.constant(TICK), fc.nat(50), fc.nat(2000), fc.nat(4 * TURN)),
    }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const bench = new Bench()
      const timers = Array.from({ length: 6 }, (_, i) => bench.timer(String(i)))
      const deadlines: number[] = new Array(6).fill(Number.POSITIVE_INFINITY)
      for (const { do: what, timer, ms } of steps) {
        if (what === 'set') {
          timers[timer]!.set(ms)
          deadlines[timer] = bench.wheel.now + ms
        } else if (what === 'clear' || what === 'remove') {
          timers[timer]![what]()
          deadlines[timer] = Number.POSITIVE_INFINITY
        } else {
          bench.to(bench.now + ms)
          for (const name of bench.fired.splice(0)) {
            const deadline = deadlines[Number(name)]!
            // Early by half a tick at most, and never what was not set.
            if (deadline > bench.now + TICK / 2) throw new Error(`${name} fired ${deadline - bench.now} ms early`)
            deadlines[Number(name)] = Number.POSITIVE_INFINITY
          }
          // Whatever is due by a whole tick has fired.
          deadlines.forEach((deadline, i) => {
            if (Math.ceil(deadline / TICK) * TICK <= Math.floor(bench.now / TICK) * TICK)
              throw new Error(`${i} is ${bench.now - deadline} ms late`)
          })
        }
        const set = deadlines.filter(deadline => deadline !== Number.POSITIVE_INFINITY).length
        if (bench.wheel.size < set || bench.wheel.size > 6) throw new Error(`${bench.wheel.size} linked, ${set} set`)
      }
      bench.to(bench.now + 4 * TURN)
      bench.pass(TICK)
      return bench.wheel.size === 0 && bench.wheel.running === null
    }),
    { numRuns: 2000 },
  )
})

t.test('turns by itself', async t => {
  const wheel = new Wheel()
  const start = performance.now()
  await new Promise<void>(done => {
    const timer = new Timer(wheel, done)
    timer.set(60)
    // The wheel's own interval does not keep the process alive; a server does.
    const alive = setInterval(() => {
      if (timer.deadline === Number.POSITIVE_INFINITY) clearInterval(alive)
    }, 10)
  })
  t.ok(performance.now() - start >= 60 - TICK * 1.5)
})
