// A gateway in a process of its own that forwards every host and path to one port, for those who play foreign suites against it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../test/support/free-port.ts'

/** The built command. */
export const MAIN = fileURLToPath(new URL('../dist/src/main.js', import.meta.url))

/** A gateway that forwards every host and path to one port. */
export class ForwardGateway {
  readonly #child: ChildProcess
  readonly port: number
  readonly upstreamPort: number

  private constructor(child: ChildProcess, port: number, upstreamPort: number) {
    this.#child = child
    this.port = port
    this.upstreamPort = upstreamPort
  }

  static async start(folder: string, name: string, engine: string): Promise<ForwardGateway> {
    const upstreamPort = await freePort()
    const file = path.join(folder, `${name}.yaml`)
    fs.writeFileSync(
      file,
      `listeners:
  - { name: web, host: 127.0.0.1, port: 0, engine: ${engine} }
admin: off
upstreams:
  runner: { endpoints: ["127.0.0.1:${upstreamPort}"] }
routes:
  - { name: all, match: { path: /* }, upstream: runner }
`,
    )
    const child = spawn(process.execPath, [MAIN, 'start', '-c', file], { stdio: ['ignore', 'pipe', 'pipe'] })
    let printed = ''
    const port = await new Promise<number>((resolve, reject) => {
      const keep = (data: Buffer) => {
        // Read on after the start, or the pipe fills; keep only the start.
        if (printed.length > 100_000) return
        printed += data
        const match = /127\.0\.0\.1:(\d+)/.exec(printed)
        if (match !== null) resolve(Number(match[1]))
      }
      child.stdout.on('data', keep)
      child.stderr.on('data', keep)
      child.once('exit', code => reject(new Error(`the gateway ended at start with ${code}:\n${printed}`)))
    })
    return new ForwardGateway(child, port, upstreamPort)
  }

  /** Whether it was still running and then ended by itself when told to. */
  async stop(): Promise<boolean> {
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null) return false
    const gone = once(this.#child, 'exit') as Promise<[number | null]>
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 40_000)
    const [code] = await gone
    clearTimeout(timer)
    return code === 0
  }
}
