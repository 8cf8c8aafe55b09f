// Running phases: order, synchrony until the first promise, replies, conditions, faults, and who sees the answer.
// Over 300 lines because the scene serves every case, and each phase is tried beside the others.
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../../src/errors.ts'
import type { Exchange } from '../../../src/exchange/exchange.ts'
import type { Reply } from '../../../src/http/head.ts'
import { Plan, type PlanMember, type Step } from '../../../src/pipeline/plan.ts'
import type { Plugin } from '../../../src/pipeline/plugin.ts'
import {
  type PhaseEnd,
  runAttempt,
  runChunk,
  runFinish,
  runOutcome,
  runRequest,
  runResponse,
} from '../../../src/pipeline/run.ts'
import { exchange } from '../../support/exchange.ts'
import { requestHead } from '../../support/request-head.ts'

const REPLY: Reply = { status: 403, headers: [], body: null }

/** The value, once something was noted. */
function after<T>(_noted: void, value: T): T {
  return value
}

/** An exchange, and a log of who ran and how phases ended. */
class Scene implements PhaseEnd {
  x: Exchange = exchange(requestHead('GET', 'h', '/'))
  readonly log: string[] = []
  readonly plan: Plan
  #wake: () => void = () => {}

  constructor(members: readonly PlanMember[]) {
    this.plan = new Plan(members)
  }

  #ended(what: string): void {
    this.log.push(what)
    this.#wake()
  }

  /** Resolves when a phase ends. */
  ended(): Promise<void> {
    return new Promise(done => {
      this.#wake = done
    })
  }

  requestPassed(): void {
    this.#ended('passed')
  }
  answered(_x: Exchange, reply: Reply): void {
    this.#ended(`answered ${reply.status}`)
  }
  responsePassed(): void {
    this.#ended('response passed')
  }
  pluginFailed(_x: Exchange, step: Step, error: unknown): void {
    this.#ended(`${step.name} failed: ${error instanceof Error ? error.message : error}`)
  }
  readonly report = (_x: Exchange, step: Step, error: unknown) =>
    this.#ended(`${step.name} reported: ${(error as Error).message}`)

  take(): string[] {
    return this.log.splice(0)
  }

  request(): void {
    runRequest(this.plan, this.x, this)
  }
  response(): void {
    if (this.plan.response !== null) runResponse(this.plan.response, this.x, this)
  }
}

/** Members that note their turn. */
function scene(
  plugins: Record<string, Plugin | ((log: (what: string) => void) => Plugin)>,
  when: Record<string, PlanMember['when']> = {},
): Scene {
  const log = (what: string): void => void made.log.push(what)
  const members = Object.entries(plugins).map(([name, plugin]) => ({
    name,
    plugin: typeof plugin === 'function' ? plugin(what => log(`${name} ${what}`)) : plugin,
    when: when[name] ?? null,
  }))
  const made: Scene = new Scene(members)
  return made
}

const noting = (log: (what: string) => void): Plugin => ({
  onRequest: () => log('request'),
  onResponse: () => log('response'),
})

t.test('forward, backward, and synchronous where nobody returns a promise', async t => {
  const s = scene({ a: noting, b: noting, c: noting })
  s.request()
  t.same(s.take(), ['a request', 'b request', 'c request', 'passed'], 'before runRequest returned')
  t.equal(s.x.reached, 3)
  s.response()
  t.same(s.take(), ['c response', 'b response', 'a response', 'response passed'])
  const empty = scene({})
  empty.request()
  t.same(empty.take(), ['passed'])
})

t.test('a promise suspends the phase, and only from there', async t => {
  let release = (_: Reply | undefined) => {}
  const waiting = new Promise<Reply | undefined>(done => {
    release = done
  })
  const s = scene({ a: noting, b: log => ({ onRequest: () => after(log('waits'), waiting) }), c: noting })
  s.request()
  t.same(s.take(), ['a request', 'b waits'])
  t.equal(s.x.reached, 2, 'c has not had its turn')
  release(undefined)
  await s.ended()
  t.same(s.take(), ['c request', 'passed'])
  t.equal(s.x.reached, 3)
})

t.test('a preflight passes by those that authenticate, where one behind them answers it', async t => {
  const fields = ['origin', 'https://a', 'access-control-request-method', 'PUT']
  const preflight = () => exchange(requestHead('OPTIONS', 'h', '/', [...fields]))
  const auth = (log: (what: string) => void): Plugin => ({ ...noting(log), authenticates: true })
  const answers =
    (reply: () => Reply | void | Promise<Reply | void>) =>
    (log: (what: string) => void): Plugin => ({
      ...noting(log),
      preflight: true,
      onRequest: () => after(log('request'), reply()),
    })
  const asked = async (s: Scene, x = preflight()) => {
    s.x = x
    const ended = s.ended()
    s.request()
    await ended
    if (s.log.at(-1)?.startsWith('answered')) s.response()
    return s.take()
  }
  const now = answers(() => REPLY)
  t.same(await asked(scene({ a: noting, b: auth, c: now })), [
    ...['a request', 'c request', 'answered 403', 'c response', 'a response', 'response passed'],
  ])
  const slow = (log: (what: string) => void): Plugin => ({ onRequest: async () => log('request') })
  const later = answers(async () => REPLY)
  t.same((await asked(scene({ a: slow, b: auth, c: slow, d: auth, e: later }))).slice(0, 4), [
    ...['a request', 'c request', 'e request', 'answered 403'],
  ])
  t.same((await asked(scene({ a: now, b: auth }))).slice(0, 2), ['a request', 'answered 403'])
  t.same(await asked(scene({ a: auth, b: noting })), ['a request', 'b request', 'passed'], 'nobody answers it')
  const never = { c: () => false }
  t.same(await asked(scene({ a: auth, c: now }, never)), ['a request', 'passed'], 'nor here')
  t.same((await asked(scene({ a: auth, c: now }), exchange(requestHead('GET', 'h', '/', fields))))[0], 'a request')

  let asks = 0
  const once = { c: () => asks++ === 0 }
  t.same((await asked(scene({ a: auth, c: now }, once))).slice(0, 2), ['c request', 'answered 403'])
  t.equal(asks, 1, 'its condition is settled beforehand')
  // Whoever promises to answer and does not has let an unauthenticated request in.
  for (const broken of [answers(() => {}), answers(async () => {})])
    t.match(await asked(scene({ a: auth, c: broken })), ['c request', /^c failed: .*has not answered/])
  t.same(await asked(scene({ a: auth, c: { preflight: true } })), ['a request', 'passed'])
  const armed = { c: () => true }
  t.same(await asked(scene({ a: auth, c: { preflight: true } }, armed)), ['a request', 'passed'])
})

t.test('promises one after the other, and in the response phase', async t => {
  const slow = (log: (what: string) => void): Plugin => ({
    onRequest: async () => log('request'),
    onResponse: async () => log('response'),
  })
  const s = scene({ a: slow, b: noting, c: slow })
  s.request()
  t.same(s.take(), ['a request'])
  await s.ended()
  t.same(s.take(), ['b request', 'c request', 'passed'])
  s.response()
  t.same(s.take(), ['c response'])
  await s.ended()
  t.same(s.take(), ['b response', 'a response', 'response passed'])
})

t.test('a reply ends the request phase; only those who had their turn see the answer', async t => {
  for (const answer of [() => REPLY, async () => REPLY]) {
    const s = scene({
      a: noting,
      b: log => ({ onRequest: () => after(log('answers'), answer()), onResponse: () => log('response') }),
      c: noting,
    })
    const ended = s.ended()
    s.request()
    await ended
    t.same(s.take(), ['a request', 'b answers', 'answered 403'])
    t.equal(s.x.reached, 2)
    s.response()
    t.same(s.take(), ['b response', 'a response', 'response passed'])
  }
})

t.test('null is nothing, as undefined is', async t => {
  const nothing = null as unknown as undefined
  const s = scene({
    a: { onRequest: () => nothing, onResponse: () => nothing, onAttempt: () => nothing },
    b: { onRequest: async () => nothing },
    c: log => ({ onAttempt: () => after(log('attempt'), REPLY) }),
  })
  s.request()
  await s.ended()
  t.same(s.take(), ['passed'])
  s.response()
  t.same(s.take(), ['response passed'])
  t.equal(runAttempt(s.plan.attempt!, s.x, s), REPLY, 'the next has its turn')
  t.same(s.take(), ['c attempt'])
})

t.test('who throws or rejects ends the phase', async t => {
  const oops = () => {
    throw new Error('oops')
  }
  for (const onRequest of [oops, async () => oops()]) {
    const s = scene({ a: noting, b: { onRequest }, c: noting })
    const ended = s.ended()
    s.request()
    await ended
    t.same(s.take(), ['a request', 'b failed: oops'])
  }
  for (const onResponse of [oops, async () => oops()]) {
    const s = scene({ a: noting, b: { onResponse }, c: noting })
    s.request()
    s.take()
    const ended = s.ended()
    s.response()
    await ended
    t.same(s.take(), ['c response', 'b failed: oops'])
  }
  const thrown = scene({ a: noting }, { a: oops })
  thrown.request()
  t.same(thrown.take(), ['a failed: oops'], 'a condition that throws is its plugin failing')
})

t.test('what resolves or rejects after the exchange is over is not heard', async t => {
  for (const late of [async () => REPLY, async () => undefined, async () => Promise.reject(new Error('late'))]) {
    const s = scene({ a: { onRequest: late, onResponse: late as () => Promise<void> }, b: noting })
    s.request()
    s.x.finished = true
    s.x.reached = 2
    await new Promise(setImmediate)
    t.same(s.take(), [])
    s.response()
    t.same(s.take(), ['b response'])
    await new Promise(setImmediate)
    t.same(s.take(), [])
  }
})

t.test('a condition that does not hold leaves a plugin out of every phase', async t => {
  const everything = (log: (what: string) => void): Plugin => ({
    onRequest: () => log('request'),
    onAttempt: () => log('attempt'),
    onOutcome: () => log('outcome'),
    onResponse: () => log('response'),
    onRequestChunk: () => log('request chunk'),
    onResponseChunk: () => log('response chunk'),
    onFinish: () => log('finish'),
  })
  let asked = 0
  const never = () => {
    asked++
    return false
  }
  const s = scene({ a: everything, b: everything, c: everything }, { b: never, c: () => true })
  const bytes = new Uint8Array(1)
  s.request()
  t.same(s.take(), ['a request', 'c request', 'passed'])
  const { attempt, outcome, requestChunk, responseChunk, finish } = s.plan
  runAttempt(attempt!, s.x, s)
  runOutcome(outcome!, s.x, null, s.report)
  runChunk(requestChunk!, 'onRequestChunk', s.x, bytes, true, s)
  t.same(s.take(), ['a attempt', 'c attempt', 'a outcome', 'c outcome', 'a request chunk', 'c request chunk'])
  s.response()
  runChunk(responseChunk!, 'onResponseChunk', s.x, bytes, true, s)
  runFinish(finish!, s.x, null, s.report)
  t.same(s.take(), [
    'c response',
    'a response',
    'response passed',
    'c response chunk',
    'a response chunk',
    'c finish',
    'a finish',
  ])
  t.equal(asked, 1, 'it is decided once')
})

t.test('whose turn never came takes no part in anything', async t => {
  const s = scene({
    a: { onRequest: () => REPLY },
    b: log => ({
      onFinish: () => log('finish'),
      onOutcome: () => log('outcome'),
      onAttempt: () => after(log('attempt'), REPLY),
    }),
  })
  s.request()
  s.take()
  t.equal(runAttempt(s.plan.attempt!, s.x, s), null)
  runOutcome(s.plan.outcome!, s.x, null, s.report)
  runFinish(s.plan.finish!, s.x, null, s.report)
  t.same(s.take(), [])
})

t.test('attempts', async t => {
  const s = scene({
    a: log => ({ onAttempt: () => log('attempt') }),
    b: log => ({ onAttempt: () => after(log('refuses'), REPLY) }),
    c: log => ({ onAttempt: () => log('attempt') }),
  })
  s.request()
  s.take()
  t.equal(runAttempt(s.plan.attempt!, s.x, s), REPLY)
  t.same(s.take(), ['a attempt', 'b refuses'])
  const failing = scene({
    a: {
      onAttempt: () => {
        throw new Error('oops')
      },
    },
  })
  failing.request()
  failing.take()
  t.equal(runAttempt(failing.plan.attempt!, failing.x, failing), 'failed')
  t.same(failing.take(), ['a failed: oops'])
})

t.test('outcome and finish go on past a fault, also one that comes later', async t => {
  const oops = () => {
    throw new Error('oops')
  }
  const error = new GatewayError('SLUICE_UPSTREAM_RESET', 'x')
  const seen: unknown[] = []
  const s = scene({
    a: { onOutcome: (_x, e) => void seen.push(e), onFinish: (_x, e) => void seen.push(e) },
    b: { onOutcome: oops, onFinish: oops },
    c: {
      onOutcome: (async () => oops()) as Plugin['onOutcome'] & {},
      onFinish: (async () => oops()) as Plugin['onFinish'] & {},
    },
  })
  s.request()
  s.take()
  runOutcome(s.plan.outcome!, s.x, error, s.report)
  t.same(seen, [error])
  t.same(s.take(), ['b reported: oops'])
  await s.ended()
  t.same(s.take(), ['c reported: oops'], 'a rejection is reported and never unhandled')
  runFinish(s.plan.finish!, s.x, null, s.report)
  t.same(seen, [error, null])
  t.same(s.take(), ['b reported: oops'])
  await s.ended()
  t.same(s.take(), ['c reported: oops'])
})

t.test('chunks', async t => {
  const upper: Plugin = { rewrites: true, onResponseChunk: (_x, chunk) => Buffer.from(String(chunk).toUpperCase()) }
  const seen: string[] = []
  const reader: Plugin = {
    onResponseChunk: (_x, chunk, last) => {
      seen.push(`${chunk} ${last}`)
      return Buffer.from('ignored')
    },
  }
  const s = scene({ a: reader, b: upper, c: reader })
  s.request()
  s.take()
  const run = (text: string, last: boolean) =>
    runChunk(s.plan.responseChunk!, 'onResponseChunk', s.x, Buffer.from(text), last, s)
  t.equal(String(run('abc', false)), 'ABC')
  t.equal(String(run('', true)), '')
  t.same(seen, ['abc false', 'ABC false', ' true', ' true'], 'backwards, each sees what the one before it made')
  for (const made of ['text', null, {}, Promise.resolve(new Uint8Array(1))]) {
    const bad = scene({ a: { rewrites: true, onResponseChunk: () => made as never }, b: noting })
    bad.request()
    bad.take()
    const result = runChunk(bad.plan.responseChunk!, 'onResponseChunk', bad.x, new Uint8Array(1), false, bad)
    t.equal(result, null)
    t.match(bad.take(), [
      /^a failed: onResponseChunk returned (what is no Uint8Array|a promise, but this phase is synchronous)$/,
    ])
  }
})

t.test('any mixture of plugins runs as a naive loop would run it', async () => {
  const kind = fc.constantFrom('sync', 'async', 'skipped', 'reply', 'async reply', 'throw', 'reject', 'absent')
  await fc.assert(
    fc.asyncProperty(fc.array(kind, { maxLength: 8 }), async kinds => {
      const expected: string[] = []
      let end = 'passed'
      let reached = 0
      for (const [i, what] of kinds.entries()) {
        reached = i + 1
        if (what === 'skipped' || what === 'absent') continue
        expected.push(`${i} ran`)
        if (what === 'reply' || what === 'async reply') end = 'answered 403'
        else if (what === 'throw' || what === 'reject') end = `${i} failed: oops`
        else continue
        break
      }
      const s = scene(
        Object.fromEntries(
          // Names in this order: keys that look like numbers would be sorted, which is the same.
          kinds.map((what, i) => [
            String(i),
            (log: (what: string) => void): Plugin => {
              const act = () => {
                log('ran')
                if (what === 'throw' || what === 'reject') throw new Error('oops')
                return what === 'reply' || what === 'async reply' ? REPLY : undefined
              }
              const onResponse = () => log('saw')
              if (what === 'absent') return { onResponse }
              const slow = what === 'async' || what === 'async reply' || what === 'reject'
              return { onRequest: slow ? async () => act() : act, onResponse }
            },
          ]),
        ),
        Object.fromEntries(kinds.flatMap((what, i) => (what === 'skipped' ? [[String(i), () => false]] : []))),
      )
      const ended = s.ended()
      s.request()
      const synchronous = !kinds.slice(0, reached).some(what => ['async', 'async reply', 'reject'].includes(what))
      if (synchronous !== (s.log.at(-1) === end && s.log.length === expected.length + 1)) return false
      if (!synchronous) await ended
      if (JSON.stringify(s.take()) !== JSON.stringify([...expected, end]) || s.x.reached !== reached) return false
      s.response()
      const saw = kinds.flatMap((what, i) => (i < reached && what !== 'skipped' ? [`${i} saw`] : [])).reverse()
      return kinds.length === 0 || JSON.stringify(s.take()) === JSON.stringify([...saw, 'response passed'])
    }),
    { numRuns: 1000 },
  )
})
