// The counters in memory against naive ones: traces letter by letter, an exact log, Retry-After, several limits, bounded memory.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { MemoryStore } from '../../../src/store/memory.ts'
import type { Algorithm, CounterOptions, Limit, Tally } from '../../../src/store/store.ts'
import { naive, TRACES, type Trace } from '../../support/rate-traces.ts'
import { ROOT } from '../../support/root.ts'

function options(algorithm: Algorithm, ...limits: readonly (Partial<Limit> & { limit: number })[]): CounterOptions {
  return {
    id: 'test',
    algorithm,
    limits: limits.map(({ limit, window = 1000, burst = limit }) => ({ limit, window, burst })),
    maxKeys: 1000,
    lease: 0,
  }
}

/** A counter and its clock. */
function counting(given: CounterOptions) {
  const clock = { now: 0 }
  const store = new MemoryStore('memory', () => clock.now)
  const counter = store.counter(given)
  return {
    clock,
    store,
    counter,
    at(now: number, cost = 1, key = 'k'): Tally {
      clock.now = now
      return counter.hit(key, cost)
    },
  }
}

const ALGORITHMS: readonly Algorithm[] = ['sliding-window', 'sliding-log', 'token-bucket']

/** Arrivals over some windows: gaps that are mostly short and sometimes long. */
const arrivals = fc.array(
  fc.record({
    gap: fc.oneof(fc.nat(20), fc.nat(400), fc.nat(3000)),
    cost: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 6 })),
  }),
  { minLength: 1, maxLength: 200 },
)

t.test('traces, letter by letter', async t => {
  const file = join(ROOT, '../shared/corpora/ratelimit/traces.jsonl')
  const more: Trace[] = existsSync(file)
    ? readFileSync(file, 'utf8')
        .trim()
        .split('\n')
        .map(line => JSON.parse(line))
    : []
  for (const { id, limit, windowMs, times, expected } of [...TRACES, ...more]) {
    for (const [algorithm, name] of [
      ['sliding-window', 'sliding_counter'],
      ['sliding-log', 'sliding_log'],
      ['token-bucket', 'gcra_burst_eq_limit'],
    ] as const) {
      const { at } = counting(options(algorithm, { limit, window: windowMs }))
      const decided = times.map(time => (at(time).allowed ? '1' : '0')).join('')
      if (decided !== expected[name]) t.equal(decided, expected[name], `${id} ${algorithm}`)
    }
    t.pass(id)
  }
})

t.test('every decision is that of a naive counter', async t => {
  for (const algorithm of ALGORITHMS) {
    fc.assert(
      fc.property(
        arrivals,
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 900 }),
        fc.nat(5),
        (all, limit, window, more) => {
          const burst = limit + more
          const { at } = counting(options(algorithm, { limit, window, burst }))
          const model = naive[algorithm](limit, window, burst)
          let now = 0
          for (const { gap, cost } of all) {
            now += gap
            const wanted = model(now, cost)
            if (at(now, cost).allowed !== wanted) return false
          }
          return true
        },
      ),
    )
    t.pass(algorithm)
  }
})

t.test('guarantees: aligned and sliding windows', async () => {
  fc.assert(
    fc.property(arrivals, fc.integer({ min: 1, max: 12 }), (all, limit) => {
      for (const algorithm of ALGORITHMS) {
        const { at } = counting(options(algorithm, { limit }))
        const admitted: number[] = []
        let now = 0
        for (const { gap } of all) {
          now += gap
          if (at(now).allowed) admitted.push(now)
        }
        for (const [i, time] of admitted.entries()) {
          const within = admitted.slice(0, i + 1).filter(earlier => earlier > time - 1000)
          const aligned = admitted.filter(other => Math.floor(other / 1000) === Math.floor(time / 1000))
          if (algorithm === 'sliding-log' && within.length > limit) return false
          if (algorithm === 'sliding-window' && aligned.length > limit) return false
          if (within.length > 2 * limit) return false
        }
      }
      return true
    }),
  )
})

t.test('Retry-After is true to the millisecond, and so is the reset of an empty quota', async t => {
  for (const algorithm of ALGORITHMS) {
    let checked = 0
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 8 }), fc.integer({ min: 2, max: 900 }), (all, limit, window) => {
        const times: [number, number][] = []
        let now = 0
        // The same history, and then one more request after `wait`.
        const replay = (wait: number, cost: number): Tally => {
          const { at } = counting(options(algorithm, { limit, window }))
          for (const [time, units] of times) at(time, units)
          return at(now + wait, cost)
        }
        for (const { gap, cost } of all.slice(0, 40)) {
          now += gap
          times.push([now, cost])
        }
        for (const cost of [1, 2, 5]) {
          const tally = replay(0, cost)
          if (tally.allowed) continue
          if (cost > limit) {
            if (tally.retryAfter !== Number.POSITIVE_INFINITY) return false
            continue
          }
          checked++
          if (!replay(tally.retryAfter, cost).allowed || replay(tally.retryAfter - 1, cost).allowed) return false
          if (tally.remaining === 0 && (!replay(tally.reset, 1).allowed || replay(tally.reset - 1, 1).allowed))
            return false
        }
        return true
      }),
      { numRuns: 300 },
    )
    t.ok(checked > 50, `${algorithm}: ${checked} refusals`)
  }
})

t.test('what remains is what passes', async t => {
  for (const algorithm of ALGORITHMS) {
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 12 }), (all, limit) => {
        const { at } = counting(options(algorithm, { limit }))
        let now = 0
        let last: Tally | null = null
        for (const { gap, cost } of all) {
          now += gap
          last = at(now, cost)
        }
        for (let i = last!.remaining; i > 0; i--) if (!at(now).allowed) return false
        return !at(now).allowed
      }),
    )
    t.pass(algorithm)
  }
})

t.test('several limits: all must allow, and none is charged when one refuses', async t => {
  for (const algorithm of ALGORITHMS) {
    const { at } = counting(options(algorithm, { limit: 2, window: 100 }, { limit: 5, window: 10_000 }))
    const tellAll = (tally: Tally | null): number[] => (tally === null ? [] : [tally.remaining, ...tellAll(tally.next)])
    t.same(tellAll(at(0)), [1, 4])
    t.same(tellAll(at(0)), [0, 3])
    const refused = at(0)
    t.equal(refused.allowed, false)
    t.same(tellAll(refused), [0, 3], `${algorithm}: the second limit was not charged`)
    t.equal(refused.next!.retryAfter, 0, 'it would have passed the second')
    t.ok(refused.retryAfter > 0)
    t.ok(at(1000).allowed && at(2000).allowed && at(3000).allowed)
    // The bucket has got some back by then.
    if (algorithm === 'token-bucket') continue
    const last = at(4000)
    t.same([last.allowed, last.retryAfter, last.next!.retryAfter > 0], [false, 0, true], 'now the second refuses')
  }
})

t.test('keys are independent, whatever they look like', async t => {
  const { at } = counting(options('sliding-window', { limit: 1 }))
  const keys = ['', 'a', 'b', '__proto__', 'constructor', 'toString', '\0', 'a'.repeat(65_536), '{a}', '::1', '漢字']
  for (const key of keys) t.ok(at(0, 1, key).allowed)
  for (const key of keys) t.notOk(at(0, 1, key).allowed)
})

t.test('a clock that steps back locks nobody out', async t => {
  for (const algorithm of ALGORITHMS) {
    const { at } = counting(options(algorithm, { limit: 2 }))
    const hour = 3_600_000
    t.ok(at(hour).allowed && at(hour).allowed && !at(hour).allowed)
    at(0)
    t.ok(at(2500).allowed, `${algorithm}: within 2.5 windows of the step`)
  }
})

t.test('idle keys leave, and memory is bounded', async t => {
  const { at, counter } = counting(options('sliding-window', { limit: 3 }))
  for (let i = 0; i < 900; i++) at(0, 1, `k${i}`)
  t.equal(counter.size, 900)
  for (let i = 0; i < 5000; i++) at(500, 1, `n${i}`)
  t.equal(counter.size, 1000, 'maxKeys')
  for (let i = 0; i < 1000; i++) at(10_000 + i, 1, `k${i % 10}`)
  t.ok(counter.size <= 20, `${counter.size} keys are left when ten ask`)
})

t.test('an idle key is given up before one in use, and begins anew', async t => {
  const { at } = counting({ ...options('sliding-window', { limit: 1 }), maxKeys: 2 })
  at(900, 1, 'idle')
  t.ok(at(1000, 1, 'busy').allowed)
  t.ok(at(1001, 1, 'third').allowed, 'the idle one leaves')
  t.notOk(at(1002, 1, 'busy').allowed, 'the busy one is remembered')
})

t.test('a key costs no more memory than its own, however long it is or what it was cut from', async t => {
  const { at, counter } = counting(options('sliding-window', { limit: 1 }))
  for (const [one, other] of [
    ['a'.repeat(100_000), `${'a'.repeat(99_999)}b`],
    [`user-\ud800-${'x'.repeat(20)}`, `user-\ud801-${'x'.repeat(20)}`],
  ] as const) {
    t.ok(at(0, 1, one).allowed && at(0, 1, other).allowed, 'independent')
    t.notOk(at(0, 1, one).allowed || at(0, 1, other).allowed, 'remembered')
    t.notOk(at(1000, 1, one).allowed, 'and so in the window after')
  }
  t.ok(at(0, 1, `#${createHash('sha1').update('a'.repeat(100_000)).digest('hex')}`).allowed, 'a hash is another key')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 400; i++) {
    const head = Buffer.alloc(200_000, 'p').toString('latin1')
    at(1500, 1, `${i} ${head}`)
    at(1500, 1, Buffer.from(`${i} is somebody's key${head}`).toString('latin1').substring(0, 20))
  }
  collect()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(counter.size >= 800 && grown < 10_000_000, `${counter.size} keys of some 160 MB take ${grown} bytes`)
})

t.test('many more keys than fit, and the longest that a hit takes', async t => {
  // What a counter does at some hit it does there each time; what else happens on the machine does not come back.
  const quickest = new Float64Array(4000).fill(Number.POSITIVE_INFINITY)
  for (let run = 0; run < 3; run++) {
    const { at, counter } = counting({ ...options('sliding-window', { limit: 3, window: 60_000 }), maxKeys: 100_000 })
    for (let i = 0; i < 400_000; ) {
      // A hundred at a time, for asking takes longer than a hit.
      const hundred = i / 100
      const before = process.cpuUsage()
      for (const end = i + 100; i < end; i++) at(i % 240_000, 1, `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
      quickest[hundred] = Math.min(quickest[hundred]!, process.cpuUsage(before).user / 1000)
    }
    t.ok(counter.size <= 100_000)
  }
  const slowest = Math.max(...quickest)
  t.ok(slowest < 10, `${slowest.toFixed(1)} ms`)
})

t.test('counts go over to a counter that is opened anew, with another limit', async t => {
  const { at, store, clock, counter } = counting(options('sliding-window', { limit: 3 }))
  t.ok(at(0).allowed && at(0).allowed)
  const next = store.counter(options('sliding-window', { limit: 4 }))
  counter.close()
  clock.now = 1
  t.equal(next.hit('k', 1).remaining, 1)
  const other = store.counter(options('sliding-window', { limit: 4, window: 2000 }))
  t.equal(other.hit('k', 1).remaining, 3, 'another window counts anew')
  next.close()
  t.equal(
    store.counter(options('sliding-window', { limit: 4 })).hit('k', 1).remaining,
    3,
    'gone with the last that used it',
  )
})

t.test('a counter that is opened with room for fewer keys, and given up again, costs none', async t => {
  const { at, store, counter } = counting(options('sliding-window', { limit: 1 }))
  for (let i = 0; i < 100; i++) at(0, 1, `k${i}`)
  const fewer = store.counter({ ...options('sliding-window', { limit: 1 }), maxKeys: 1 })
  t.ok(at(0, 1, 'late').allowed && counter.size === 101)
  fewer.close()
  t.notOk(at(0, 1, 'k0').allowed, 'the oldest is remembered')
  const next = store.counter({ ...options('sliding-window', { limit: 1 }), maxKeys: 1 })
  counter.close()
  next.hit('another', 1)
  t.equal(counter.size, 101, 'where it is taken, a new key costs one')
})

t.test('a bucket is not filled by numbers that change, nor by the length of time that follows from them', async t => {
  for (const [limit, burst, left] of [
    [20, 25, 5],
    [20, 200, 180],
    [5, 100, 80],
    [20, 10, 0],
  ] as const) {
    const store = new MemoryStore('memory', () => 123_456_789)
    const old = store.counter(options('token-bucket', { limit: 20, burst: 20 }))
    for (let i = 0; i < 20; i++) t.ok(old.hit('k', 1).allowed)
    const next = store.counter(options('token-bucket', { limit, burst }))
    old.close()
    let passed = 0
    while (next.hit('k', 1).allowed) passed++
    t.equal(passed, left, `${limit} with a burst of ${burst}`)
    next.close()
  }
})

t.test('in place of a shared store each gateway has its share', async t => {
  const { at, counter } = counting(options('sliding-window', { limit: 10 }))
  counter.standIn(3)
  const passed = Array.from({ length: 10 }, () => at(0)).filter(tally => tally.allowed)
  t.equal(passed.length, 3)
  t.equal(passed[0]!.decider, 'local')
  counter.standIn(100)
  t.ok(at(5000).allowed, 'never below 1')
  t.notOk(at(5000).allowed)
})
