// The part that faithful fakes of HTTP registries share: services with a version that grows, waiting, and every way to fail.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import type { Registered, Registry, RegistryFault } from './registry.ts'

/** What a kind answers to one question. */
export type Answer = (url: URL, request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** A registry in this process, over real sockets. See the head of this file. */
export class HttpRegistryFake implements Registry {
  readonly kind: string
  options: Readonly<Record<string, unknown>> = {}
  polls = 0
  /** Grows with every change of anything, as the index of Consul and the resource version of Kubernetes do. */
  version = 7
  readonly services = new Map<string, readonly Registered[]>()
  /** Version at which each service changed last. */
  readonly changed = new Map<string, number>()
  readonly #server: Server
  readonly #open = new Set<ServerResponse>()
  #waiting: (() => void)[] = []
  #fault: RegistryFault | null = null

  private constructor(kind: string, answer: Answer) {
    this.kind = kind
    this.#server = createServer((request, response) => {
      this.#open.add(response)
      response.on('close', () => this.#open.delete(response))
      this.polls++
      if (this.#fault !== null) this.#misbehave(request, response, this.#fault)
      else void answer(new URL(request.url!, 'http://registry'), request, response)
    })
  }

  static async start(t: Pick<Test, 'teardown'>, kind: string, answer: (fake: HttpRegistryFake) => Answer) {
    const fake: HttpRegistryFake = new HttpRegistryFake(kind, (...question) => answer(fake)(...question))
    await new Promise<void>(resolve => fake.#server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => fake.stop())
    return fake
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Instances of a service, none when nobody knows it. */
  of(service: string): readonly Registered[] {
    return this.services.get(service) ?? []
  }

  async set(service: string, instances: readonly Registered[]): Promise<void> {
    this.services.set(service, instances)
    this.changed.set(service, ++this.version)
    this.wake()
  }

  /** Resolves with the next change of anything, or when the asker is gone. */
  change(response: ServerResponse): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.push(resolve)
      response.on('close', resolve)
    })
  }

  wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  async fail(how: RegistryFault | null): Promise<void> {
    this.#fault = how
    // Whoever waits has to notice; what stands still does so until it is let go.
    if (how !== 'stall') for (const response of this.#open) response.destroy()
  }

  #misbehave(request: IncomingMessage, response: ServerResponse, fault: RegistryFault): void {
    const json = { 'content-type': 'application/json', 'x-consul-index': '9' }
    if (fault === 'status-500') response.writeHead(500, json).end('{"error":"no leader"}')
    else if (fault === 'html') response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><p>Hi')
    else if (fault === 'half-json') response.writeHead(200, json).end('[{"Service":{"Address":"10.0')
    else if (fault === 'huge') response.writeHead(200, json).end(JSON.stringify('x'.repeat(17 * 1024 * 1024)))
    else if (fault === 'reset') request.socket.resetAndDestroy()
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise(resolve => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }
}

/** Answer with JSON. */
export function json(
  response: ServerResponse,
  value: unknown,
  headers: Record<string, string> = {},
  status = 200,
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
}
