// Continuous load: clients that ask one request after the other over keep-alive connections, and count every way to fail.
import { Agent, request } from 'node:http'
import { pause } from './within.ts'

/** What one answer was. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** See the head of this file. Runs from its making until `stop`. */
export class HttpLoad {
  readonly #agent: Agent
  readonly #port: number
  readonly #paths: (n: number) => string
  readonly #judge: (answer: Answer) => string | null
  readonly #clients: Promise<void>[]
  readonly #pace: number
  #running = true
  requests = 0
  /** Longest that one answer took, in milliseconds. */
  slowest = 0
  /** What went wrong, in order. */
  readonly failures: string[] = []
  /** Connections opened: the clients' number when none was closed. */
  connections = 0

  /** `judge` says what is wrong with an answer, or null. `pace` is how long a client rests after each, in milliseconds. */
  constructor(
    port: number,
    clients: number,
    paths: (n: number) => string = () => '/',
    judge: (answer: Answer) => string | null = answer => (answer.status === 200 ? null : `status ${answer.status}`),
    pace = 0,
  ) {
    this.#pace = pace
    this.#port = port
    this.#paths = paths
    this.#judge = judge
    this.#agent = new Agent({ keepAlive: true, maxSockets: clients, scheduling: 'fifo' })
    this.#clients = Array.from({ length: clients }, () => this.#client())
  }

  async #client(): Promise<void> {
    while (this.#running) {
      const began = performance.now()
      const n = this.requests++
      try {
        const wrong = this.#judge(await this.#ask(this.#paths(n)))
        if (wrong !== null) this.failures.push(`request ${n}: ${wrong}`)
      } catch (error) {
        this.failures.push(`request ${n}: ${(error as Error).message}`)
      }
      this.slowest = Math.max(this.slowest, performance.now() - began)
      if (this.#pace > 0) await pause(this.#pace)
    }
  }

  #ask(path: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: this.#port, path, agent: this.#agent, timeout: 30_000 })
      asked.on('error', reject)
      asked.on('timeout', () => asked.destroy(new Error('no answer in 30 s')))
      asked.on('socket', () => {
        if (!asked.reusedSocket) this.connections++
      })
      asked.on('response', response => {
        let body = ''
        response.setEncoding('latin1')
        response.on('data', text => {
          body += text
        })
        response.on('error', reject)
        response.on('end', () => {
          if (response.complete) resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
          else reject(new Error('the answer was cut'))
        })
      })
      asked.end()
    })
  }

  /** Ask no more; resolves when the last answer is here. */
  async stop(): Promise<void> {
    this.#running = false
    await Promise.all(this.#clients)
    this.#agent.destroy()
  }
}
