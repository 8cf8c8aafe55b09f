// What a rival is to the bench, and how its process is started, waited for and ended.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import os from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { Prepared } from '../load/scenario.ts'

/** How a rival is to be set up. */
export interface RivalOrder {
  /** Ports of the upstream on 127.0.0.1; all take part. */
  readonly upstreamPorts: readonly number[]
  /** Number of routes; 1 is a single catch-all, more are `routePrefix(i)/…`. */
  readonly routes: number
  /** Plugins for Sluice, a YAML list; null for none. */
  readonly plugins: string | null
  /** See Scenario. */
  readonly discovered: boolean
  /** See Prepared. */
  readonly haproxy: Prepared['haproxy'] | null
  /** Port of a Redis on 127.0.0.1 for the store `shared`; null for none. */
  readonly redisPort: number | null
  /** An empty folder for its configuration; removed by the bench. */
  readonly folder: string
}

export interface RunningRival {
  /** Root of the process tree whose CPU and memory are counted. */
  readonly pid: number
  readonly port: number
  /** Host whose requests it only forwards, where it does more for others: the difference is what that costs. */
  readonly bareHost?: string
  stop(): Promise<void>
}

export interface Rival {
  readonly name: string
  /** Version for the result page; null where it is not installed, and then it is left out with a word. */
  version(): string | null
  /** Why it cannot take part with so many routes, or null. */
  cannot?(routes: number): string | null
  start(order: RivalOrder): Promise<RunningRival>
}

/** First line of what a command prints, or null where there is no such command. */
export function versionLine(command: string, args: readonly string[]): string | null {
  try {
    const text = execFileSync('sh', ['-c', '"$0" "$@" 2>&1', command, ...args], { encoding: 'utf8' })
    return text.trim().split('\n')[0] ?? null
  } catch {
    return null
  }
}

/** The core that all rivals are held to, or null for any. */
let core: string | null = null

/**
 * Gives the last core to the rivals alone and the others to this process and its children (driver, upstream), with taskset.
 * Must come before any of them starts.
 */
export function pin(): void {
  const last = os.availableParallelism() - 1
  if (last < 1) throw new Error('--pin needs two cores')
  const others = last === 1 ? '0' : `0-${last - 1}`
  execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', others, String(process.pid)], { stdio: 'ignore' })
  core = String(last)
}

/** Those that run, so that none outlives a bench that is interrupted. */
const alive = new Set<ChildProcess>()
process.on('exit', () => {
  // Not SIGKILL: nginx's master would leave its worker behind.
  for (const child of alive) child.kill('SIGTERM')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

/** Starts a command; what it prints to standard error comes with the Error when it fails to start. */
export class RivalProcess {
  readonly child: ChildProcess
  #printed = ''

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    const [file, argv] = core === null ? [command, args] : ['taskset', ['--cpu-list', core, command, ...args]]
    this.child = spawn(file, argv, { stdio: ['ignore', 'pipe', 'pipe'], env })
    alive.add(this.child)
    this.child.once('exit', () => alive.delete(this.child))
    this.child.stdout!.on('data', (d: Buffer) => this.#keep(d))
    this.child.stderr!.on('data', (d: Buffer) => this.#keep(d))
  }

  #keep(data: Buffer): void {
    // Enough for a start line or a fault; a proxy that logs each request must not grow us.
    if (this.#printed.length < 100_000) this.#printed += data.toString('latin1')
  }

  /** Resolves with what `pattern` captured first in what it prints. */
  async printed(pattern: RegExp): Promise<string> {
    for (let tries = 0; tries < 1200; tries++) {
      const match = pattern.exec(this.#printed)
      if (match !== null) return match[1]!
      this.#mustLive()
      await delay(50)
    }
    throw new Error(`nothing like ${pattern} printed within a minute:\n${this.#printed}`)
  }

  /** Resolves once `port` accepts. */
  async accepts(port: number): Promise<void> {
    for (let tries = 0; tries < 1200; tries++) {
      this.#mustLive()
      const socket = net.connect(port, '127.0.0.1')
      const open = await new Promise<boolean>(resolve => {
        socket.once('connect', () => resolve(true))
        socket.once('error', () => resolve(false))
      })
      socket.destroy()
      if (open) return
      await delay(50)
    }
    throw new Error(`port ${port} did not open within a minute:\n${this.#printed}`)
  }

  #mustLive(): void {
    if (this.child.exitCode !== null || this.child.signalCode !== null) {
      throw new Error(`${this.child.spawnfile} ended at start:\n${this.#printed}`)
    }
  }

  running(port: number): RunningRival {
    return {
      pid: this.child.pid!,
      port,
      stop: async () => {
        if (this.child.exitCode !== null || this.child.signalCode !== null) return
        const gone = once(this.child, 'exit')
        this.child.kill('SIGTERM')
        const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000)
        await gone
        clearTimeout(timer)
      },
    }
  }
}

/** A Node that runs a program as its users do, whatever this one was started with. */
export function nodeProcess(args: readonly string[]): RivalProcess {
  return new RivalProcess(process.execPath, args, { ...process.env, NODE_OPTIONS: '', NODE_ENV: 'production' })
}
