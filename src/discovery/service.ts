// What is known of one service, what each upstream gets of it, and whether what the registry lost is really gone.
import { setMaxListeners } from 'node:events'
import type { Log } from '../log.ts'
import type { GuardOptions } from './guard.ts'
import type { Pace } from './pace.ts'
import { isReachable } from './probe.ts'
import { sameInstance } from './same.ts'
import type { Candidate, Chosen, Wanted } from './select.ts'
import { lookupAllowed } from './target.ts'
import { View } from './view.ts'

/** Between two looks at what the registry lost, in milliseconds. */
const PROBE_INTERVAL = 1_000
/** Looked at at a time. */
const MAX_PROBES = 256

/** What a service is kept with. */
export interface ServiceParts {
  readonly registry: string
  readonly service: string
  readonly options: GuardOptions & { readonly linkLocal: boolean }
  readonly log: Log
  readonly pace: Pace
  /** Aborted when nobody needs it any more. */
  readonly signal: AbortSignal
  /** Called when what is in use changed though nothing new was told. */
  readonly changed: () => void
}

/** What an upstream has of a service, until it calls `end`. */
export interface Subscription {
  readonly view: View
  end(): void
}

/** See the head of this file. Fed by a poller. */
export class Service {
  /** True once anything was told. */
  known = false
  /** What was told last and may be used, in the order of addresses: the same list until it changes. */
  told: readonly Candidate[] = []
  readonly #parts: ServiceParts
  /** By what they want. */
  readonly #views = new Map<string, View>()
  /** Something is held, and that was told. */
  #holding = false
  /** What was told last was nothing. */
  #none = false
  #settling = false

  constructor(parts: ServiceParts) {
    this.#parts = parts
    // Each probe listens to it, and Node would warn of a leak from the eleventh on.
    setMaxListeners(MAX_PROBES * 2, parts.signal)
  }

  /** What is in use, by any upstream, that the registry does not tell of. */
  get held(): readonly Candidate[] {
    return [...new Set(this.#distinct(view => view.guard.held).map(({ candidate }) => candidate))]
  }

  get #holds(): boolean {
    for (const { guard } of this.#views.values()) if (guard.holds) return true
    return false
  }

  /** What is told and what is held. */
  get inUse(): readonly Candidate[] {
    return [...this.told, ...this.held]
  }

  /** True when nobody listens. */
  get idle(): boolean {
    return this.#views.size === 0
  }

  /** The endpoints that `wanted` picks, from now on; `changed` is called whenever they change. */
  subscribe(wanted: Wanted, changed: () => void): Subscription {
    const key = JSON.stringify([wanted.labels, wanted.port])
    const view = this.#views.get(key) ?? this.#open(wanted)
    this.#views.set(key, view)
    const unsubscribe = view.subscribe(changed)
    const end = () => {
      unsubscribe()
      if (view.idle && this.#views.get(key) === view) this.#views.delete(key)
    }
    return { view, end }
  }

  #open(wanted: Wanted): View {
    const view = new View(wanted, this.#parts.options)
    if (!this.known) return view
    // What others hold on to is held here too.
    view.take(this.inUse, this.#parts.pace.now())
    this.#take(view)
    view.publish()
    return view
  }

  /** Take over a whole answer, in the order of addresses, and tell the upstreams. True when it is another than the last. */
  take(told: readonly Candidate[]): boolean {
    this.known = true
    this.#tellOfNone(told.length === 0)
    if (sameInstances(this.told, told)) return false
    this.told = told
    for (const view of this.#views.values()) this.#take(view)
    this.#publish()
    const holding = this.#holds
    if (holding && !this.#holding) {
      const { registry, service, log } = this.#parts
      const lost = this.held.length
      log.warn('the registry lost most instances at once; they are used on', { registry, service, lost })
    }
    this.#holding = holding
    if (holding) void this.#settle()
    return true
  }

  /** From the first answer on: most often the name of the service, or where the registry keeps it, is misspelt. */
  #tellOfNone(none: boolean): void {
    if (none === this.#none) return
    this.#none = none
    const { registry, service, log } = this.#parts
    if (none) log.warn('the registry tells of no usable instance of a service', { registry, service })
    else log.info('the registry tells of instances of a service now', { registry, service })
  }

  #take(view: View): void {
    const { registry, service, log, pace } = this.#parts
    const before = view.mismatch
    view.take(this.told, pace.now())
    const { mismatch } = view
    if (mismatch !== null && before === null)
      log.warn('an upstream takes nothing of what the registry tells', { registry, service, why: mismatch })
    else if (mismatch === null && before !== null)
      log.info('an upstream takes something again of what the registry tells', { registry, service })
  }

  /** Tell the upstreams whose endpoints changed. True when any did. */
  #publish(): boolean {
    let changed = false
    for (const view of this.#views.values()) changed = view.publish() || changed
    return changed
  }

  /** Look after what is held until there is nothing: where nobody can be connected to it is gone, and so it is after its time. */
  async #settle(): Promise<void> {
    if (this.#settling) return
    this.#settling = true
    const { pace, signal, changed } = this.#parts
    try {
      while (this.#holds) {
        const ends = Array.from(this.#views.values(), view => view.guard.nextEnd)
        const rest = Math.min(...ends) - pace.now()
        if (rest > 0) await pace.sleep(Math.min(rest, PROBE_INTERVAL), signal)
        for (const view of this.#views.values()) view.guard.expire(pace.now())
        for (const address of await this.#unreachable(this.#distinct(view => view.guard.doubtful)))
          for (const view of this.#views.values()) view.guard.confirmGone(address)
        if (this.#publish()) changed()
      }
    } catch {
      // Closed.
    } finally {
      this.#settling = false
      this.#holding = false
    }
  }

  /** The addresses where nobody can be connected to. Rejects when closed: connections that are given up say nothing. */
  async #unreachable(list: readonly Chosen[]): Promise<string[]> {
    const { signal, options } = this.#parts
    const lookup = lookupAllowed(options.linkLocal)
    const found: string[] = []
    for (let at = 0; at < list.length; at += MAX_PROBES) {
      const some = list.slice(at, at + MAX_PROBES)
      const reachable = await Promise.all(some.map(one => isReachable(one, lookup, signal)))
      signal.throwIfAborted()
      for (const [i, { address }] of some.entries()) if (!reachable[i]) found.push(address)
    }
    return found
  }

  /** Of all views, each address once. */
  #distinct(of: (view: View) => readonly Chosen[]): Chosen[] {
    const found = new Map<string, Chosen>()
    for (const view of this.#views.values()) for (const one of of(view)) found.set(one.address, one)
    return [...found.values()]
  }
}

/** True for lists that mean the same, both in order. */
function sameInstances(a: readonly Candidate[], b: readonly Candidate[]): boolean {
  if (a === b) return true
  return a.length === b.length && a.every(({ instance }, i) => sameInstance(instance, b[i]!.instance))
}
