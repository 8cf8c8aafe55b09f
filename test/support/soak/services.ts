// The upstream processes of the soak: started on a port, killed without warning, and started again on the same one.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ROOT } from '../root.ts'

const PROGRAM = join(ROOT, 'test/support/soak/upstream.mjs')

/** See the head of this file. */
export class Service {
  port = 0
  kills = 0
  #child: ChildProcess | null = null

  async start(): Promise<void> {
    const child = spawn(process.execPath, [PROGRAM, String(this.port)], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child = child
    child.stdin!.on('error', () => {})
    const [line] = (await Promise.race([once(child.stdout!, 'data'), once(child, 'exit')])) as [unknown]
    if (!Buffer.isBuffer(line)) throw new Error('an upstream process did not start')
    this.port = Number(line.toString())
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    this.kills++
  }
}
