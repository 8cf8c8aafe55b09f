// The clients of the soak: good ones that check their answers, and bad ones that vanish, dawdle or talk nonsense.
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { pause } from '../within.ts'

/** What the clients saw, and the end of their run. */
export class Tally {
  readonly port: number
  running = true
  requests = 0
  /** Answers by client and status, such as `shaky 502`. */
  readonly statuses = new Map<string, number>()
  /** What must not be. */
  readonly faults: string[] = []

  constructor(port: number) {
    this.port = port
  }

  count(client: string, status: number | string): void {
    const key = `${client} ${status}`
    this.statuses.set(key, (this.statuses.get(key) ?? 0) + 1)
  }

  fault(text: string): void {
    if (this.faults.length < 100) this.faults.push(text)
  }
}

interface Asked {
  readonly status: number
  readonly length: number
  readonly body: string
  readonly complete: boolean
}

function ask(agent: Agent, port: number, method: string, path: string, body = Buffer.alloc(0)): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const headers = body.length > 0 ? { 'content-length': body.length } : {}
    const asked = request({ host: '127.0.0.1', port, method, path, agent, headers, timeout: 30_000 }, response => {
      let length = 0
      let text = ''
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length < 100) text += chunk
      })
      const done = () => resolve({ status: response.statusCode ?? 0, length, body: text, complete: response.complete })
      response.on('end', done)
      response.on('error', done)
    })
    asked.on('error', reject)
    asked.on('timeout', () => asked.destroy(new Error('no answer in 30 s')))
    asked.end(body)
  })
}

/** What a good client asks for, and the length of the right answer. */
const ASKS: readonly { method: string; path: string; send: number; expect: (got: Asked) => boolean }[] = [
  { method: 'GET', path: 'small', send: 0, expect: got => got.body === 'small' },
  { method: 'GET', path: 'slow?delay=80', send: 0, expect: got => got.body === 'slow' },
  { method: 'GET', path: 'large?size=200000', send: 0, expect: got => got.length === 200_000 },
  { method: 'GET', path: 'large?size=70000&length', send: 0, expect: got => got.length === 70_000 },
  { method: 'POST', path: 'echo', send: 50_000, expect: got => got.body === '50000' },
  { method: 'PUT', path: 'echo', send: 300_000, expect: got => got.body === '300000' },
]

/** Asks an upstream that is never killed: every answer is 200 and whole, whatever else goes on. */
export async function steady(tally: Tally): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  for (let i = 0; tally.running; i++) {
    const { method, path, send, expect } = ASKS[i % ASKS.length]!
    tally.requests++
    try {
      const got = await ask(agent, tally.port, method, `/steady/${path}`, Buffer.alloc(send))
      tally.count('steady', got.status)
      if (got.status !== 200 || !got.complete || !expect(got)) {
        tally.fault(`steady ${method} ${path}: ${JSON.stringify(got)}`)
      }
    } catch (error) {
      tally.fault(`steady ${method} ${path}: ${(error as Error).message}`)
    }
    await pause(2)
  }
  agent.destroy()
}

/** Asks upstreams that are killed now and then: a whole 200, an honest error, or an answer that is visibly cut. */
export async function shaky(tally: Tally): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  for (let i = 0; tally.running; i++) {
    const { method, path, send, expect } = ASKS[i % ASKS.length]!
    tally.requests++
    try {
      const got = await ask(agent, tally.port, method, `/shaky/${path}`, Buffer.alloc(send))
      tally.count('shaky', got.complete ? got.status : 'cut')
      if (got.complete && got.status === 200 && !expect(got)) tally.fault(`shaky ${path}: wrong ${JSON.stringify(got)}`)
      if (![200, 502, 503, 504].includes(got.status)) tally.fault(`shaky ${path}: ${got.status}`)
    } catch (error) {
      // The gateway closes after an error while the body is still on its way; a reset then may overtake the answer.
      const { message } = error as Error
      tally.count('shaky', send > 0 || message === 'socket hang up' ? 'closed' : message)
      if (send === 0 && message === 'no answer in 30 s') tally.fault(`shaky ${path}: ${message}`)
    }
    await pause(2)
  }
  agent.destroy()
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
  })
}

function closed(socket: Socket): Promise<void> {
  return new Promise(resolve => (socket.destroyed ? resolve() : socket.once('close', () => resolve())))
}

/** How a client may leave, and after what. */
const HALVES: readonly string[] = [
  '',
  'GET /steady/sm',
  'GET /steady/small HTTP/1.1\r\nHost: a\r\n',
  'GET /steady/slow?delay=300 HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET /steady/large?size=5000000 HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET /shaky/large?size=5000000&length HTTP/1.1\r\nHost: a\r\n\r\n',
  `POST /steady/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(20_000)}`,
  'POST /steady/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
  'POST /steady/echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n',
  'GET /steady/small HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(20),
  'GET /steady/cut HTTP/1.1\r\nHost: a\r\n\r\n',
]

/** Leaves in the middle of its request or of its answer: by FIN, by reset, or without reading. */
export async function vanishing(tally: Tally): Promise<void> {
  for (let i = 0; tally.running; i++) {
    const socket = await open(tally.port).catch(() => null)
    if (socket === null) {
      tally.fault('vanishing: no connection')
      continue
    }
    tally.requests++
    socket.on('error', () => {})
    if (i % 3 === 0) socket.resume()
    socket.write(HALVES[i % HALVES.length]!, 'latin1')
    await pause(5 + (i % 40))
    if (i % 2 === 0) socket.resetAndDestroy()
    else socket.destroy()
    await closed(socket)
    tally.count('vanishing', 'gone')
  }
}

/** Takes a large answer in small sips: it comes whole. */
export async function slowReading(tally: Tally): Promise<void> {
  const size = 3_000_000
  while (tally.running) {
    const socket = await open(tally.port)
    tally.requests++
    socket.on('error', error => tally.fault(`slow reader: ${error.message}`))
    socket.write(`GET /steady/large?size=${size}&length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    let received = 0
    for await (const chunk of socket.iterator({ destroyOnReturn: true })) {
      received += (chunk as Buffer).length
      await pause(20)
    }
    tally.count('slow reader', 'read')
    if (received < size) tally.fault(`slow reader: ${received} bytes`)
  }
}

/** Sends its head and body in drips: it is answered all the same. */
export async function slowWriting(tally: Tally): Promise<void> {
  const text = 'POST /steady/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 30\r\n\r\n'
  while (tally.running) {
    const socket = await open(tally.port)
    tally.requests++
    let answer = ''
    socket.setEncoding('latin1').on('data', data => {
      answer += data
    })
    socket.on('error', error => tally.fault(`slow writer: ${error.message}`))
    for (let at = 0; at < text.length; at += 7) {
      socket.write(text.slice(at, at + 7))
      await pause(10)
    }
    for (let sent = 0; sent < 30; sent += 3) {
      socket.write('xyz')
      await pause(20)
    }
    await closed(socket)
    tally.count('slow writer', Number(answer.slice(9, 12)))
    if (!answer.startsWith('HTTP/1.1 200 ') || !answer.endsWith('30')) tally.fault(`slow writer: ${answer}`)
  }
}

/** What is no request, and how it is refused. */
const NONSENSE: readonly string[] = [
  'nonsense\r\n\r\n',
  'GET / HTTP/1.1\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
  'GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET /../../x HTTP/1.1\r\nHost: a\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n',
  'POST /steady/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nbad name: 1\r\n\r\n',
  `GET / HTTP/1.1\r\nHost: a\r\nlarge: ${'x'.repeat(20_000)}\r\n\r\n`,
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
  'GET / HTTP/2.0\r\nHost: a\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n',
]

/** Talks nonsense: it is refused with a 4xx (or 505), and the connection is closed. */
export async function malformed(tally: Tally): Promise<void> {
  for (let i = 0; tally.running; i++) {
    const socket = await open(tally.port)
    tally.requests++
    let answer = ''
    socket.setEncoding('latin1').on('data', data => {
      answer += data
    })
    socket.on('error', () => {})
    socket.write(NONSENSE[i % NONSENSE.length]!, 'latin1')
    await closed(socket)
    const status = Number(answer.slice(9, 12))
    tally.count('malformed', status)
    if (!((status >= 400 && status < 500) || status === 505)) {
      tally.fault(`malformed ${JSON.stringify(NONSENSE[i % NONSENSE.length]!.slice(0, 60))}: ${answer.slice(0, 60)}`)
    }
    await pause(5)
  }
}
