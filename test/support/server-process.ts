// A real server that a test starts, stops, freezes and kills by its process; gone when the test is over, however it ends.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freeze } from './freeze.ts'
import { eventually } from './within.ts'

/** A folder of its own, removed when the test is over. */
export function temporaryFolder(t: Pick<Test, 'teardown'>, name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `sluice-${name}-`))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

// Node 24 was seen to spin for ever in its own cleanup after such tests, when all was over and nothing was left to do: they
// end by `exit`, as the command does, and not by running out of work.
process.on('beforeExit', () => process.exit())

/** Children that run. A test file that is ended for its time runs no teardown, but it exits. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** See the head of this file. */
export class ServerProcess {
  readonly #command: string
  readonly #args: readonly string[]
  readonly #answers: () => Promise<boolean>
  readonly #env: NodeJS.ProcessEnv
  #child: ChildProcess | null = null
  #said = ''
  /** Told of what the server writes to its output and its errors. */
  onOutput: (text: string) => void = () => {}

  /** `answers` tells whether the server is up; when it rejects, it is not. */
  constructor(
    t: Pick<Test, 'teardown'>,
    command: string,
    args: readonly string[],
    answers: () => Promise<boolean>,
    env: NodeJS.ProcessEnv = {},
  ) {
    this.#command = command
    this.#args = args
    this.#answers = answers
    this.#env = { ...process.env, ...env }
    t.teardown(() => this.kill())
  }

  get running(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    const child = spawn(this.#command, this.#args, { stdio: ['ignore', 'pipe', 'pipe'], env: this.#env })
    this.#child = child
    running.add(child)
    child.once('exit', () => running.delete(child))
    this.#said = ''
    for (const stream of [child.stdout, child.stderr]) {
      // Read to the end, or a talkative server would wait for a reader.
      stream.on('data', data => {
        this.#said = (this.#said + data).slice(-2000)
        this.onOutput(String(data))
      })
    }
    let failure: Error | null = null
    child.on('error', error => {
      failure = error
    })
    let up = false
    await eventually(
      async () => {
        up = await this.#answers().catch(() => false)
        return up || failure !== null || !this.running
      },
      () => `${this.#command} does not answer: ${this.#said}`,
      30_000,
    )
    if (!up) throw failure ?? new Error(`${this.#command} ended with ${child.exitCode}: ${this.#said}`)
  }

  /** Let it stand still; resolves when it does. */
  async freeze(): Promise<void> {
    if (this.running) await freeze(this.#child!)
  }

  /** Let it go on. */
  thaw(): void {
    if (this.running) this.#child!.kill('SIGCONT')
  }

  /** Resolves when it is gone, frozen or not. */
  async kill(): Promise<void> {
    if (!this.running) return
    const gone = once(this.#child!, 'exit')
    this.#child!.kill('SIGKILL')
    await gone
  }
}
