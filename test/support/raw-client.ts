// A client that writes the bytes it is told to and reads answers with a parser of its own.
import { connect, type Socket } from 'node:net'
import type { Test } from 'tap'
import { within } from './within.ts'

/** One answer as it stood on the wire. */
export interface RawResponse {
  readonly status: number
  /** `HTTP/1.1 200 OK`. */
  readonly line: string
  /** Fields in order, names as they came. */
  readonly fields: readonly (readonly [string, string])[]
  /** First value of a field, '' without one. */
  get(name: string): string
  /** All values of a field. */
  all(name: string): string[]
  readonly body: Buffer
  readonly text: string
  /** Field lines after the last chunk. */
  readonly trailers: readonly string[]
  /** Statuses of the interim answers before it. */
  readonly interim: readonly number[]
}

/** How a connection ended. */
export type Ending = 'fin' | 'reset'

/** See the head of this file. */
export class RawClient {
  readonly socket: Socket
  /** Resolves when the server has ended the connection: with its FIN or with a reset. */
  readonly closed: Promise<Ending>
  ended: Ending | null = null
  /** When it ended, by `performance.now()`. */
  endedAt = 0
  readonly #chunks: Buffer[] = []
  #length = 0
  #at = 0
  readonly #waiting = new Set<() => void>()

  private constructor(socket: Socket, onEnd: (settle: (how: Ending) => void) => void) {
    this.socket = socket
    this.closed = new Promise(resolve => {
      onEnd(how => {
        if (this.ended !== null) return
        this.ended = how
        this.endedAt = performance.now()
        resolve(how)
        this.#wake()
      })
    })
    socket.on('data', chunk => {
      this.#chunks.push(chunk)
      this.#length += chunk.length
      this.#wake()
    })
  }

  /** Connect to `port` on 127.0.0.1; the socket is destroyed when the test is over. */
  static async connect(t: Test, port: number, host = '127.0.0.1'): Promise<RawClient> {
    const socket = connect({ port, host, allowHalfOpen: true, noDelay: true })
    const client = new RawClient(socket, settle => {
      socket.on('end', () => {
        settle('fin')
        socket.end()
      })
      socket.on('error', () => settle('reset'))
      socket.on('close', hadError => settle(hadError ? 'reset' : 'fin'))
    })
    t.teardown(() => {
      socket.destroy()
    })
    await within(
      10_000,
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      }),
      () => 'the connection did not stand',
    )
    return client
  }

  /** All bytes received so far. */
  get bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks))
    return this.#chunks[0] ?? Buffer.alloc(0)
  }

  /** All that was received so far as latin1 text. */
  get text(): string {
    return this.bytes.toString('latin1')
  }

  get received(): number {
    return this.#length
  }

  /** Write; text as latin1. */
  send(data: string | Uint8Array): this {
    if (typeof data === 'string') this.socket.write(data, 'latin1')
    else this.socket.write(data)
    return this
  }

  /** Write a head of these lines and its empty line. */
  head(...lines: string[]): this {
    return this.send(`${lines.join('\r\n')}\r\n\r\n`)
  }

  /** Send a FIN; go on reading. */
  end(): this {
    this.socket.end()
    return this
  }

  destroy(): void {
    this.socket.destroy()
  }

  reset(): void {
    this.socket.resetAndDestroy()
  }

  /** Wait until what was received fulfils `met`. Rejects when the connection ends before that, or after `ms`. */
  async until(met: string | ((text: string) => boolean), ms = 10_000): Promise<string> {
    const holds = typeof met === 'string' ? (text: string) => text.includes(met) : met
    await this.#wait(
      () => holds(this.text),
      ms,
      () => `waiting for ${String(met)}`,
    )
    return this.text
  }

  /** The next answer, whole. `method` HEAD has no body. Rejects when the connection ends before that. */
  async response(method = 'GET', ms = 10_000): Promise<RawResponse> {
    const interim: number[] = []
    for (;;) {
      await this.#wait(
        () => this.bytes.indexOf('\r\n\r\n', this.#at) >= 0,
        ms,
        () => 'waiting for a head',
      )
      const from = this.#at
      const headEnd = this.bytes.indexOf('\r\n\r\n', from) + 4
      const [line = '', ...lines] = this.bytes.toString('latin1', from, headEnd - 4).split('\r\n')
      const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1] ?? Number.NaN)
      if (Number.isNaN(status)) throw new Error(`no status line: ${JSON.stringify(line)}`)
      this.#at = headEnd
      if (status < 200) {
        interim.push(status)
        continue
      }
      const fields = lines.map(text => {
        const colon = text.indexOf(': ')
        if (colon < 1) throw new Error(`no field line: ${JSON.stringify(text)}`)
        return [text.slice(0, colon), text.slice(colon + 2)] as const
      })
      const all = (name: string) => fields.filter(field => field[0].toLowerCase() === name).map(field => field[1])
      const trailers: string[] = []
      const body = await this.#body(method, status, all, trailers, ms)
      return {
        status,
        line,
        fields,
        get: name => all(name)[0] ?? '',
        all,
        body,
        text: body.toString(),
        trailers,
        interim,
      }
    }
  }

  async #body(
    method: string,
    status: number,
    all: (name: string) => string[],
    trailers: string[],
    ms: number,
  ): Promise<Buffer> {
    const [length, ...more] = all('content-length')
    const codings = all('transfer-encoding')
    if (more.length > 0 || (length !== undefined && codings.length > 0)) throw new Error('framing is told twice')
    if (method === 'HEAD' || status === 204 || status === 304) return Buffer.alloc(0)
    if (length !== undefined) {
      const end = this.#at + Number(length)
      await this.#wait(
        () => this.#length >= end,
        ms,
        () => `waiting for a body of ${length}`,
      )
      const body = this.bytes.subarray(this.#at, end)
      this.#at = end
      return body
    }
    if (codings.length === 0) {
      await this.#wait(
        () => this.ended === 'fin',
        ms,
        () => 'waiting for the end of the connection',
      )
      const body = this.bytes.subarray(this.#at)
      this.#at = this.#length
      return body
    }
    const chunks: Buffer[] = []
    for (;;) {
      const size = Number.parseInt(await this.#line(ms), 16)
      if (Number.isNaN(size)) throw new Error('no chunk size')
      if (size === 0) break
      const end = this.#at + size + 2
      await this.#wait(
        () => this.#length >= end,
        ms,
        () => `waiting for a chunk of ${size}`,
      )
      chunks.push(this.bytes.subarray(this.#at, end - 2))
      this.#at = end
    }
    for (let line = await this.#line(ms); line !== ''; line = await this.#line(ms)) trailers.push(line)
    return Buffer.concat(chunks)
  }

  async #line(ms: number): Promise<string> {
    await this.#wait(
      () => this.bytes.indexOf('\r\n', this.#at) >= 0,
      ms,
      () => 'waiting for a line',
    )
    const from = this.#at
    const end = this.bytes.indexOf('\r\n', from)
    this.#at = end + 2
    return this.bytes.toString('latin1', from, end)
  }

  /** Bytes received behind the last answer that was read. */
  get rest(): string {
    return this.bytes.toString('latin1', this.#at)
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  #wait(met: () => boolean, ms: number, what: () => string): Promise<void> {
    let check = () => {}
    const waited = new Promise<void>((resolve, reject) => {
      check = () => {
        if (met()) resolve()
        else if (this.ended !== null)
          reject(new Error(`${what()}: the connection ended (${this.ended}) after ${this.#seen()}`))
      }
      this.#waiting.add(check)
      check()
    })
    return within(ms, waited, () => `${what()}: nothing more came after ${this.#seen()}`).finally(() =>
      this.#waiting.delete(check),
    )
  }

  #seen(): string {
    return `${this.#length} bytes: ${JSON.stringify(this.bytes.toString('latin1', 0, 400))}`
  }
}
