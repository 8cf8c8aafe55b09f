// What a plugin is: the phases it may take part in, and the definition that a catalog holds.
import type { z } from 'zod'
import type { GatewayError } from '../errors.ts'
import { AttributeError } from '../exchange/attribute.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Slot } from '../exchange/slot.ts'
import type { Reply } from '../http/head.ts'
import type { CounterStore } from '../store/store.ts'

/**
 * One plugin at one place of the configuration, made by its definition's `create`. All phases are optional and an
 * absent one costs nothing. A phase that throws or rejects ends that one exchange with 500 SLUICE_PLUGIN_FAILED, or with
 * a cut where the answer's head is sent already.
 */
export interface Plugin {
  /** The request's head is read, nothing was sent. A Reply answers here. In the order written; may be a promise. */
  onRequest?(x: Exchange): Reply | void | Promise<Reply | void>
  /**
   * An endpoint was picked: once per try, synchronous. A Reply answers instead of trying. After `x.routeTo` the phase
   * runs anew for an endpoint of that upstream; after PASS_OVER for another endpoint of this one. So it may run more
   * than once before a try, and the last run counts.
   */
  onAttempt?(x: Exchange): Reply | PassOver | void
  /** That try ended: null when an answer's head came (see `x.response`), else what went wrong. */
  onOutcome?(x: Exchange, error: GatewayError | null): void
  /** The answer's head is known and not yet sent (`x.response`). Backwards; for gateway-made answers too. */
  onResponse?(x: Exchange): void | Promise<void>
  /** A piece of the request's body, borrowed for the call. A returned array goes on instead (with `rewrites`). */
  onRequestChunk?(x: Exchange, chunk: Uint8Array, last: boolean): Uint8Array | void
  /** A piece of the answer's body, borrowed for the call. A returned array goes on instead (with `rewrites`). */
  onResponseChunk?(x: Exchange, chunk: Uint8Array, last: boolean): Uint8Array | void
  /** True when the chunk phases change bytes: the body's length is then told by its end alone. */
  readonly rewrites?: boolean
  /**
   * True when `onRequest` answers every CORS preflight (`preflightMethod` tells one). A route with such a plugin (without
   * `when`) also gets the preflights for the requests that it takes, whatever its `match.methods` say of OPTIONS.
   */
  readonly preflight?: boolean
  /**
   * True when `onRequest` asks for credentials. A preflight never has any (Fetch 3.2.2), so this plugin takes no part in
   * one that a plugin behind it will answer. All else keeps the order written.
   */
  readonly authenticates?: boolean
  /** The exchange is over: always, once, last. Must not throw. */
  onFinish?(x: Exchange, error: GatewayError | null): void
  /**
   * Asked at a reload that leaves the options as they are: false has the instance made anew, because a file that it read
   * says something else now. Must not throw. A user's plugin is made anew at every reload.
   */
  current?(): boolean
  /** The instance is no longer part of any configuration. */
  close?(): void
  /**
   * Facts for the admin pages, such as a breaker's state: `{ upstreams: { NAME: {…} }, routes: { NAME: {…} } }`, either
   * or none. They stand under `state` of that upstream or route. JSON values, no secrets. Instances that have something
   * in common (`PluginContext.shared`) tell the same, and one of them is asked.
   */
  inspect?(): unknown
}

/** The phases by name. */
export const PHASES: readonly string[] = [
  'onRequest',
  'onAttempt',
  'onOutcome',
  'onResponse',
  'onRequestChunk',
  'onResponseChunk',
  'onFinish',
] satisfies (keyof Plugin)[]

/** The type of PASS_OVER. */
export type PassOver = typeof PASS_OVER

/**
 * What `onAttempt` returns to have another endpoint picked. When each was passed over, the phase runs once more with
 * `x.exhausted` set: then answer, change the upstream or let it go ahead; PASS_OVER then means 503 SLUICE_NO_ENDPOINT.
 */
export const PASS_OVER: unique symbol = Symbol('pass over')

/** A faulty option found while creating (not by the schema): becomes a fault with its line. */
export class PluginOptionsError extends Error {
  /** Path inside the plugin's options. */
  readonly path: readonly (string | number)[]

  constructor(message: string, path: readonly (string | number)[] = []) {
    super(message)
    this.name = 'PluginOptionsError'
    this.path = path
  }
}

/** Run what compiles an attribute out of the option at `path`: its AttributeError becomes a PluginOptionsError there. */
export function checkAttribute(path: readonly (string | number)[], compile: () => unknown): void {
  try {
    compile()
  } catch (error) {
    throw error instanceof AttributeError ? new PluginOptionsError(error.message, path) : error
  }
}

/** What a definition may know when it checks options. */
export interface PluginSurroundings {
  /** Names of the upstreams that the configuration has. */
  readonly upstreams: ReadonlySet<string>
  /** Names of the stores that counters may live in: those of the configuration, and `memory`. */
  readonly stores: ReadonlySet<string>
  /** Folder of the YAML file: relative paths in options start here. */
  readonly baseDir: string
  /**
   * Run a part of the check on its own: what it throws is told beside what the other parts throw, so that one run names
   * all faults. Without parts the first that is thrown is the only one.
   */
  part(check: () => void): void
}

/** What a plugin may know of its place when it is created. */
export interface PluginContext {
  /** The route it stands on; null for a gateway-wide plugin. */
  readonly route: string | null
  /** The place's identity: the same over reloads, and on every gateway with this configuration. */
  readonly site: string
  /** Folder of the YAML file: relative paths in options start here. */
  readonly baseDir: string
  /** Names of the upstreams that the configuration has. */
  readonly upstreams: ReadonlySet<string>
  /** This instance's state on an exchange. Call at most once, in `create`. */
  slot<T>(): Slot<T>
  /** A store of counters: `memory`, or one under `stores`. Throws PluginOptionsError for another name. Ask in `create`. */
  store(name: string): CounterStore
  /**
   * Something that instances have in common, made by the first that asks. On routes all that ask with an equal `of` (plain
   * data, such as the options) get the same; the gateway-wide list, and a second instance on one route, have theirs apart. It
   * stays over reloads and is closed after the last instance that has it; gateways never share. At most once, in `create`.
   */
  shared<T extends Closable>(of: unknown, make: (context: SharedContext) => T): T
  /** A counter of the plugin's own in /metrics: `sluice_plugin_events_total{plugin, route, event}`. Ask in `create`. */
  counter(event: string): () => void
  /** Log a line under the plugin's name. Never pass secrets or tokens. */
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, fields?: Record<string, unknown>): void
}

/** What instances may have in common. */
export interface Closable {
  /** No instance has it any more. */
  close(): void
}

/** What a plugin's shared part may know: as in PluginContext, but of no route. */
export type SharedContext = Pick<PluginContext, 'counter' | 'log'>

/** A kind of plugin: its name in the YAML, the schema of its options, and how an instance is made. */
export interface PluginDefinition<S extends z.ZodType = z.ZodType> {
  readonly name: string
  /** One sentence for the docs and the JSON Schema. */
  readonly description: string
  /** Options as zod schema: JSON Schema, type and docs in one. A bare name in the YAML is `{}`. */
  readonly options: S
  /**
   * True: what instances leave in heads can go out. They write by the methods of Exchange, which check what they are given,
   * or what they have checked themselves; where all plugins of a route do, nobody looks at the heads again. It counts for
   * bundled plugins alone: what those of users leave is always looked at.
   */
  readonly vouches?: boolean
  /** Check what a schema cannot, without side effects; throw PluginOptionsError. Called by `sluice check` too. */
  check?(options: z.output<S>, context: PluginSurroundings): void
  /** Make an instance, at once. Options have passed the schema and `check`. May throw PluginOptionsError. */
  create(options: z.output<S>, context: PluginContext): Plugin
}

/** Declare a plugin; gives `create` the type of its options. */
export function definePlugin<S extends z.ZodType>(definition: PluginDefinition<S>): PluginDefinition<S> {
  return definition
}
