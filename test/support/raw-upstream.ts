// An upstream on bare sockets: records every byte and answers as a script says, well or badly.

import type { AddressInfo } from 'node:net'
import { createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'
import { eventually, within } from './within.ts'

/** A request as it stood on the wire, read by a parser of its own. */
export class SeenRequest {
  readonly peer: Peer
  readonly method: string
  readonly target: string
  readonly version: string
  /** Fields in order, names as they came. */
  readonly fields: readonly (readonly [string, string])[]
  /** Offset in the peer's bytes at which the head begins. */
  readonly from: number
  body: Buffer = Buffer.alloc(0)
  trailers: string[] = []
  /** The body came to its end. */
  complete = false
  /** Resolves with the body when it is complete, rejects when the connection ends before that. */
  readonly whole: Promise<Buffer>
  settle!: (body: Buffer | null) => void

  constructor(peer: Peer, head: string, from: number) {
    this.peer = peer
    this.from = from
    const [line = '', ...lines] = head.split('\r\n')
    const [method = '', target = '', version = ''] = line.split(' ')
    this.method = method
    this.target = target
    this.version = version
    this.fields = lines.map(text => {
      const colon = text.indexOf(': ')
      return [text.slice(0, colon), text.slice(colon + 2)] as const
    })
    this.whole = new Promise((resolve, reject) => {
      this.settle = body => (body === null ? reject(new Error('the request was cut')) : resolve(body))
    })
    this.whole.catch(() => {})
  }

  /** First value of a field, '' without one. */
  get(name: string): string {
    return this.all(name)[0] ?? ''
  }

  /** All values of a field. */
  all(name: string): string[] {
    return this.fields.filter(field => field[0].toLowerCase() === name).map(field => field[1])
  }

  /** The names of all fields, in order. */
  get names(): string[] {
    return this.fields.map(field => field[0])
  }

  /** Answer with these lines and, with `Content-Length`, this body. */
  reply(line: string, body: string | Buffer = '', ...fields: string[]): void {
    const bytes = Buffer.from(body)
    const bodiless = /^(204|304)/.test(line)
    const all = bodiless ? fields : [...fields, `Content-Length: ${bytes.length}`]
    const head = [`HTTP/1.1 ${line}`, ...all].join('\r\n')
    this.peer.write(
      Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), this.method === 'HEAD' ? Buffer.alloc(0) : bytes]),
    )
  }
}

/** One connection that the gateway opened. */
export class Peer {
  readonly socket: Socket
  /** Place among all connections, from 0. */
  readonly index: number
  readonly requests: SeenRequest[] = []
  readonly closed: Promise<void>
  isClosed = false
  /** The other side sent its FIN or a reset. */
  ended = false
  #bytes = Buffer.alloc(0)
  #at = 0
  #open: SeenRequest | null = null
  readonly #upstream: RawUpstream

  constructor(upstream: RawUpstream, socket: Socket, index: number) {
    this.#upstream = upstream
    this.socket = socket
    this.index = index
    this.closed = new Promise(resolve => {
      socket.on('close', () => {
        this.isClosed = true
        this.#cut()
        resolve()
      })
    })
    socket.on('error', () => {})
    socket.on('end', () => {
      this.ended = true
      this.#cut()
      socket.end()
    })
    socket.on('data', chunk => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      if (!upstream.raw) this.#read()
    })
  }

  /** All that came on this connection. */
  get text(): string {
    return this.#bytes.toString('latin1')
  }

  write(data: string | Uint8Array): boolean {
    return typeof data === 'string' ? this.socket.write(data, 'latin1') : this.socket.write(data)
  }

  #cut(): void {
    this.ended = true
    this.#open?.settle(null)
    this.#open = null
  }

  #read(): void {
    for (;;) {
      if (this.#open === null) {
        const end = this.#bytes.indexOf('\r\n\r\n', this.#at)
        if (end < 0) return
        const request = new SeenRequest(this, this.#bytes.toString('latin1', this.#at, end), this.#at)
        this.#at = end + 4
        this.#open = request
        this.requests.push(request)
        this.#upstream.requests.push(request)
        // Before the body, so that an answer may come early.
        this.#upstream.onRequest(request)
      }
      const request = this.#open
      if (request === null || !this.#body(request)) return
      request.complete = true
      request.settle(request.body)
      this.#open = null
    }
  }

  #body(request: SeenRequest): boolean {
    if (request.get('transfer-encoding') !== '') return this.#chunks(request)
    const length = Number(request.get('content-length') || '0')
    const end = request.body.length === 0 ? this.#at : this.#at - request.body.length
    request.body = this.#bytes.subarray(end, Math.min(end + length, this.#bytes.length))
    this.#at = end + request.body.length
    return request.body.length === length
  }

  #chunks(request: SeenRequest): boolean {
    for (;;) {
      const end = this.#bytes.indexOf('\r\n', this.#at)
      if (end < 0) return false
      const size = Number.parseInt(this.#bytes.toString('latin1', this.#at, end), 16)
      if (size > 0) {
        const next = end + 2 + size + 2
        if (this.#bytes.length < next) return false
        request.body = Buffer.concat([request.body, this.#bytes.subarray(end + 2, end + 2 + size)])
        this.#at = next
        continue
      }
      // `0`, then trailers, then an empty line.
      const close = this.#bytes.indexOf('\r\n\r\n', end)
      if (close < 0) return false
      request.trailers = close === end ? [] : this.#bytes.toString('latin1', end + 2, close).split('\r\n')
      this.#at = close + 4
      return true
    }
  }
}

/** See the head of this file. */
export class RawUpstream {
  readonly #server: Server
  readonly peers: Peer[] = []
  /** Requests of all connections, in the order of their heads. */
  readonly requests: SeenRequest[] = []
  /** Called with each head; the default answers 200 `ok` once the body is whole. */
  onRequest: (request: SeenRequest) => void = request => {
    void request.whole.then(
      () => request.reply('200 OK', 'ok'),
      () => {},
    )
  }
  /** Called with each connection. */
  onConnection: (peer: Peer) => void = () => {}
  /** Do not read requests: the script does all. */
  raw = false

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
      const peer = new Peer(this, socket, this.peers.length)
      this.peers.push(peer)
      this.onConnection(peer)
    })
  }

  /** Listen on a free port of `host`; closed when the test is over. */
  static async start(t: Test, host = '127.0.0.1'): Promise<RawUpstream> {
    const upstream = new RawUpstream()
    await new Promise<void>(resolve => upstream.#server.listen(0, host, resolve))
    t.teardown(() => upstream.close())
    return upstream
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** As it stands under `endpoints`. */
  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Connections that stand now. */
  get open(): number {
    return this.peers.filter(peer => !peer.isClosed).length
  }

  /** All bytes of all connections. */
  get text(): string {
    return this.peers.map(peer => peer.text).join('')
  }

  /** The n-th request's head, once it is here. */
  async request(index = 0, ms = 10_000): Promise<SeenRequest> {
    await eventually(
      () => this.requests.length > index,
      () => `request ${index} did not reach the upstream, which saw ${JSON.stringify(this.text.slice(0, 400))}`,
      ms,
    )
    return this.requests[index]!
  }

  /** The n-th connection, once it stands. */
  async peer(index = 0): Promise<Peer> {
    await eventually(
      () => this.peers.length > index,
      () => `connection ${index} was not opened`,
    )
    return this.peers[index]!
  }

  async close(): Promise<void> {
    for (const peer of this.peers) peer.socket.destroy()
    if (!this.#server.listening) return
    await within(3000, new Promise(resolve => this.#server.close(resolve)), () => 'the upstream did not close')
  }
}
