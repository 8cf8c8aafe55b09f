// What one selection makes of a service: the endpoints that its upstreams use, guarded against what the registry loses.
import type { EndpointFacts } from '../http/address.ts'
import { Guard, type GuardOptions } from './guard.ts'
import { sameMap } from './same.ts'
import { type Candidate, type Chosen, select, toldOtherwise, type Wanted } from './select.ts'

/** See the head of this file. Fed by a poller; upstreams that want the same share one. */
export class View {
  readonly wanted: Wanted
  /** In the order of their addresses: the same list until it changes. */
  endpoints: readonly EndpointFacts[] = []
  /** Why nothing of what the registry tells is taken; null when something is, or nothing is told. */
  mismatch: string | null = null
  /** What of them the registry does not tell of any more. */
  readonly guard: Guard<Chosen>
  #chosen: readonly Chosen[] = []
  readonly #listeners = new Set<() => void>()

  constructor(wanted: Wanted, options: GuardOptions) {
    this.wanted = wanted
    this.guard = new Guard(options)
  }

  /** Be told of every change; returns what ends it. */
  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed)
    return () => void this.#listeners.delete(changed)
  }

  /** True when nobody listens. */
  get idle(): boolean {
    return this.#listeners.size === 0
  }

  /** A whole answer of the registry; `publish` makes it count. `now` by any one monotonic clock. */
  take(told: readonly Candidate[], now: number): void {
    const { chosen, mismatch } = select(told, this.wanted, this.#chosen)
    this.#chosen = chosen
    this.mismatch = mismatch
    this.guard.take(chosen, now, toldOtherwise(told, this.wanted))
  }

  /** Set `endpoints` and tell of them if they changed. True when they did. */
  publish(): boolean {
    const next = this.guard.believed
    if (sameEndpoints(this.endpoints, next)) return false
    this.endpoints = next
    for (const changed of this.#listeners) changed()
    return true
  }
}

function sameEndpoints(a: readonly EndpointFacts[], b: readonly EndpointFacts[]): boolean {
  return (
    a.length === b.length &&
    a.every(
      (one, i) => one.address === b[i]!.address && one.weight === b[i]!.weight && sameMap(one.labels, b[i]!.labels),
    )
  )
}
