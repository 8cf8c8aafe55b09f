// The one loop that asks any registry for one service: paces it, checks what it says, and publishes changes alone.
import { setMaxListeners } from 'node:events'
import type { Log } from '../log.ts'
import { countPoll } from '../metrics.ts'
import { AnswerError } from './ask.ts'
import { Guard } from './guard.ts'
import { afterAnswer, afterFailure, GAP, type Pace, realPace } from './pace.ts'
import { isReachable } from './probe.ts'
import { type DiscoveryProvider, type Instance, WAIT } from './provider.ts'
import { instanceFault } from './select.ts'
import type { StateFile } from './state.ts'

/** Options of a registry that its pollers go by; times in milliseconds. */
export interface PollerOptions {
  readonly interval: number
  readonly timeout: number
  readonly onEmpty: 'keep' | 'drop'
  readonly holdFor: number
  readonly linkLocal: boolean
}

/** What a poller works with. */
export interface PollerParts {
  readonly registry: string
  readonly service: string
  readonly provider: DiscoveryProvider
  readonly options: PollerOptions
  readonly state: StateFile | null
  readonly log: Log
  readonly pace?: Pace
}

/** Between two looks at instances that the registry lost, in milliseconds. */
const PROBE_INTERVAL = 1_000
/** Looked at in one go. */
const MAX_PROBES = 256
/** So many instances that were left out are named in the log. */
const NAMED = 5

/** See the head of this file. Runs from `start` to `close`. */
export class Poller {
  readonly registry: string
  readonly service: string
  /** What is known of the service, in the order of their addresses: the same list until it changes. */
  instances: readonly Instance[] = []
  /** True once a registry has answered, or the state of an earlier run was found. */
  known = false
  /** What the instances come from, until the registry answers. */
  fromState = false
  /** What is wrong with the registry; null while it answers. */
  failure: string | null = null
  /** Resolves after the first answer, or once it is clear that there is none for now. */
  readonly ready: Promise<void>
  #becomeReady!: () => void
  readonly #parts: PollerParts
  readonly #pace: Pace
  readonly #guard: Guard
  readonly #stop = new AbortController()
  readonly #listeners = new Set<(instances: readonly Instance[]) => void>()
  /** Time of the last good answer by the pace's clock; NaN before. */
  #answeredAt = Number.NaN
  #failures = 0
  #leftOut = ''
  #holding = false
  #settling = false

  constructor(parts: PollerParts) {
    this.registry = parts.registry
    this.service = parts.service
    this.#parts = parts
    this.#pace = parts.pace ?? realPace
    this.#guard = new Guard(parts.options)
    // Each probe listens to it, and Node would warn of a leak from the eleventh on.
    setMaxListeners(MAX_PROBES * 2, this.#stop.signal)
    this.ready = new Promise(resolve => {
      this.#becomeReady = resolve
    })
  }

  /** Milliseconds since the registry last answered; NaN before it has. */
  get age(): number {
    return this.#pace.now() - this.#answeredAt
  }

  /** Instances in use that the registry does not tell of. */
  get held(): readonly Instance[] {
    return this.#guard.held
  }

  /** True when link-local addresses may be used. */
  get linkLocal(): boolean {
    return this.#parts.options.linkLocal
  }

  /** Be told of every change; returns what ends it. */
  subscribe(listener: (instances: readonly Instance[]) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** True when nobody listens. */
  get idle(): boolean {
    return this.#listeners.size === 0
  }

  start(): void {
    void this.#run()
  }

  close(): void {
    this.#stop.abort()
    this.#becomeReady()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    let cursor: string | null = null
    while (!signal.aborted) {
      let pause: number
      try {
        const found = await this.#ask(cursor)
        cursor = found.cursor
        this.#answered(found.instances)
        pause = cursor !== null ? GAP : afterAnswer(this.#parts.options.interval, found.ttl, this.#pace.random())
      } catch (error) {
        if (signal.aborted) break
        cursor = error instanceof AnswerError ? error.cursor : null
        await this.#failed(error)
        pause = cursor !== null ? GAP : afterFailure(this.#failures, this.#pace.random())
      }
      this.#becomeReady()
      await this.#pause(pause)
    }
  }

  /** One poll, ended by the timeout; a registry that waits gets the time for it. */
  async #ask(cursor: string | null) {
    const { provider, service, options } = this.#parts
    const most = options.timeout + (cursor === null ? 0 : WAIT)
    const ask = new AbortController()
    const end = () => ask.abort()
    this.#stop.signal.addEventListener('abort', end, { once: true })
    const late = new AbortController()
    const timeout = this.#pace.sleep(most, late.signal).then(() => {
      ask.abort()
      throw new Error(`no answer within ${most} ms`)
    })
    // Whichever comes second is nobody's business.
    timeout.catch(() => {})
    try {
      return await Promise.race([provider.poll(service, cursor, ask.signal), timeout])
    } finally {
      late.abort()
      this.#stop.signal.removeEventListener('abort', end)
    }
  }

  async #pause(ms: number): Promise<void> {
    // Closed while it sleeps: the loop sees it.
    await this.#pace.sleep(ms, this.#stop.signal).catch(() => {})
  }

  #answered(told: readonly Instance[]): void {
    const { registry, service, log } = this.#parts
    this.#answeredAt = this.#pace.now()
    this.#failures = 0
    if (this.failure !== null) {
      log.info('discovery answers again', { registry, service })
      this.failure = null
    }
    this.known = true
    this.fromState = false
    this.#guard.take(this.#checked(told), this.#answeredAt)
    const holding = this.#guard.held.length > 0
    if (holding && !this.#holding) {
      const lost = this.#guard.held.length
      log.warn('the registry lost most instances at once; they are used on', { registry, service, lost })
    }
    this.#holding = holding
    countPoll(registry, this.#publish() ? 'changed' : 'same')
    if (holding) void this.#settle()
  }

  /** Without what must not be used. */
  #checked(told: readonly Instance[]): Instance[] {
    const { registry, service, options, log } = this.#parts
    const faults: string[] = []
    const good = told.filter(instance => {
      const fault = instanceFault(instance, options.linkLocal)
      if (fault !== null) faults.push(`${String(instance.host).slice(0, 100)}:${instance.port} ${fault}`)
      return fault === null
    })
    const leftOut = faults.slice(0, NAMED).join('; ')
    if (leftOut !== '' && leftOut !== this.#leftOut) {
      log.warn('discovery told instances that cannot be used', { registry, service, count: faults.length, leftOut })
    }
    this.#leftOut = leftOut
    return good
  }

  async #failed(error: unknown): Promise<void> {
    const { registry, service, log } = this.#parts
    const message = (error instanceof Error ? error.message : String(error)).slice(0, 300)
    this.#failures++
    countPoll(registry, 'failed')
    if (this.failure === null) {
      log.warn('discovery fails; what is known of the service stays in use', { registry, service, error: message })
    }
    this.failure = message
    if (!this.known) await this.#recall()
  }

  /** A start without the registry: begin with what an earlier run knew. */
  async #recall(): Promise<void> {
    const { registry, service, state, log } = this.#parts
    if (state === null) return
    try {
      const instances = await state.read()
      if (instances === null || this.known) return
      this.known = true
      this.fromState = true
      this.#guard.take(this.#checked(instances), this.#pace.now())
      this.#publish(false)
      log.warn('discovery begins with what was known before the start', {
        registry,
        service,
        instances: instances.length,
      })
    } catch (error) {
      log.warn('the kept state of discovery cannot be used', {
        registry,
        service,
        file: state.path,
        error: text(error),
      })
    }
  }

  /** Tell of the instances if they changed. */
  #publish(keep = true): boolean {
    const next = this.#guard.instances.sort(byAddress)
    if (sameInstances(this.instances, next)) return false
    this.instances = next
    for (const listener of this.#listeners) listener(next)
    const { state, log } = this.#parts
    if (keep && state !== null) {
      state
        .write(next)
        .catch(error => log.warn('discovery cannot keep its state', { file: state.path, error: text(error) }))
    }
    return true
  }

  /** Look after held instances until there is none: one that nobody can connect to is gone, and so is one held long enough. */
  async #settle(): Promise<void> {
    if (this.#settling) return
    this.#settling = true
    const { signal } = this.#stop
    try {
      while (this.#guard.held.length > 0) {
        const rest = this.#guard.nextEnd - this.#pace.now()
        if (rest > 0) await this.#pace.sleep(Math.min(rest, PROBE_INTERVAL), signal)
        this.#guard.expire(this.#pace.now())
        const doubtful = this.#guard.doubtful.slice(0, MAX_PROBES)
        const reachable = await Promise.all(doubtful.map(instance => isReachable(instance, signal)))
        for (const [i, instance] of doubtful.entries()) if (!reachable[i]) this.#guard.confirmGone(instance)
        this.#publish()
      }
    } catch {
      // Closed.
    } finally {
      this.#settling = false
    }
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function byAddress(a: Instance, b: Instance): number {
  if (a.host !== b.host) return a.host < b.host ? -1 : 1
  return a.port - b.port
}

/** True for lists that mean the same, both in order. */
function sameInstances(a: readonly Instance[], b: readonly Instance[]): boolean {
  return a.length === b.length && a.every((one, i) => sameInstance(one, b[i]!))
}

function sameInstance(a: Instance, b: Instance): boolean {
  return (
    a.host === b.host &&
    a.port === b.port &&
    a.weight === b.weight &&
    sameMap(a.labels, b.labels) &&
    sameMap(a.ports ?? {}, b.ports ?? {})
  )
}

function sameMap(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every(key => a[key] === b[key])
}
