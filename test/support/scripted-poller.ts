// A poller over a registry that says what a test puts there, under a clock of its own.
import type { Test } from 'tap'
import { Poller, type PollerOptions } from '../../src/discovery/poller.ts'
import type { DiscoveryProvider, Found, Instance } from '../../src/discovery/provider.ts'
import type { Wanted } from '../../src/discovery/select.ts'
import type { StateFile } from '../../src/discovery/state.ts'
import type { View } from '../../src/discovery/view.ts'
import type { Log } from '../../src/log.ts'
import { FakePace } from './fake-pace.ts'

const OPTIONS: PollerOptions = {
  interval: 10_000,
  timeout: 5_000,
  onEmpty: 'keep',
  holdFor: 300_000,
  maxInstances: 100,
  linkLocal: false,
}

/** One that is known by its port. */
export function instance(port: number, more: Partial<Instance> = {}): Instance {
  return { host: '10.0.0.1', port, weight: 1, labels: {}, ...more }
}

/** Answers what the test puts there. */
export class Script implements DiscoveryProvider {
  answer: () => Promise<Found> = async () => ({ instances: [], cursor: null })
  readonly cursors: (string | null)[] = []
  readonly signals: AbortSignal[] = []

  poll(_service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    this.cursors.push(cursor)
    this.signals.push(signal)
    return this.answer()
  }

  tell(instances: readonly Instance[], cursor: string | null = null, ttl?: number): void {
    this.answer = async () => ({ instances, cursor, ...(ttl !== undefined && { ttl }) })
  }
}

/** What a test of a poller works with. */
export interface Bench {
  readonly script: Script
  readonly pace: FakePace
  readonly poller: Poller
  /** What the upstream gets. */
  readonly view: View
  readonly lines: string[]
}

/** Make a poller; it begins with `start`. */
export function bench(
  t: Test,
  options: Partial<PollerOptions> = {},
  state: StateFile | null = null,
  wanted: Wanted = { labels: {} },
  before: readonly Instance[] | null = null,
): Bench {
  const script = new Script()
  const pace = new FakePace()
  const lines: string[] = []
  const write =
    (level: string) =>
    (message: string, fields: object = {}) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`)
  const log: Log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
  const parts = { registry: 'r', service: 's', provider: script, options: { ...OPTIONS, ...options }, state, log, pace }
  const poller = new Poller({ ...parts, before })
  t.teardown(() => poller.close())
  const { view } = poller.subscribe(wanted, () => {})
  return { script, pace, poller, view, lines }
}

/** The ports that an upstream gets, in order. */
export const ports = (view: View) => view.endpoints.map(({ port }) => port)
