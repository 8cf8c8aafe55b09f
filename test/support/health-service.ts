// A service that can be told to be ill: its answers and its health page each have a status that a test sets.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** See the head of this file. Closed when the test is over. */
export class HealthService {
  /** Status of its answers, and of its page /healthz; 0 answers nothing. */
  status = 200
  healthz = 200
  /** Requests that it was asked, and looks at its health page. */
  requests = 0
  probes = 0
  readonly #server: Server
  port = 0

  constructor() {
    this.#server = createServer((request, response) => {
      const probe = request.url === '/healthz'
      if (probe) this.probes++
      else this.requests++
      const status = probe ? this.healthz : this.status
      if (status !== 0) response.writeHead(status, { 'content-type': 'text/plain' }).end(String(this.port))
    })
    // A stalled answer would hold the test for this long.
    this.#server.on('connection', socket => socket.unref())
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** From now on its health page answers with this status; 0 for not at all. */
  fallIll(status: number): void {
    this.healthz = status
  }

  /** Listen at its port; a new one the first time. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.port, '127.0.0.1', () => {
        this.port = (this.#server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  /** Close the port and all connections. */
  close(): Promise<void> {
    return new Promise(resolve => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  static async start(t: Test): Promise<HealthService> {
    const service = new HealthService()
    await service.listen()
    t.teardown(() => service.close())
    return service
  }
}
