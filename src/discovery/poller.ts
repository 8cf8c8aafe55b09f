// The one loop that asks any registry for one service: paces it, checks what it says, and keeps it over failures and restarts.
import { setImmediate } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { countPoll } from '../metrics.ts'
import { AnswerError } from './ask.ts'
import { Checker } from './checker.ts'
import { afterAnswer, afterFailure, BURST, GAP, LEAST_WAIT, type Pace, realPace } from './pace.ts'
import { type DiscoveryProvider, type Found, type Instance, WAIT } from './provider.ts'
import type { Candidate, Wanted } from './select.ts'
import { Service, type Subscription } from './service.ts'
import type { StateFile } from './state.ts'

/** Options of a registry that its pollers go by; times in milliseconds. */
export interface PollerOptions {
  readonly interval: number
  readonly timeout: number
  readonly onEmpty: 'keep' | 'drop'
  readonly holdFor: number
  /** Most of one service. */
  readonly maxInstances: number
  readonly linkLocal: boolean
}

/** What a poller works with. */
export interface PollerParts {
  readonly registry: string
  readonly service: string
  readonly provider: DiscoveryProvider
  readonly options: PollerOptions
  readonly state: StateFile | null
  /** What was in use of the service when the registry was asked with other options. */
  readonly before?: readonly Instance[] | null
  readonly log: Log
  readonly pace?: Pace
}

/** Of more instances than this reading, checking and using them are turns of the event loop of their own. */
const SMALL = 1_000

/** See the head of this file. Runs from `start` to `close`. */
export class Poller {
  readonly service: string
  /** The instances are from an earlier run, or were told under other options: until the registry answers. */
  fromState = false
  /** What is wrong with the registry; null while it answers. */
  failure: string | null = null
  /** Resolves after the first answer, or once it is clear that there is none for now. */
  readonly ready: Promise<void>
  #becomeReady!: () => void
  readonly #parts: Omit<PollerParts, 'before'>
  readonly #pace: Pace
  readonly #checker: Checker
  readonly #service: Service
  readonly #stop = new AbortController()
  /** Of one poll after the other, until one takes too long: a service that changes is to leave little behind. */
  #asking = new AbortController()
  /** Time of the last good answer by the pace's clock; NaN before. */
  #answeredAt = Number.NaN
  #failures = 0
  /** Until it is used, or the registry answers. */
  #before: readonly Instance[] | null
  #recalled = false
  #stateFails = false

  constructor(parts: PollerParts) {
    const { before = null, ...rest } = parts
    const { registry, service, options, log, pace = realPace } = rest
    const { signal } = this.#stop
    this.service = service
    this.#parts = rest
    this.#pace = pace
    this.#before = before
    this.#checker = new Checker(registry, service, options, log)
    this.#service = new Service({ registry, service, options, log, pace, signal, changed: () => this.keep() })
    this.ready = new Promise(resolve => {
      this.#becomeReady = resolve
    })
  }

  /** Milliseconds since the registry last answered; NaN before it has. */
  get age(): number {
    return this.#pace.now() - this.#answeredAt
  }

  /** True once a registry has answered, or something is known of before. */
  get known(): boolean {
    return this.#service.known
  }

  /** All instances in use; null where nothing is known. */
  get inUse(): readonly Instance[] | null {
    return this.known ? this.#service.inUse.map(({ instance }) => instance) : null
  }

  /** How many instances the registry told of that may be used. */
  get told(): number {
    return this.#service.told.length
  }

  /** How many instances are in use that the registry does not tell of. */
  get held(): number {
    return this.#service.held.length
  }

  /** True when link-local addresses may be used. */
  get linkLocal(): boolean {
    return this.#parts.options.linkLocal
  }

  /** See Service. */
  subscribe(wanted: Wanted, changed: () => void): Subscription {
    return this.#service.subscribe(wanted, changed)
  }

  /** True when nobody listens. */
  get idle(): boolean {
    return this.#service.idle
  }

  start(): void {
    void this.#run()
  }

  close(): void {
    this.#stop.abort()
    this.#asking.abort()
    this.#becomeReady()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    let cursor: string | null = null
    /** Answers since the last that was waited for, or said something new. */
    let vain = 0
    while (!signal.aborted) {
      let pause: number
      try {
        const askedAt = this.#pace.now()
        const found = await this.#ask(cursor)
        const took = this.#pace.now() - askedAt
        const waited = took >= LEAST_WAIT
        const waits = waited || found.cursor !== cursor
        const told = await this.#read(found.instances)
        if (told.length === 0 && !this.known && this.#parts.options.onEmpty === 'keep') await this.#recall()
        // Closed meanwhile: whoever came after it keeps the state now.
        if (signal.aborted) break
        cursor = found.cursor
        const changed = this.#answered(told)
        vain = waited || changed ? 0 : vain + 1
        // What is news to a registry may be nothing to us, such as what a check of Consul's prints.
        const gap = vain > BURST ? LEAST_WAIT : GAP
        pause =
          cursor !== null && (waits || changed)
            ? gap - took
            : afterAnswer(this.#parts.options.interval, found.ttl, this.#pace.random())
      } catch (error) {
        if (signal.aborted) break
        cursor = error instanceof AnswerError ? error.cursor : null
        await this.#failed(error)
        pause = cursor !== null ? GAP : afterFailure(this.#failures, this.#pace.random())
      }
      this.#becomeReady()
      if (pause > 0) await this.#pause(pause)
    }
  }

  /** One poll, ended by the timeout; a registry that waits gets the time for it. */
  #ask(cursor: string | null): Promise<Found> {
    const { provider, service, options } = this.#parts
    const most = options.timeout + (cursor === null ? 0 : WAIT)
    const asking = this.#asking
    return new Promise((resolve, reject) => {
      const inTime = this.#pace.after(most, () => {
        this.#asking = new AbortController()
        reject(new Error(`no answer within ${most} ms`))
        asking.abort()
      })
      const answered = (found: Found) => {
        inTime()
        resolve(found)
      }
      const failed = (error: unknown) => {
        inTime()
        reject(error)
      }
      provider.poll(service, cursor, asking.signal).then(answered, failed)
    })
  }

  async #pause(ms: number): Promise<void> {
    // Closed while it sleeps: the loop sees it.
    await this.#pace.sleep(ms, this.#stop.signal).catch(() => {})
  }

  /** What may be used of a new answer. Rejects when there are too many. */
  async #read(instances: readonly Instance[]): Promise<readonly Candidate[]> {
    const large = instances.length > SMALL
    if (large) await setImmediate()
    const told = this.#checker.check(instances)
    if (large) await setImmediate()
    return told
  }

  /** True when it is another answer than the last. */
  #answered(told: readonly Candidate[]): boolean {
    const { registry, service, log } = this.#parts
    this.#answeredAt = this.#pace.now()
    this.#failures = 0
    if (this.failure !== null) {
      log.info('discovery answers again', { registry, service })
      this.failure = null
    }
    this.fromState = false
    this.#before = null
    const first = !this.known
    const changed = this.#service.take(told)
    if (first || changed || this.#stateFails) this.keep()
    countPoll(registry, changed ? 'changed' : 'same')
    return changed
  }

  async #failed(error: unknown): Promise<void> {
    const { registry, service, log } = this.#parts
    const message = messageOf(error).slice(0, 300)
    this.#failures++
    countPoll(registry, 'failed')
    if (this.failure === null) {
      log.warn('discovery fails; what is known of the service stays in use', { registry, service, error: message })
    }
    this.failure = message
    if (!this.known) await this.#recall()
  }

  /** A beginning without the registry, or with an empty one: begin with what was known before a reload, or a start. */
  async #recall(): Promise<void> {
    const { registry, service, state, log } = this.#parts
    if (this.#recalled) return
    this.#recalled = true
    const before = this.#before
    this.#before = null
    try {
      const found = before ?? (await state?.read()) ?? null
      if (found === null || found.length === 0) return
      const instances = this.#checker.check(found)
      this.fromState = true
      this.#service.take(instances)
      const when = before === null ? 'start' : 'reload'
      log.warn(`discovery begins with what was known before the ${when}`, {
        registry,
        service,
        instances: instances.length,
      })
      // The folder may be another one than it was written to.
      if (before !== null) this.keep()
    } catch (error) {
      const fields = { registry, service, ...(before === null && { file: state?.path }), error: messageOf(error) }
      log.warn('the kept state of discovery cannot be used', fields)
    }
  }

  /** Write down what is in use; what goes wrong is said once, and tried again with each answer. */
  keep(): void {
    const { state, log } = this.#parts
    if (state === null) return
    const { inUse } = this
    if (inUse === null) return
    state.write(inUse).then(
      () => {
        this.#stateFails = false
      },
      error => {
        if (!this.#stateFails)
          log.warn('discovery cannot keep its state', { file: state.path, error: messageOf(error) })
        this.#stateFails = true
      },
    )
  }
}
