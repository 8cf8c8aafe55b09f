// circuit-breaker: stops asking an upstream that fails or is slow, asks again with a few probes, and degrades meanwhile.
import {
  definePlugin,
  type Exchange,
  type GatewayError,
  PASS_OVER,
  type PassOver,
  type Plugin,
  type PluginContext,
  problemReply,
  type Reply,
  type Slot,
  wheel,
} from '../../src/plugin-api.ts'
import { Call, type Guard } from './guard.ts'
import { Guards } from './guards.ts'
import { reporter } from './moves.ts'
import { check, type Fallback, type Options, options, rules } from './options.ts'
import { StaleAnswers } from './stale.ts'

/** Calls that are kept to be used again. */
const SPARE = 4096

class CircuitBreaker implements Plugin {
  readonly #scope: Options['scope']
  /** By status: 1 is a failure. */
  readonly #failed = new Uint8Array(1000)
  /** Milliseconds; Infinity when calls are not timed. */
  readonly #slowOver: number
  readonly #slot: Slot<Call>
  readonly #guards: Guards
  readonly #spare: Call[] = []
  readonly #count: Readonly<Record<'refused' | 'degraded', () => void>>
  readonly #upstream: string | null
  readonly #reply: Reply | null
  readonly #stale: StaleAnswers | null
  /** Only with `stale`: no other has to look at bodies. */
  readonly onResponseChunk?: NonNullable<Plugin['onResponseChunk']>

  constructor(given: Options, context: PluginContext) {
    this.#scope = given.scope
    for (const status of given.statuses) this.#failed[status] = 1
    this.#slowOver = given.slowCall?.over ?? Number.POSITIVE_INFINITY
    this.#slot = context.slot<Call>()
    this.#count = { refused: context.counter('refused'), degraded: context.counter('degraded') }
    // Entries with the same options share the breakers of upstreams and endpoints; a route's breaker is its own.
    const own = given.scope === 'route'
    this.#guards = context.shared(
      own ? [given, context.route] : given,
      common => new Guards(given.scope, rules(given), reporter(own ? context : common)),
    )
    const { fallback } = given
    this.#upstream = fallback?.upstream ?? null
    this.#reply = fallback?.status === undefined ? null : replyOf(fallback)
    this.#stale = null
    if (fallback?.stale !== undefined) {
      const stale = new StaleAnswers(fallback.stale, fallback.entries ?? 1000, fallback.bytes ?? 16 * 1024 * 1024)
      this.#stale = stale
      this.onResponseChunk = (x, chunk, last) => this.#takeDown(stale, x, chunk, last)
    }
  }

  onAttempt(x: Exchange): Reply | PassOver | void {
    const now = wheel.time()
    let call = this.#slot.get(x)
    if (call === undefined) {
      call = this.#spare.pop() ?? new Call()
      this.#slot.set(x, call)
    } else if (call.held) call.guard!.release(now, call)
    // The route's breaker judges the route's own way; what is done instead is none of its business.
    if (call.degraded && this.#scope === 'route') return
    const guard = this.#guards.of(x)
    if (!guard.acquire(now, call)) return this.#refuse(x, guard, call, now)
    call.start = now
  }

  #refuse(x: Exchange, guard: Guard, call: Call, now: number): Reply | PassOver | void {
    if (this.#scope === 'endpoint' && !x.exhausted) return PASS_OVER
    this.#count.refused()
    const reply = this.#degrade(x, call, now)
    if (reply === null) {
      const seconds = Math.max(1, Math.ceil(guard.retryIn(now) / 1000))
      return problemReply(x, 'SLUICE_BREAKER_OPEN', ['retry-after', String(seconds)])
    }
    this.#count.degraded()
    if (reply !== undefined) return reply
  }

  /** What there is instead: a reply, another upstream (then undefined), or null. */
  #degrade(x: Exchange, call: Call, now: number): Reply | undefined | null {
    if (this.#upstream !== null) {
      const here = call.degraded || x.upstream!.name === this.#upstream
      if (here || !x.routeTo(this.#upstream)) return null
      call.degraded = true
      return undefined
    }
    return this.#reply ?? this.#stale?.answer(x, now) ?? null
  }

  onOutcome(x: Exchange, error: GatewayError | null): void {
    const call = this.#slot.get(x)
    if (call === undefined || !call.held) return
    const now = wheel.time()
    // The client went away, its body broke, a plugin failed or our own queue is full: nothing the upstream did.
    if (error !== null && error.source !== 'upstream') {
      call.guard!.release(now, call)
      return
    }
    const failed = error !== null || this.#failed[x.response!.status] === 1
    call.guard!.record(now, call, failed, now - call.start > this.#slowOver)
    if (this.#stale !== null && !failed) call.capture = this.#stale.begin(x, now)
  }

  #takeDown(stale: StaleAnswers, x: Exchange, chunk: Uint8Array, last: boolean): void {
    const call = this.#slot.get(x)
    const capture = call?.capture ?? null
    if (capture === null) return
    if (!stale.push(capture, chunk)) call!.capture = null
    else if (last) {
      call!.capture = null
      stale.keep(capture)
    }
  }

  onFinish(x: Exchange, error: GatewayError | null): void {
    const call = this.#slot.get(x)
    if (call === undefined) return
    if (call.capture !== null) {
      this.#stale!.drop(call.capture)
      call.capture = null
    }
    // Whatever way out was taken, the permit comes back here at the latest.
    if (call.held) call.guard!.release(wheel.time(), call)
    else if (error !== null && call.good && error.source === 'upstream') call.guard!.amend(wheel.time(), call)
    x.slots[this.#slot.index] = undefined
    call.guard = null
    call.good = false
    call.degraded = false
    if (this.#spare.length < SPARE) this.#spare.push(call)
  }

  inspect(): unknown {
    return this.#guards.facts()
  }
}

function replyOf({ status, headers = {}, body = '' }: Fallback): Reply {
  return { status: status!, headers: Object.entries(headers).flat(), body: body === '' ? null : body }
}

export default definePlugin({
  name: 'circuit-breaker',
  description: 'Stops asking an upstream that fails or is slow, and asks again with a few probes.',
  options,
  check,
  vouches: true,
  create: (given, context) => new CircuitBreaker(given, context),
})
