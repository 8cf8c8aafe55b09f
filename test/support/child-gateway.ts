// The sluice command as a process of its own: its printed lines, its log, its pages, signals and exit.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { replaceFile } from './replace-file.ts'
import { ROOT } from './root.ts'
import { eventually, within } from './within.ts'

/** The command's program as it ships: `npm test` builds it first. */
export const MAIN = join(ROOT, 'dist/src/main.js')
/** On a busy machine. */
const START_TIME = 30_000
/** Longer than the check of a file may take. */
const RELOAD_TIME = 150_000

/** How a process ended: one of both is null. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** One line of the log. */
export interface LogEntry {
  readonly msg: string
  readonly level: number
  readonly [field: string]: unknown
}

/** See the head of this file. */
export class SluiceProcess {
  readonly #child: ChildProcess
  /** Resolves when the process is gone and all that it wrote has been read. */
  readonly exited: Promise<Exit>
  ended: Exit | null = null
  out = ''
  err = ''

  /** Variables in `env` that are undefined are unset. Prefer `sluice` in tests: that ends it with the test. */
  constructor(args: readonly string[], env: Readonly<Record<string, string | undefined>> = {}, cwd = ROOT) {
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      // What runs the tests may have its own ideas of Node's options: the command gets none of them.
      env: { ...process.env, NODE_OPTIONS: '', TAP: undefined, SLUICE_CONFIG: undefined, ...env },
    })
    this.#child.stdout!.setEncoding('utf8').on('data', text => {
      this.out += text
    })
    this.#child.stderr!.setEncoding('utf8').on('data', text => {
      this.err += text
    })
    this.exited = new Promise(resolve => {
      this.#child.once('close', (code, signal) => {
        this.ended = { code, signal }
        resolve(this.ended)
      })
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Read no more of what it prints. */
  closeOutput(): void {
    this.#child.stdout!.destroy()
  }

  /** Wait until what it printed holds `text`; reject when it ends before that. */
  async printed(text: string | RegExp, ms = START_TIME): Promise<string> {
    const met = () => (typeof text === 'string' ? this.out.includes(text) : text.test(this.out))
    await eventually(
      () => met() || this.ended !== null,
      () => `nothing printed like ${text}: ${this.out}${this.err}`,
      ms,
    )
    if (!met()) throw new Error(`ended with ${JSON.stringify(this.ended)} before ${text}: ${this.out}${this.err}`)
    return this.out
  }

  /** How it ended, if it does within `ms`. */
  async exit(ms = 10_000): Promise<Exit> {
    return within(ms, this.exited, () => `the process does not end: ${this.out}${this.err.slice(-2000)}`)
  }

  /** The log so far; lines that are no JSON are left out. */
  get log(): LogEntry[] {
    return this.err.split('\n').flatMap(line => (line.startsWith('{') && line.endsWith('}') ? [JSON.parse(line)] : []))
  }

  /** Open descriptors. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  /** Resident memory in MiB. */
  get memory(): number {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))![1]) / 1024
  }
}

/** Run the command; killed when the test is over. */
export function sluice(
  t: Pick<Test, 'teardown'>,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
  cwd = ROOT,
): SluiceProcess {
  const process = new SluiceProcess(args, env, cwd)
  t.teardown(async () => {
    process.kill('SIGKILL')
    await process.exited
  })
  return process
}

/** A gateway that was started by the command and serves. */
export class ChildGateway {
  readonly process: SluiceProcess
  readonly file: string
  readonly port: number
  readonly adminPort: number

  constructor(process: SluiceProcess, file: string) {
    this.process = process
    this.file = file
    this.port = Number(/^listener .* on http:\/\/.*:(\d+) \(/m.exec(process.out)?.[1])
    this.adminPort = Number(/^admin on http:\/\/.*:(\d+)$/m.exec(process.out)?.[1] ?? 0)
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** An admin page and its status. */
  async page(path: string): Promise<{ status: number; body: unknown }> {
    const response = await fetch(`http://127.0.0.1:${this.adminPort}${path}`, { headers: { connection: 'close' } })
    return { status: response.status, body: await response.json() }
  }

  write(config: string): void {
    writeFileSync(this.file, config)
  }

  /** Write `config` and wait until the gateway has taken it (or refused it, where it is faulty). */
  async reload(config: string): Promise<ReloadState> {
    const before = (await this.lastReload())?.at
    replaceFile(this.file, config)
    let last = await this.lastReload()
    await eventually(
      async () => {
        last = await this.lastReload()
        return last !== null && last.at !== before
      },
      () => 'the file was not read again',
      RELOAD_TIME,
    )
    return last!
  }

  async lastReload(): Promise<ReloadState | null> {
    return ((await this.page('/readyz')).body as { lastReload: ReloadState | null }).lastReload
  }
}

/** What /readyz tells of the last reload. */
export interface ReloadState {
  readonly at: string
  readonly ok: boolean
  readonly faults: readonly string[]
}

/** `sluice start` on this configuration; ended when the test is over. The file lies in a folder of its own. */
export async function startChild(
  t: Pick<Test, 'teardown'>,
  config: string,
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<ChildGateway> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-child-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'gateway.yaml')
  writeFileSync(file, config)
  const process = sluice(t, ['start', '-c', file], env)
  await process.printed(/admin on .*\n|listener .*\n(?![\s\S]*admin: )/)
  if (!/^\s*admin: off/m.test(config)) await process.printed(/admin on .*\n/)
  return new ChildGateway(process, file)
}
