// A server of key sets over real HTTP that rotates, fails, stalls, drips and lies, as a test tells it.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { eventually } from './within.ts'

/** Answers one request, well or badly. */
export type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** See the head of this file. Closed when the test is over. */
export class JwksServer {
  readonly #server: Server
  /** Requests that came, by their URLs. */
  readonly requests: string[] = []
  answer: Answer = response => response.writeHead(503).end()

  private constructor() {
    this.#server = createServer((request, response) => {
      this.requests.push(request.url!)
      this.answer(response, request)
    })
  }

  /** Serves these public keys from now on. */
  static async start(t: Test, keys: readonly object[] | null = null): Promise<JwksServer> {
    const served = new JwksServer()
    if (keys !== null) served.serve(keys)
    await new Promise<void>(resolve => served.#server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => served.stop())
    return served
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/jwks.json`
  }

  /** Answer with these keys, and with these headers. */
  serve(keys: readonly object[], headers: Record<string, string> = {}): void {
    this.reply(200, JSON.stringify({ keys }), { 'content-type': 'application/json', ...headers })
  }

  reply(status: number, body: string | Buffer, headers: Record<string, string> = {}): void {
    this.answer = response => response.writeHead(status, headers).end(body)
  }

  /** Wait for the n-th request since the start, counted from 1. */
  asked(count: number): Promise<void> {
    return eventually(
      () => this.requests.length >= count,
      () => `${this.requests.length} requests came instead of ${count}`,
    )
  }

  /** No connection any more, neither old nor new. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise(resolve => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }
}
