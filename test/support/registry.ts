// What every registry is for a test, whatever its kind: it knows services, it fails in several ways, and it counts.
import type { Test } from 'tap'
import type { Instance } from '../../src/discovery/provider.ts'

/** How a registry fails; where one makes no sense for a kind, it fails in the way that comes nearest. */
export type RegistryFault = 'status-500' | 'html' | 'half-json' | 'huge' | 'stall' | 'reset'

/** An instance as a test registers it. */
export type Registered = Pick<Instance, 'host' | 'port'> & Partial<Pick<Instance, 'weight' | 'labels'>>

/** A running registry. Ended when the test is over. */
export interface Registry {
  readonly kind: string
  /** The provider's own options, `kind` not among them. */
  readonly options: Readonly<Record<string, unknown>>
  /** Have these instances of a service and no others. Works while it fails too; then it is told once it answers again. */
  set(service: string, instances: readonly Registered[]): Promise<void>
  /** Fail from now on; null answers again. */
  fail(how: RegistryFault | null): Promise<void>
  /** Times that it was asked for a service; NaN where nobody can count. */
  readonly polls: number
  /** End it as if it were killed. */
  stop(): Promise<void>
}

/** Start one, empty; of each kind there is one such function. */
export type StartRegistry = (t: Pick<Test, 'teardown'>) => Promise<Registry>
