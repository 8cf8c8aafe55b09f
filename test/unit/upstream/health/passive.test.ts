// Passive ejection under a clock of its own: counts, shares, growing times, bounds, and the tables of outliers.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { Wheel } from '../../../../src/clock.ts'
import type { Endpoint } from '../../../../src/upstream/endpoint.ts'
import { healthOptions, type PassiveOptions } from '../../../../src/upstream/health/options.ts'
import { PassiveHealth } from '../../../../src/upstream/health/passive.ts'
import { endpoints } from '../../../support/endpoints.ts'
import { ROOT } from '../../../support/root.ts'

/** One upstream's passive health, with a wheel that a test turns. */
class Bench {
  now = 1000
  readonly wheel = new Wheel(() => this.now)
  endpoints: readonly Endpoint[]
  readonly health: PassiveHealth
  readonly events: string[] = []

  constructor(count: number, options: Record<string, unknown> = {}) {
    this.endpoints = endpoints(new Array(count).fill(1))
    const checked = healthOptions.parse({ passive: options }).passive as PassiveOptions
    const list = () => this.endpoints
    const owner = {
      get endpoints() {
        return list()
      },
      ejected: (endpoint: Endpoint) => void this.events.push(`out ${endpoint.host}`),
      returned: (endpoint: Endpoint) => void this.events.push(`in ${endpoint.host}`),
    }
    this.health = new PassiveHealth(checked, owner, this.wheel)
  }

  at(i: number): Endpoint {
    return this.endpoints[i]!
  }

  fail(i: number, times = 1): void {
    for (let n = 0; n < times; n++) this.health.ended(this.at(i), true)
  }

  ok(i: number, times = 1): void {
    for (let n = 0; n < times; n++) this.health.ended(this.at(i), false)
  }

  out(i: number): boolean {
    return this.at(i).health.ejectedUntil !== 0
  }

  /** Let time pass in steps that the wheel sees. */
  pass(ms: number): void {
    const end = this.now + ms
    while (this.now < end) {
      this.now = Math.min(end, this.now + 1000)
      this.wheel.turn()
    }
  }

  close(): void {
    this.health.close()
    this.wheel.turn()
  }
}

t.test('five failures in a row eject, a success between them does not', async t => {
  const bench = new Bench(2)
  bench.fail(0, 4)
  bench.ok(0)
  bench.fail(0, 4)
  t.notOk(bench.out(0))
  bench.fail(0)
  t.ok(bench.out(0))
  t.match(bench.at(0).health.reason, '5 failures in a row')
  t.notOk(bench.at(0).health.usable)
  t.same(bench.events, ['out a'])
  bench.close()
})

t.test('it comes back by itself, and stays longer each time', async t => {
  const bench = new Bench(2, { ejectFor: '30s', maxEjectFor: '80s' })
  for (const length of [30_000, 60_000, 80_000, 80_000]) {
    bench.fail(0, 5)
    t.ok(bench.out(0))
    bench.pass(length - 1000)
    t.ok(bench.out(0), `still after ${length - 1000} ms`)
    bench.pass(2000)
    t.notOk(bench.out(0), `back after ${length} ms`)
    t.equal(bench.at(0).health.reason, '')
  }
  bench.close()
})

t.test('time that went well is forgiveness', async t => {
  const bench = new Bench(2, { ejectFor: '10s' })
  bench.fail(0, 5)
  bench.pass(10_100)
  bench.fail(0, 5)
  bench.pass(20_100)
  t.notOk(bench.out(0))
  bench.pass(60_000)
  bench.fail(0, 5)
  bench.pass(10_100)
  t.notOk(bench.out(0), 'the length of a first one')
  bench.close()
})

t.test('never more than maxEjected, but one always', async t => {
  for (const [count, share, most] of [
    [4, '50%', 2],
    [5, '50%', 2],
    [3, '10%', 1],
    [1, '0%', 1],
    [10, '100%', 10],
  ] as const) {
    const bench = new Bench(count, { maxEjected: share })
    for (let i = 0; i < count; i++) bench.fail(i, 5)
    t.equal(bench.endpoints.filter(endpoint => endpoint.health.ejectedUntil !== 0).length, most, `${share} of ${count}`)
    bench.close()
  }
})

t.test('maxEjected is a share of those that get traffic: weight 0 makes no room', async t => {
  const bench = new Bench(4, { maxEjected: '50%', ejectFor: '10s' })
  bench.at(2).weight = 0
  bench.at(3).weight = 0
  for (const i of [0, 1]) bench.fail(i, 5)
  t.same(bench.events, ['out a'], 'one of two')
  // Taken out of use while it is ejected, it holds no place of those that are.
  bench.at(0).weight = 0
  bench.at(2).weight = 1
  bench.fail(2, 5)
  t.same(bench.events, ['out a', 'out c'])
  bench.close()
})

t.test('shares are exact where they come to whole numbers', async t => {
  for (const [percent, of] of [
    [29, 100],
    [57, 100],
    [58, 50],
  ] as const) {
    const bound = new Bench(of, { maxEjected: `${percent}%`, consecutiveFailures: 1 })
    for (let i = 0; i < of; i++) bound.fail(i)
    t.equal(bound.events.length, (percent * of) / 100, `${percent}% of ${of}`)
    bound.close()
  }
  const share = new Bench(1, { failureShare: '7%', minRequests: 100, consecutiveFailures: 1000 })
  share.ok(0, 93)
  share.fail(0, 7)
  t.ok(share.out(0), '7 of 100 are 7%')
  share.close()
})

t.test('one that was spared for the bound goes out when there is room and it fails again', async t => {
  const bench = new Bench(2, { maxEjected: '50%', ejectFor: '10s' })
  bench.fail(0, 5)
  bench.fail(1, 5)
  t.notOk(bench.out(1))
  bench.pass(10_100)
  bench.fail(1)
  t.ok(bench.out(1))
  bench.close()
})

t.test('by share of failures, once enough requests were seen', async t => {
  const bench = new Bench(2, { consecutiveFailures: 1000, failureShare: '40%', minRequests: 10, window: '10s' })
  for (let i = 0; i < 3; i++) {
    bench.ok(0, 2)
    bench.fail(0)
  }
  t.notOk(bench.out(0), '3 of 9')
  bench.fail(0)
  t.ok(bench.out(0), '4 of 10')
  t.match(bench.at(0).health.reason, '4 of 10')
  const slow = new Bench(2, { consecutiveFailures: 1000, failureShare: '40%', minRequests: 10, window: '10s' })
  slow.fail(0, 9)
  slow.now += 10_001
  slow.fail(0, 9)
  t.notOk(slow.out(0), 'nine in either window')
  bench.close()
  slow.close()
})

t.test('an active success ends it at once and clears the count', async t => {
  const bench = new Bench(2)
  bench.fail(0, 5)
  bench.health.proven(bench.at(0))
  t.notOk(bench.out(0))
  bench.fail(0, 4)
  t.notOk(bench.out(0))
  bench.health.proven(bench.at(1))
  t.same(bench.events, ['out a', 'in a'], 'nothing for one that is not out')
  bench.close()
})

t.test('a thousand endpoints that flap leave no timer behind', async t => {
  const bench = new Bench(1000, { maxEjected: '100%', ejectFor: '10s', maxEjectFor: '10s' })
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 1000; i++) bench.fail(i, 5)
    t.equal(bench.wheel.size, 1000)
    bench.pass(10_100)
    t.equal(bench.wheel.size, 0)
  }
  for (let i = 0; i < 1000; i++) bench.fail(i, 5)
  for (const endpoint of bench.endpoints) bench.health.forget(endpoint)
  t.equal(bench.wheel.size, 0)
  bench.close()
})

t.test('requests that outlive their endpoint or their upstream eject nobody', async t => {
  const bench = new Bench(2, { consecutiveFailures: 1 })
  const [gone, left] = bench.endpoints as [Endpoint, Endpoint]
  bench.endpoints = [left]
  bench.health.forget(gone)
  bench.health.ended(gone, true)
  bench.close()
  bench.health.ended(left, true)
  t.same(bench.events, [])
  t.equal(bench.wheel.size, 0)
})

t.test('law: the bound holds whatever comes, and everybody comes back', async () => {
  const step = fc.tuple(fc.nat(5), fc.boolean(), fc.nat(20_000))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 0, max: 100 }), (steps, percent) => {
      const bench = new Bench(6, { maxEjected: `${percent}%`, consecutiveFailures: 2 })
      const most = Math.max(1, Math.floor((percent / 100) * 6))
      for (const [i, failed, rest] of steps) {
        bench.health.ended(bench.at(i), failed)
        if (bench.endpoints.filter(one => one.health.ejectedUntil !== 0).length > most) return false
        if (rest > 19_000) bench.pass(rest)
      }
      bench.pass(300_100)
      const well = bench.endpoints.every(one => one.health.ejectedUntil === 0) && bench.wheel.size === 0
      bench.close()
      return well
    }),
    { numRuns: 50 },
  )
})

interface Table {
  readonly id: string
  readonly config: Record<string, number | null | undefined>
  readonly hosts: readonly string[]
  readonly events: readonly {
    readonly t?: number
    readonly host?: string
    readonly status?: number
    readonly n?: number
    readonly healthCheck?: string
    readonly ok?: boolean
    readonly expect?: { readonly host: string; readonly ejected: boolean | string }
  }[]
}

/**
 * Not played: `gateway failures only`, since a 500 is a failure here like any 5xx; the arithmetic of standard
 * deviations, since the share of failures is compared with an option and not with the neighbours.
 */
const OURS = ['env-01', 'env-05', 'env-07']

t.test('the tables of outliers', async t => {
  const file = join(ROOT, '../shared/corpora/breaker/breaker-scenarios.json')
  if (!existsSync(file)) {
    t.comment('../shared/corpora is not here')
    return
  }
  const { outlier } = JSON.parse(readFileSync(file, 'utf8')) as { outlier: Table[] }
  const known = [...OURS, 'env-03', 'env-09']
  t.same(
    outlier.map(({ id }) => id.slice(0, 6)).filter(id => !known.includes(id)),
    [],
    'every table is dealt with',
  )
  for (const { id, config, hosts, events } of outlier) {
    if (!OURS.some(ours => id.startsWith(ours))) continue
    const bench = new Bench(hosts.length, {
      consecutiveFailures: config.consecutive5xx,
      ejectFor: `${config.baseEjectionMs}ms`,
      maxEjectFor: `${config.maxEjectionMs}ms`,
      maxEjected: `${config.maxEjectionPct}%`,
    })
    for (const event of events) {
      bench.pass((event.t ?? 0) + 1000 - bench.now)
      if (event.status !== undefined) {
        for (let n = 0; n < event.n!; n++) bench.health.ended(bench.at(hosts.indexOf(event.host!)), event.status >= 500)
      }
      if (event.healthCheck !== undefined && event.ok === true)
        bench.health.proven(bench.at(hosts.indexOf(event.healthCheck)))
      // Where the table leaves it to us: the first is always ejected, whatever the share.
      if (event.expect !== undefined)
        t.equal(bench.out(hosts.indexOf(event.expect.host)), event.expect.ejected !== false, `${id} at ${event.t}`)
    }
    bench.close()
  }
})
