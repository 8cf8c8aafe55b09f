// What goes over from one snapshot to the next as the same object: upstreams and plugins whose options did not change.

import type { Registry } from '../discovery/discovery.ts'
import type { DiscoveryOptions } from '../discovery/options.ts'
import type { Slot } from '../exchange/slot.ts'
import type { PluginEvents } from '../metrics.ts'
import type { Plugin, PluginDefinition } from '../pipeline/plugin.ts'
import type { StoreOptions } from '../store/kinds.ts'
import type { CounterStore } from '../store/store.ts'
import type { UpstreamOptions } from '../upstream/options.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { isRecord } from '../value-at.ts'
import type { SharedState } from './shared-state.ts'

/** One plugin instance at its place: gateway-wide or on a route, the n-th of its name there. */
export interface PluginSite {
  readonly key: string
  /** Null for a gateway-wide plugin. */
  readonly route: string | null
  /** The options as they stood in the file. */
  readonly fingerprint: string
  readonly definition: PluginDefinition
  readonly plugin: Plugin
  readonly slot: Slot<unknown> | null
  readonly events: PluginEvents
  /** The stores that it asked for. */
  readonly stores: readonly CounterStore[]
  /** What it has in common with instances on other routes. */
  readonly shared: SharedState | null
}

/** A store and the options that it was made with. */
export interface StoreSite {
  readonly store: CounterStore
  /** Null for the one in memory. */
  readonly options: StoreOptions | null
}

/** A registry and the options that it was opened with. */
export interface RegistrySite {
  readonly registry: Registry
  readonly options: DiscoveryOptions
}

/** The identity of a place across reloads. */
export function siteKey(route: string | null, name: string, nth: number): string {
  return JSON.stringify([route, name, nth])
}

/** A text that two option trees share exactly when they mean the same: keys in order. */
export function fingerprint(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (!isRecord(inner)) return inner
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
  })
}

/**
 * True when the previous upstream can serve on: all but its endpoints is the same. Those are then set by
 * `Upstream.reconfigure` when the new snapshot goes live, never before: a faulty reload must change nothing.
 */
export function sameUpstream(previous: Upstream, options: UpstreamOptions): boolean {
  const { endpoints: _a, ...before } = previous.options
  const { endpoints: _b, ...after } = options
  return fingerprint(before) === fingerprint(after)
}
