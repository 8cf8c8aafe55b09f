// Starts a redis-server for the bench: empty, nothing on disk, ended with it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../../test/support/free-port.ts'

export class RedisProcess {
  readonly port: number
  readonly #child: ChildProcess
  readonly #end = () => void this.#child.kill()

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
    process.once('exit', this.#end)
  }

  /** `folder` is where it may write. */
  static async start(folder: string): Promise<RedisProcess> {
    const port = await freePort()
    const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder]
    const child = spawn('redis-server', args, { stdio: 'ignore' })
    const failed = once(child, 'error').then(([error]) => {
      throw new Error(`redis-server cannot be started: ${(error as Error).message}`)
    })
    for (let tries = 0; tries < 200; tries++) {
      const socket = net.connect(port, '127.0.0.1')
      const open = once(socket, 'connect').then(
        () => true,
        () => false,
      )
      const up = await Promise.race([open, failed])
      socket.destroy()
      if (up) return new RedisProcess(child, port)
      await delay(50)
    }
    child.kill()
    throw new Error(`redis-server does not listen on port ${port}`)
  }

  async stop(): Promise<void> {
    process.removeListener('exit', this.#end)
    const gone = once(this.#child, 'exit')
    this.#child.kill()
    await gone
  }
}
