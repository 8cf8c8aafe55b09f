// A gateway in this process, and the check that it leaves nothing behind.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import bundled from '../../plugins/bundled.ts'
import { wheel } from '../../src/clock.ts'
import { Gateway } from '../../src/gateway.ts'
import type { Log } from '../../src/log.ts'
import type { PluginDefinition } from '../../src/pipeline/plugin.ts'
import type { Snapshot } from '../../src/snapshot/snapshot.ts'
import type { Endpoint } from '../../src/upstream/endpoint.ts'
import type { Upstream } from '../../src/upstream/upstream.ts'
import { RawClient } from './raw-client.ts'
import { eventually } from './within.ts'

/** One line of the log. */
export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: Record<string, unknown>
}

/** What a test may ask for beside the configuration. */
export interface GatewayTestOptions {
  /** Plugins beside the bundled ones. */
  readonly plugins?: readonly PluginDefinition[]
  readonly env?: Readonly<Record<string, string>>
}

let running = 0

/** A running gateway. Stopped when the test is over, which fails where something is left. */
export class TestGateway {
  readonly gateway: Gateway
  readonly #t: Test
  readonly log: LogLine[]
  readonly folder: string
  #closing: Promise<void> | null = null

  constructor(t: Test, gateway: Gateway, log: LogLine[], folder: string) {
    this.#t = t
    this.gateway = gateway
    this.log = log
    this.folder = folder
  }

  get port(): number {
    return this.gateway.listeners[0]!.port
  }

  get snapshot(): Snapshot {
    return this.gateway.snapshot
  }

  upstream(name = 'up'): Upstream {
    return this.snapshot.upstreams.get(name)!
  }

  endpoint(name = 'up', index = 0): Endpoint {
    return this.upstream(name).endpoints[index]!
  }

  /** A raw connection to the first listener. */
  connect(): Promise<RawClient> {
    return RawClient.connect(this.#t, this.port)
  }

  /** All endpoints of all upstreams. */
  #endpoints(): Endpoint[] {
    return [...this.snapshot.upstreams.values()].flatMap(upstream => [...upstream.endpoints])
  }

  /** Everything that counts what is under way. */
  gauges(): Record<string, number> {
    const found: Record<string, number> = { exchanges: this.snapshot.inFlight }
    for (const endpoint of this.#endpoints()) {
      found[`inFlight ${endpoint.address}`] = endpoint.inFlight
      found[`waiting ${endpoint.address}`] = endpoint.pool.waiting
      // Every connection that is open and not idle carries something.
      found[`busy ${endpoint.address}`] = endpoint.pool.open - endpoint.pool.idle
    }
    return found
  }

  /** Wait until nothing is under way any more. */
  quiet(ms = 10_000): Promise<void> {
    return eventually(
      () => Object.values(this.gauges()).every(value => value === 0),
      () => `gauges are not at zero: ${JSON.stringify(this.gauges())}`,
      ms,
    )
  }

  /** Stop; reject where a gauge, connection or timer is left. Further calls give the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const endpoints = this.#endpoints()
    const listeners = this.gateway.listeners
    try {
      await this.quiet()
      await this.gateway.stop()
      await eventually(
        () => listeners.every(listener => listener.connections === 0),
        () => `client connections are left: ${listeners.map(listener => listener.connections)}`,
      )
      await eventually(
        () => endpoints.every(endpoint => endpoint.pool.open === 0),
        () => `upstream connections are left: ${endpoints.map(endpoint => endpoint.pool.open)}`,
      )
      running--
      if (running === 0) {
        await eventually(
          () => wheel.size === 0,
          () => `${wheel.size} timers are left`,
        )
      }
    } finally {
      this.gateway.destroy()
      rmSync(this.folder, { recursive: true, force: true })
    }
  }
}

/** The parts of a configuration that tests leave to this. */
export interface GatewayConfig {
  listener?: Record<string, unknown>
  /** Options of the upstream `up`, endpoints included. */
  up?: Record<string, unknown>
  upstreams?: Record<string, unknown>
  /** Options of the one route, when `routes` is not given. */
  route?: Record<string, unknown>
  routes?: unknown[]
  [more: string]: unknown
}

/** Write out a configuration: one listener, admin off, and one route for all to the upstream `up`, unless told otherwise. */
export function configText(config: GatewayConfig): string {
  const { listener, up, upstreams, route, routes, ...more } = config
  return stringify({
    listeners: [{ name: 'web', port: 0, ...listener }],
    admin: 'off',
    shutdown: { grace: '2s' },
    upstreams: { ...(up === undefined ? {} : { up }), ...upstreams },
    routes: routes ?? [{ name: 'all', match: { path: '/*' }, upstream: 'up', ...route }],
    ...more,
  })
}

/** Start a gateway in this process on a free port. */
export async function startGateway(
  t: Test,
  config: GatewayConfig | string,
  options: GatewayTestOptions = {},
): Promise<TestGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-test-'))
  const file = join(folder, 'gateway.yaml')
  writeFileSync(file, typeof config === 'string' ? config : configText(config))
  const lines: LogLine[] = []
  const gateway = new Gateway({
    file,
    bundled: new URL('../../plugins/bundled.ts', import.meta.url).href,
    plugins: [...bundled, ...(options.plugins ?? [])],
    env: options.env ?? {},
    log: capturingLog(lines),
    watch: false,
  })
  await gateway.start()
  running++
  const started = new TestGateway(t, gateway, lines, folder)
  t.teardown(() => started.close())
  return started
}

function capturingLog(lines: LogLine[]): Log {
  const at = (level: string) => (message: string, fields?: Record<string, unknown>) => {
    lines.push({ level, message, fields: fields ?? {} })
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
