// The breaker's state machine under a clock of our own: held to a naive model, to the tables of others, and to its bounds.
// Over 300 lines because the naive model, and the commands that both are put through, are half of it.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import {
  Breaker,
  type BreakerRules,
  type BreakerState,
  LONGEST,
  type Move,
  Permit,
} from '../../plugins/circuit-breaker/breaker.ts'
import { CountWindow, TimeWindow } from '../../plugins/circuit-breaker/window.ts'
import { ROOT } from '../support/root.ts'

const RULES: BreakerRules = {
  window: 10_000,
  calls: 0,
  minimumCalls: 4,
  failureRate: 0.5,
  slowRate: Number.POSITIVE_INFINITY,
  consecutiveFailures: 0,
  openFor: 1000,
  halfOpenCalls: 3,
  rampUp: 0,
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

interface Ended {
  at: number
  failed: boolean
  readonly slow: boolean
}

interface OnTheWay {
  readonly life: number
  readonly probe: boolean
  ended: Ended | null
  back: boolean
}

/** What a breaker is, told the long way: lists of calls that are counted anew each time. */
class Model {
  readonly moves: string[] = []
  state: BreakerState = 'closed'
  now = 0
  #life = 0
  #calls: Ended[] = []
  #probes: (OnTheWay & { ended: Ended | null })[] = []
  #opens = 0
  #until = 0
  #since = 0
  #waitingSince = -1
  readonly #rules: BreakerRules
  readonly #random: () => number

  constructor(rules: BreakerRules, random: () => number) {
    this.#rules = rules
    this.#random = random
  }

  get probesOut(): number {
    return this.#probes.filter(probe => !probe.back).length
  }

  counted(): Ended[] {
    const { window, calls } = this.#rules
    if (window === null) return this.#calls.slice(-calls)
    const bucket = (at: number) => Math.floor(at / (window / 10))
    return this.#calls.filter(call => bucket(call.at) > bucket(this.now) - 10)
  }

  #go(state: BreakerState): void {
    this.moves.push(`${this.state}>${state}`)
    const goesOn = this.state === 'ramp-up' && state === 'closed'
    if (state === 'open') {
      if (this.state !== 'closed') this.#opens++
      const spread = 0.8 + 0.4 * this.#random()
      this.#until = this.now + Math.min(300_000, this.#rules.openFor * 2 ** this.#opens * spread)
    }
    if (state === 'closed') this.#opens = 0
    this.state = state
    this.#since = this.now
    if (goesOn) return
    this.#life++
    this.#calls = []
    this.#probes = []
    this.#waitingSince = -1
  }

  time(): void {
    if (this.state === 'open' && this.now >= this.#until) this.#go('half-open')
    else if (this.state === 'ramp-up' && this.now >= this.#since + this.#rules.rampUp) this.#go('closed')
    else if (this.state === 'half-open' && this.#waitingSince >= 0 && this.now >= this.#waitingSince + 300_000)
      this.#go('open')
  }

  call(): OnTheWay | null {
    this.time()
    if (this.state === 'open') return null
    if (this.state === 'ramp-up' && !(this.#random() < (this.now - this.#since) / this.#rules.rampUp)) return null
    const probe = this.state === 'half-open'
    const call = { life: this.#life, probe, ended: null, back: false }
    if (probe) {
      if (this.#probes.length >= this.#rules.halfOpenCalls) return null
      if (this.probesOut === 0) this.#waitingSince = this.now
      this.#probes.push(call)
    }
    return call
  }

  end(call: OnTheWay, failed: boolean, slow: boolean): void {
    this.time()
    call.back = true
    if (call.life !== this.#life) return
    call.ended = { at: this.now, failed, slow }
    if (call.probe) {
      this.#quiet()
      const ended = this.#probes.flatMap(probe => probe.ended ?? [])
      if (ended.length < this.#rules.halfOpenCalls) return
      if (this.#bad(ended)) this.#go('open')
      else this.#go(this.#rules.rampUp > 0 ? 'ramp-up' : 'closed')
      return
    }
    this.#calls.push(call.ended)
    this.#judge()
  }

  neutral(call: OnTheWay): void {
    this.time()
    call.back = true
    if (call.life !== this.#life || !call.probe) return
    this.#probes = this.#probes.filter(probe => probe !== call)
    this.#quiet()
  }

  cut(call: OnTheWay): void {
    this.time()
    if (call.life !== this.#life || call.probe || call.ended === null || call.ended.failed) return
    call.ended.failed = true
    this.#judge()
  }

  #quiet(): void {
    if (this.probesOut === 0) this.#waitingSince = -1
  }

  #judge(): void {
    const { consecutiveFailures, minimumCalls } = this.#rules
    const calls = this.counted()
    const row = this.#calls.length - 1 - this.#calls.findLastIndex(call => !call.failed)
    if (consecutiveFailures > 0 && row >= consecutiveFailures) this.#go('open')
    else if (calls.length >= minimumCalls && this.#bad(calls)) this.#go('open')
  }

  #bad(calls: readonly Ended[]): boolean {
    const share = (of: (call: Ended) => boolean) => calls.filter(of).length / calls.length
    return share(call => call.failed) >= this.#rules.failureRate || share(call => call.slow) >= this.#rules.slowRate
  }
}

const rulesOf = fc.record({
  window: fc.constantFrom(null, 1000, 10_000),
  calls: fc.integer({ min: 1, max: 12 }),
  minimumCalls: fc.integer({ min: 1, max: 8 }),
  failureRate: fc.constantFrom(0.01, 0.07, 0.25, 0.5, 0.51, 1),
  slowRate: fc.constantFrom(0.3, 0.8, Number.POSITIVE_INFINITY),
  consecutiveFailures: fc.integer({ min: 0, max: 4 }),
  openFor: fc.constantFrom(100, 1000, 200_000),
  halfOpenCalls: fc.integer({ min: 1, max: 4 }),
  rampUp: fc.constantFrom(0, 500, 20_000),
})

type Command =
  | { readonly kind: 'call' | 'timer' }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'end'; readonly which: number; readonly failed: boolean; readonly slow: boolean }
  | { readonly kind: 'neutral'; readonly which: number }
  | { readonly kind: 'cut'; readonly which: number }

const which = fc.nat(1000)
const commandOf: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ kind: 'call' as const }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('end' as const), which, failed: fc.boolean(), slow: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('neutral' as const), which }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), which }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'timer' as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.oneof(fc.nat(50), fc.nat(2000), fc.nat(400_000)),
    }),
  },
)

t.test('commands over time and traffic: the breaker does as the naive model', async t => {
  const reached = new Map<string, number>()
  fc.assert(
    fc.property(
      rulesOf,
      fc.integer(),
      fc.array(commandOf, { minLength: 1, maxLength: 250, size: 'max' }),
      (rules, seed, commands) => {
        const moves: string[] = []
        const breaker = new Breaker(rules, move => moves.push(`${move.from}>${move.to}`), seeded(seed))
        const model = new Model(rules, seeded(seed))
        const calls: { permit: Permit; mirror: OnTheWay }[] = []
        // Mostly one that is on its way; sometimes one that is long back.
        const pick = (n: number) => {
          const among = n % 8 === 0 ? calls : calls.filter(({ mirror }) => !mirror.back)
          return among.length === 0 ? null : among[n % among.length]!
        }
        for (const command of commands) {
          switch (command.kind) {
            case 'pass':
              model.now += command.ms
              break
            case 'timer':
              breaker.advance(model.now)
              model.time()
              break
            case 'call': {
              const permit = new Permit()
              const admitted = breaker.acquire(model.now, permit)
              const mirror = model.call()
              if (admitted !== (mirror !== null)) throw new Error(`admitted ${admitted} at ${model.now}`)
              if (mirror !== null) calls.push({ permit, mirror })
              break
            }
            default: {
              const one = pick(command.kind === 'cut' ? command.which * 8 : command.which)
              if (one === null) break
              const { permit, mirror } = one
              if (command.kind === 'cut') {
                if (!mirror.back) break
                breaker.amend(model.now, permit)
                model.cut(mirror)
              } else if (mirror.back) {
                // Given back twice: nothing may come of it.
                const before = breaker.inFlight
                breaker.advance(model.now)
                model.time()
                if (command.kind === 'neutral') breaker.release(model.now, permit)
                if (breaker.inFlight !== before) throw new Error('a permit came back twice')
              } else if (command.kind === 'neutral') {
                breaker.release(model.now, permit)
                model.neutral(mirror)
              } else if (command.kind === 'end') {
                breaker.record(model.now, permit, command.failed, command.slow)
                model.end(mirror, command.failed, command.slow)
              }
            }
          }
          if (breaker.state !== model.state) throw new Error(`is ${breaker.state}, should be ${model.state}`)
          if (breaker.probes !== model.probesOut) throw new Error(`${breaker.probes} probes, not ${model.probesOut}`)
          if (breaker.probes > rules.halfOpenCalls) throw new Error('too many probes')
          const out = calls.filter(({ mirror }) => !mirror.back).length
          if (breaker.inFlight !== out) throw new Error(`${breaker.inFlight} in flight, not ${out}`)
          breaker.idle(model.now)
          const counted = model.counted()
          const { window } = breaker
          if (window.calls !== counted.length) throw new Error(`counts ${window.calls}, not ${counted.length}`)
          if (window.failures !== counted.filter(call => call.failed).length) throw new Error('failures')
          if (window.slow !== counted.filter(call => call.slow).length) throw new Error('slow')
        }
        t.strictSame(moves, model.moves, { diagnostic: false })
        for (const move of moves) reached.set(move, (reached.get(move) ?? 0) + 1)
      },
    ),
    { numRuns: 2000 },
  )
  t.same([...reached.keys()].sort(), [
    'closed>open',
    'half-open>closed',
    'half-open>open',
    'half-open>ramp-up',
    'open>half-open',
    'ramp-up>closed',
    'ramp-up>open',
  ])
})

/** A breaker, its clock and its moves. */
function scene(rules: Partial<BreakerRules> = {}, random = () => 0.5) {
  const moves: Move[] = []
  const breaker = new Breaker({ ...RULES, ...rules }, move => moves.push(move), random)
  const call = (now: number, failed: boolean, slow = false) => {
    const permit = new Permit()
    const admitted = breaker.acquire(now, permit)
    if (admitted) breaker.record(now, permit, failed, slow)
    return admitted
  }
  const states = () => moves.map(move => move.to)
  return { breaker, moves, call, states }
}

t.test(
  'openFor: 20% to both sides, doubled with each setback, 5 minutes at most, and from the start after closing',
  async t => {
    const random = seeded(7)
    const firsts: number[] = []
    for (let i = 0; i < 2000; i++) {
      const { breaker, call } = scene({ minimumCalls: 1 }, random)
      call(0, true)
      firsts.push(breaker.wakeAt)
    }
    t.ok(
      firsts.every(time => time >= 800 && time <= 1200),
      'within the bounds',
    )
    t.ok(Math.min(...firsts) < 805 && Math.max(...firsts) > 1195, 'and all over them')
    const mean = firsts.reduce((a, b) => a + b) / firsts.length
    t.ok(Math.abs(mean - 1000) < 15, `on both sides alike: ${mean}`)

    const { breaker, call } = scene({ minimumCalls: 1, halfOpenCalls: 1, openFor: 10_000 })
    const lengths: number[] = []
    let now = 0
    for (let round = 0; round < 8; round++) {
      call(now, true)
      lengths.push(breaker.wakeAt - now)
      now = breaker.wakeAt
    }
    t.same(lengths, [10_000, 20_000, 40_000, 80_000, 160_000, LONGEST, LONGEST, LONGEST])
    call(now, false)
    t.equal(breaker.state, 'closed')
    call(now, true)
    t.equal(breaker.wakeAt - now, 10_000)
    for (const draw of [0, 0.999999]) {
      const spread = scene({ minimumCalls: 1, openFor: LONGEST }, () => draw)
      spread.call(0, true)
      t.ok(spread.breaker.wakeAt <= LONGEST, 'not even with jitter')
    }
  },
)

t.test('time alone moves it, and says when', async t => {
  const { breaker, call, states } = scene({ minimumCalls: 1, halfOpenCalls: 1, rampUp: 500 })
  t.equal(breaker.wakeAt, Number.POSITIVE_INFINITY)
  call(0, true)
  breaker.advance(999)
  t.equal(breaker.state, 'open')
  breaker.advance(1000)
  t.equal(breaker.state, 'half-open')
  t.equal(breaker.wakeAt, Number.POSITIVE_INFINITY, 'only a probe leads on')
  call(1000, false)
  t.equal(breaker.wakeAt, 1500)
  breaker.advance(1500)
  t.same(states(), ['open', 'half-open', 'ramp-up', 'closed'])
})

t.test('the ramp lets through its share, within chance, at each tenth', async t => {
  const { breaker, call } = scene({ minimumCalls: 1, halfOpenCalls: 1, rampUp: 10_000 }, seeded(11))
  call(0, true)
  const start = breaker.wakeAt
  call(start, false)
  t.equal(breaker.state, 'ramp-up')
  const asked = 20_000
  for (let tenth = 0; tenth < 10; tenth++) {
    let passed = 0
    for (let i = 0; i < asked; i++) if (call(start + tenth * 1000, false)) passed++
    const share = tenth / 10
    // Four standard deviations: one in sixteen thousand runs of another seed would fail.
    const off = 4 * Math.sqrt((share * (1 - share)) / asked)
    t.ok(Math.abs(passed / asked - share) <= off, `${passed} of ${asked} at ${share}`)
  }
  t.equal(call(start + 10_000, false), true)
  t.equal(breaker.state, 'closed')
})

t.test('a failure on the ramp opens for longer, and what the ramp counted goes on when it ends', async t => {
  const ramp = { minimumCalls: 2, halfOpenCalls: 1, rampUp: 1000, failureRate: 1 }
  const again = scene(ramp, () => 0.5)
  const one = new Permit()
  again.call(0, true)
  again.call(0, true)
  again.call(1000, false)
  t.ok(again.call(1900, true))
  t.ok(again.breaker.acquire(1900, one))
  again.breaker.record(1950, one, true, false)
  t.same(again.states(), ['open', 'half-open', 'ramp-up', 'open'])
  t.equal(again.breaker.wakeAt - 1950, 2000)

  const on = scene(ramp, () => 0.5)
  on.call(0, true)
  on.call(0, true)
  on.call(1000, false)
  t.ok(on.call(1900, true))
  const late = new Permit()
  t.ok(on.breaker.acquire(1990, late))
  on.breaker.advance(2000)
  t.equal(on.breaker.state, 'closed')
  on.breaker.record(2100, late, true, false)
  t.same(on.states().slice(-2), ['closed', 'open'], 'two of two failed')
})

t.test('a probe that never ends is a failure after five minutes, and its late end is nothing', async t => {
  const { breaker, call, moves } = scene({ minimumCalls: 1, halfOpenCalls: 2 })
  call(0, true)
  const lost = new Permit()
  t.ok(breaker.acquire(1000, lost))
  t.ok(call(2000, false))
  t.notOk(call(3000, false), 'the other is still out')
  breaker.advance(1000 + LONGEST - 1)
  t.equal(breaker.state, 'half-open')
  breaker.advance(1000 + LONGEST)
  t.equal(breaker.state, 'open')
  t.match(moves.at(-1), { reason: 'lost probes', calls: 1 })
  breaker.record(breaker.wakeAt, lost, false, false)
  t.equal(breaker.state, 'half-open')
  t.equal(breaker.inFlight, 0)
  t.equal(breaker.probes, 0)
})

t.test('a probe whose client went away leaves its place to another', async t => {
  const { breaker, call } = scene({ minimumCalls: 1, halfOpenCalls: 2 })
  call(0, true)
  for (let i = 0; i < 100; i++) {
    const gone = [new Permit(), new Permit()]
    t.ok(gone.every(permit => breaker.acquire(1000 + i, permit)))
    t.notOk(breaker.acquire(1000 + i, new Permit()))
    for (const permit of gone) breaker.release(1000 + i, permit)
  }
  t.equal(breaker.state, 'half-open')
  t.ok(call(2000, false))
  t.ok(call(2000, false))
  t.equal(breaker.state, 'closed')
})

t.test('a rate that was reached exactly counts, whatever it is in binary', async t => {
  for (let percent = 1; percent <= 100; percent++) {
    const { breaker, call } = scene({ minimumCalls: 100, failureRate: percent / 100 })
    for (let i = 0; i < 100 - percent; i++) call(0, false)
    for (let i = 1; i < percent; i++) call(0, true)
    if (breaker.state !== 'closed') t.fail(`${percent}% opened early`)
    call(0, true)
    if (breaker.state !== 'open') t.fail(`${percent}% did not open`)
  }
  t.pass('1% to 100%')
})

t.test('a window that stood still for long forgets in one go, and its memory does not grow', async t => {
  const time = new TimeWindow(1000)
  for (let now = 0; now < 1000; now += 10) time.add(now, true, true)
  t.match(time, { calls: 100, failures: 100, slow: 100 })
  time.advance(1099)
  t.match(time, { calls: 90, failures: 90, slow: 90 })
  time.advance(2 ** 40)
  t.match(time, { calls: 0, failures: 0, slow: 0 })
  const place = time.add(2 ** 40, false, false)
  time.amend(2 ** 40 + 2000, place)
  t.match(time, { calls: 0, failures: 0 }, 'too late to be amended')

  const count = new CountWindow(3)
  for (const failed of [true, false, true, false]) count.add(0, failed, !failed)
  t.match(count, { calls: 3, failures: 1, slow: 2 })
})

// The tables of others, see ../shared/corpora/breaker.
const TABLES = join(ROOT, '../shared/corpora/breaker/breaker-scenarios.json')

interface Table {
  readonly id: string
  readonly config: Readonly<Record<string, unknown>>
  readonly events: readonly {
    readonly t: number
    readonly op: 'call' | 'begin' | 'end' | 'acquire' | 'force' | 'expect'
    readonly outcome?: 'success' | 'failure'
    readonly permitted?: boolean
    readonly state?: string
    readonly id?: string
    readonly durationMs?: number
    readonly failureRatePct?: number
    readonly slowRatePct?: number
    readonly bufferedCalls?: number
  }[]
}

/** Scenarios whose options this plugin does not have, and why. */
const WITHOUT: Readonly<Record<string, string>> = {
  'r4j-11': 'there is no forced-open: to take an upstream out is a change of the configuration',
  'gob-03':
    'gobreaker clears its counts each interval, and with them what is under way; a sliding window has no such moment, so a call counts when it ends',
}

function rulesFor(config: Table['config']): BreakerRules {
  const number = (key: string, otherwise: number) => (typeof config[key] === 'number' ? config[key] : otherwise)
  const consecutive = config['kind'] === 'consecutive'
  return {
    window: number('windowMs', number('windowSeconds', 10) * 1000),
    calls: 0,
    minimumCalls: consecutive ? 1_000_000 : number('minimumCalls', 1),
    failureRate:
      typeof config['failureRatio'] === 'number' ? config['failureRatio'] : number('failureRatePct', 50) / 100,
    slowRate: config['slowCallMs'] === undefined ? Number.POSITIVE_INFINITY : number('slowRatePct', 100) / 100,
    consecutiveFailures: consecutive ? number('failures', 0) : 0,
    // `5000*2^k` is what openFor does by itself.
    openFor: typeof config['openMs'] === 'string' ? Number.parseInt(config['openMs'], 10) : number('openMs', 1000),
    halfOpenCalls: number('halfOpenPermits', 1),
    // Those breakers let everybody through as soon as they close.
    rampUp: 0,
  }
}

t.test(
  'the tables of resilience4j, gobreaker, opossum and Sentinel',
  { skip: !existsSync(TABLES) && 'no tables here' },
  async t => {
    const { scenarios } = JSON.parse(readFileSync(TABLES, 'utf8')) as { scenarios: Table[] }
    let played = 0
    for (const { id, config, events } of scenarios) {
      if (Object.keys(WITHOUT).some(known => id.startsWith(`${known} `))) continue
      played++
      const rules = rulesFor(config)
      const moves: Move[] = []
      const doubles = typeof config['openMs'] === 'string'
      // The middle of the jitter is none.
      const breaker = new Breaker(
        rules,
        move => {
          moves.push(move)
          // They open for as long each time, and this one for twice as long after a failed probe.
          if (!doubles && move.from === 'half-open' && move.to === 'open')
            extra += breaker.wakeAt - breaker.since - rules.openFor
        },
        () => 0.5,
      )
      const begun = new Map<string, Permit>()
      const out: Permit[] = []
      /** Time on top of the table's: there is no force, so it is done by traffic and by waiting. */
      let extra = 0
      const fail = (now: number) => {
        const permit = new Permit()
        if (breaker.acquire(now, permit)) breaker.record(now, permit, true, false)
      }
      for (const [i, event] of events.entries()) {
        const now = event.t + extra
        const at = `${id}, event ${i}`
        const slow =
          (event.durationMs ?? 0) > ((config['slowCallMs'] as number | undefined) ?? Number.POSITIVE_INFINITY)
        if (event.op === 'force') {
          for (const permit of out.splice(0)) breaker.record(now, permit, true, false)
          for (let tries = 0; tries < 20 && breaker.state !== 'open'; tries++) fail(now)
          if (event.state === 'half-open') {
            extra = breaker.wakeAt - event.t
            breaker.advance(breaker.wakeAt)
          }
          t.equal(breaker.state, event.state, at)
          continue
        }
        breaker.advance(now)
        if (event.op === 'call' || event.op === 'acquire' || event.op === 'begin') {
          const permit = new Permit()
          const admitted = breaker.acquire(now, permit)
          t.equal(admitted, event.permitted ?? true, at)
          if (event.op === 'begin') begun.set(event.id!, permit)
          else if (event.op === 'acquire') out.push(permit)
          else if (admitted) breaker.record(now, permit, event.outcome === 'failure', slow)
        } else if (event.op === 'end') breaker.record(now, begun.get(event.id!)!, event.outcome === 'failure', slow)
        if (event.state !== undefined) t.equal(breaker.state, event.state, at)
        const rates = moves.at(-1)
        if (event.failureRatePct !== undefined)
          t.equal((100 * rates!.failures) / rates!.calls, event.failureRatePct, at)
        if (event.slowRatePct !== undefined) t.equal((100 * rates!.slow) / rates!.calls, event.slowRatePct, at)
        if (event.bufferedCalls !== undefined) t.equal(breaker.window.calls, event.bufferedCalls, at)
      }
    }
    t.equal(played, scenarios.length - Object.keys(WITHOUT).length)
    // The section `outlier` is about leaving out one endpoint: passive health, see docs/decisions/0009.
  },
)
