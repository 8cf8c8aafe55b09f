// Starts the bench's upstream in a process of its own and asks it what it saw.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { UpstreamReply, UpstreamRequest } from './upstream.ts'

export class UpstreamProcess {
  readonly port: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
  }

  static async start(): Promise<UpstreamProcess> {
    // With this process's own options, so also with the loader that lets it run the sources.
    const child = fork(fileURLToPath(new URL('./upstream.ts', import.meta.url)))
    const [ready] = (await once(child, 'message')) as [{ port: number }]
    return new UpstreamProcess(child, ready.port)
  }

  async #ask(what: UpstreamRequest): Promise<UpstreamReply> {
    const reply = once(this.#child, 'message')
    this.#child.send(what)
    return (await reply)[0] as UpstreamReply
  }

  /** Requests seen since it started. */
  async requests(): Promise<number> {
    return ((await this.#ask('count')) as { requests: number }).requests
  }

  /** The head of the request seen last, for checking what a proxy added. */
  async lastHead(): Promise<string> {
    return ((await this.#ask('last-head')) as { head: string }).head
  }

  async stop(): Promise<void> {
    const gone = once(this.#child, 'exit')
    this.#child.disconnect()
    await gone
  }
}
