// The uws engine against raw sockets, with a small receiver on the other side of its interface.
// Over 300 lines because the small receiver serves every case, and what the library does is met nowhere else.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { GatewayError } from '../../../src/errors.ts'
import type { Downstream, Receiver } from '../../../src/http/downstream.ts'
import { isBodiless, type RequestHead } from '../../../src/http/head.ts'
import { type Listener, listenerOptions } from '../../../src/listener/listener.ts'
import { uwsEngine, uwsFaults } from '../../../src/listener/uws.ts'
import { pause } from '../../support/within.ts'

const MIB = 1024 * 1024

/** What the receiver saw of exchanges that do not end by themselves. */
interface Seen {
  heads: RequestHead[]
  refused: string[]
  aborts: (string | null)[]
  downs: Downstream[]
  /** Bytes that the download under way has written. */
  poured: number
}

function answer(down: Downstream, status: number, body: string | Buffer, headers: string[] = []): void {
  const bytes = Buffer.from(body)
  down.writeHead({ status, headers, hasDate: false, bodyLength: bytes.length })
  down.write(bytes)
  down.end(null)
}

/** Send `total` bytes in pieces of 64 KiB as fast as the client takes them; `length` is what the head says. */
function pour(down: Downstream, total: number, length: number, seen: Seen): void {
  let left = total
  seen.poured = 0
  down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: length })
  const more = () => {
    while (left > 0) {
      const size = Math.min(left, 64 * 1024)
      left -= size
      seen.poured += size
      if (!down.write(pattern(total - left - size, size))) return
    }
    down.end(null)
  }
  down.onDrain = more
  more()
}

/** Bytes that tell where they belong. */
function pattern(at: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size)
  for (let i = 0; i < size; i++) bytes[i] = ((at + i) * 31 + ((at + i) >> 8)) & 0xff
  return bytes
}

function handle(head: RequestHead, down: Downstream, seen: Seen): void {
  seen.heads.push(head)
  down.onAbort = error => seen.aborts.push(error === null ? null : error.code)
  const wanted = Number(new URLSearchParams(head.query).get('n'))
  switch (head.path) {
    case '/head':
      answer(down, 200, JSON.stringify(head))
      return
    case '/later':
      setImmediate(() => answer(down, 200, 'later'))
      return
    case '/echo':
      down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: head.bodyLength })
      if (head.bodyLength === 0) {
        down.end(null)
        return
      }
      down.onChunk = (chunk, last) => {
        if (!down.write(chunk)) down.pause()
        down.flush()
        if (last) down.end(null)
      }
      down.onDrain = () => down.resume()
      down.resume()
      return
    case '/hash': {
      const hash = createHash('sha256')
      let length = 0
      down.onChunk = (chunk, last) => {
        hash.update(chunk)
        length += chunk.length
        if (last) answer(down, 200, `${length} ${hash.digest('hex')}`)
        else {
          down.pause()
          setImmediate(() => down.resume())
        }
      }
      down.onAbort = error => {
        seen.aborts.push(error === null ? null : error.code)
        if (error !== null) answer(down, error.status, error.code)
      }
      // Long after the first bytes have come.
      setTimeout(() => down.resume(), 30)
      return
    }
    case '/pour':
      pour(down, wanted, wanted, seen)
      return
    case '/pour-chunks':
      pour(down, wanted, -1, seen)
      return
    case '/status': {
      const bodiless = isBodiless(head.method, wanted)
      down.writeHead({
        status: wanted,
        headers: ['x-a', 'caf\xe9'],
        hasDate: false,
        bodyLength: bodiless && wanted === 204 ? -1 : 5,
      })
      if (!bodiless) down.write(Buffer.from('hello'))
      down.end(null)
      return
    }
    case '/date':
      answer(down, 200, 'x', ['date', 'Thu, 01 Jan 1970 00:00:00 GMT', 'x-after', '1'])
      return
    case '/close':
      down.close()
      answer(down, 200, 'bye')
      return
    case '/close-chunks':
      down.close()
      down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: -1 })
      down.write(Buffer.from('one'))
      down.flush()
      down.write(Buffer.from('two'))
      down.end(null)
      return
    case '/cut':
      down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: wanted })
      down.write(Buffer.from('part'))
      down.flush()
      setImmediate(() => down.abort())
      return
    default:
      seen.downs.push(down)
  }
}

/** What must hold of an answered exchange: a late call does nothing. */
function late(down: Downstream): void {
  down.writeHead({ status: 500, headers: [], hasDate: false, bodyLength: 0 })
  down.write(Buffer.from('late'))
  down.flush()
  down.pause()
  down.resume()
  down.end(null)
  down.abort()
  down.close()
}

async function start(t: Test, options: Record<string, unknown> = {}): Promise<{ listener: Listener; seen: Seen }> {
  const seen: Seen = { heads: [], refused: [], aborts: [], downs: [], poured: 0 }
  const receiver: Receiver = {
    receive: (head, down) => handle(head, down, seen),
    refuse: (error: GatewayError, down) => {
      seen.refused.push(error.code)
      answer(down, error.status, error.code)
      late(down)
    },
  }
  const listener = await uwsEngine.listen(
    listenerOptions.parse({ name: 'test', port: 0, engine: 'uws', ...options }),
    receiver,
  )
  t.teardown(() => listener.destroy())
  return { listener, seen }
}

/** A raw client that gathers what it is sent. */
class Client {
  readonly socket: Socket
  received = Buffer.alloc(0)
  closed = false
  #wake: (() => void) | null = null

  constructor(listener: Listener, localAddress = '127.0.0.1') {
    this.socket = connect({ port: listener.port, host: '127.0.0.1', localAddress })
    this.socket.on('data', chunk => {
      this.received = Buffer.concat([this.received, chunk])
      this.#wake?.()
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      this.#wake?.()
    })
  }

  send(text: string | Buffer): this {
    this.socket.write(text)
    return this
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  /** Wait for text to have come, and hand over and forget all up to its end. */
  async until(mark: string): Promise<string> {
    for (;;) {
      const at = this.received.indexOf(mark, 0, 'latin1')
      if (at >= 0) {
        const taken = this.received.subarray(0, at + mark.length).toString('latin1')
        this.received = this.received.subarray(at + mark.length)
        return taken
      }
      if (this.closed) throw new Error(`closed before ${JSON.stringify(mark)}: ${this.text.slice(0, 500)}`)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  async end(): Promise<string> {
    if (!this.closed) await once(this.socket, 'close')
    return this.text
  }
}

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a.example\r\n${more}\r\n`
const post = (path: string, more: string) => `POST ${path} HTTP/1.1\r\nHost: a.example\r\n${more}\r\n`

t.test('each client has its own address, whoever came before and goes meanwhile', async t => {
  const { listener, seen } = await start(t)
  const ask = async (client: Client) => {
    await client.send(get('/later')).until('later')
    return seen.heads.at(-1)!.remoteAddress
  }
  const gone = async (client: Client) => {
    const left = listener.connections - 1
    client.socket.destroy()
    while (listener.connections > left) await new Promise(setImmediate)
  }
  for (let round = 0; round < 2; round++) {
    const first = new Client(listener)
    t.equal(await ask(first), '127.0.0.1')
    const twin = new Client(listener)
    t.equal(await ask(twin), '127.0.0.1')
    const second = new Client(listener, '127.0.0.2')
    t.equal(await ask(second), '127.0.0.2')
    t.equal(await ask(first), '127.0.0.1')
    await gone(first)
    await gone(twin)
    t.equal(await ask(second), '127.0.0.2')
    const third = new Client(listener, '127.0.0.3')
    t.equal(await ask(third), '127.0.0.3')
    await gone(second)
    await gone(third)
    const alone = new Client(listener, '127.0.0.4')
    t.equal(await ask(alone), '127.0.0.4')
    t.equal(await ask(alone), '127.0.0.4')
    await gone(alone)
  }
})

t.test('a head arrives as head.ts describes it', async t => {
  const { listener, seen } = await start(t)
  const client = new Client(listener)
  client.send(
    'POST /head?a=1&b=?c HTTP/1.1\r\nHost: A.example:80\r\nConnection: keep-alive, X-Hop, Authorization, x-forwarded-for\r\n' +
      'X-Hop: gone\r\nAuthorization: stays\r\nX-Forwarded-For: stays\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\n' +
      'Upgrade: h2c\r\nTrailer: x-t\r\nExpect: 100-continue\r\nContent-Length: 2\r\nx_y:  caf\xc3\xa9! \r\n__proto__: 1\r\n\r\nhi',
  )
  await client.until('\r\n\r\n')
  await client.until('"acceptsTrailers":false}')
  t.matchStrict(seen.heads, [
    {
      method: 'POST',
      rawPath: '/head',
      path: '/head',
      query: 'a=1&b=?c',
      hasQuery: true,
      minor: 1,
      secure: false,
      host: 'A.example:80',
      remoteAddress: '127.0.0.1',
      bodyLength: 2,
      hasUnderscore: true,
      acceptsTrailers: false,
    },
  ])
  t.same(
    seen.heads[0]!.headers.filter((_, i) => i % 2 === 0),
    ['authorization', 'x-forwarded-for', 'x_y', '__proto__'],
  )
  client.send(get('/later'))
  await client.until('later')
  t.equal(seen.heads[1]!.hasQuery, false)
  client.send(get('/later?'))
  await client.until('later')
  t.equal(seen.heads[2]!.hasQuery, true)
  t.equal(seen.heads[2]!.query, '')
  t.same(seen.heads[2]!.headers, [])
  client.socket.destroy()
})

t.test('field bytes above ASCII pass as they came where the library lets them', async t => {
  const { listener, seen } = await start(t)
  const client = new Client(listener)
  client.send(Buffer.from(get('/later', 'x-a: caf\xc3\xa9!\r\n'), 'latin1'))
  await client.until('later')
  t.same(seen.heads[0]!.headers, ['x-a', 'caf\xc3\xa9!'])
  client.send(get('/status?n=200'))
  t.match(await client.until('hello'), 'x-a: caf\xe9\r\n')
  client.socket.destroy()
})

t.test('one connection serves request after request, whatever their bodies', async t => {
  const { listener, seen } = await start(t)
  const client = new Client(listener)
  for (let i = 0; i < 3; i++) {
    client.send(get('/echo'))
    t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 0\r\n\r\n$/)
    client.send(post('/echo', 'Content-Length: 5\r\n')).send('he')
    t.match(await client.until('he'), 'Content-Length: 5\r\n')
    client.send('llo')
    await client.until('llo')
    client.send(post('/echo', 'Transfer-Encoding: chunked\r\n')).send('3\r\nabc\r\n')
    // The library sends the line end of a chunk with what follows it.
    await client.until('3\r\nabc')
    client.send('4\r\ndefg\r\n0\r\n\r\n')
    t.equal(await client.until('0\r\n\r\n'), '\r\n4\r\ndefg\r\n0\r\n\r\n')
  }
  t.equal(seen.heads.length, 9)
  t.equal(listener.connections, 1)
  t.same(seen.aborts, [])
  client.socket.destroy()
})

t.test('an answer and its small unframed body are one write', async t => {
  const { listener } = await start(t)
  const client = new Client(listener)
  let reads = 0
  client.socket.on('data', () => reads++)
  client.send(`${post('/echo', 'Transfer-Encoding: chunked\r\n')}3\r\nabc\r\n0\r\n\r\n`)
  await client.until('0\r\n\r\n')
  t.ok(reads <= 2, `${reads} reads`)
  client.socket.destroy()
})

t.test('an upload of 20 MiB reaches a slow consumer whole', async t => {
  const { listener } = await start(t, { limits: { body: 'unlimited' } })
  const size = 20 * MIB
  const body = pattern(0, size)
  const expected = `${size} ${createHash('sha256').update(body).digest('hex')}`
  const whole = new Client(listener)
  whole.send(post('/hash', `Content-Length: ${size}\r\n`)).send(body)
  await whole.until(expected)
  whole.send(post('/hash', 'Transfer-Encoding: chunked\r\n'))
  for (let at = 0; at < size; at += 100_000) {
    const piece = body.subarray(at, Math.min(size, at + 100_000))
    whole
      .send(`${piece.length.toString(16)}\r\n`)
      .send(piece)
      .send('\r\n')
  }
  whole.send('0\r\n\r\n')
  await whole.until(expected)
  t.equal(listener.connections, 1)
  whole.socket.destroy()
})

t.test('an upload that is not wanted yet, or not any more, stays with its sender', async t => {
  const { listener, seen } = await start(t, { limits: { body: 'unlimited' } })
  const size = 64 * MIB
  const client = new Client(listener)
  client.send(post('/hold', `Content-Length: ${size}\r\n`)).send(pattern(0, size))
  const taken = () => client.socket.bytesWritten - client.socket.writableLength
  const rss = process.memoryUsage().rss
  await settled(taken)
  t.ok(taken() < 16 * MIB, `${taken()} bytes left the sender before the first resume`)
  t.ok(process.memoryUsage().rss - rss < 16 * MIB, 'and the engine holds no more of them than one read')
  const down = seen.downs[0]!
  let read = 0
  let expected = 0
  down.onChunk = chunk => {
    if (!chunk.every((byte, i) => i % 997 !== 0 || byte === pattern(read + i, 1)[0])) expected = -1
    read += chunk.length
    if (read > 8 * MIB) down.pause()
  }
  down.resume()
  await settled(() => read)
  t.equal(expected, 0, 'nothing is lost or out of order')
  t.ok(read > 8 * MIB && read < 10 * MIB, `${read} bytes were delivered before the pause held`)
  t.ok(taken() < 28 * MIB, `${taken()} bytes left the sender in all`)
  client.socket.destroy()
})

/** Wait until a number has not changed for 50 ms. */
async function settled(number: () => number): Promise<void> {
  for (let last = -1; last !== number(); ) {
    last = number()
    await pause(50)
  }
}

t.test('a body that nobody reads is held back, and the next request is served all the same', async t => {
  const { listener, seen } = await start(t, { limits: { body: 'unlimited' } })
  const client = new Client(listener)
  client.send(post('/hold', `Content-Length: ${MIB}\r\n`)).send(pattern(0, MIB / 2))
  while (seen.downs.length === 0) await new Promise(setImmediate)
  answer(seen.downs[0]!, 401, 'no')
  t.notMatch(await client.until('no'), /connection: close/i)
  client.send(pattern(0, MIB / 2)).send(get('/later'))
  await client.until('later')
  client.socket.destroy()
})

t.test('an answer that comes before the end of a long body closes the connection', async t => {
  const { listener, seen } = await start(t, { limits: { body: 'unlimited' } })
  const client = new Client(listener)
  client.send(post('/hold', `Content-Length: ${100 * MIB}\r\n`))
  while (seen.downs.length === 0) await new Promise(setImmediate)
  answer(seen.downs[0]!, 401, 'no')
  t.match(await client.end(), /^HTTP\/1\.1 401 Unauthorized\r\n[\s\S]*Connection: close\r\n[\s\S]*no$/)
})

t.test('a download of 20 MiB reaches a slow reader whole, and waits for it', async t => {
  const { listener, seen } = await start(t)
  const size = 20 * MIB
  const whole = pattern(0, size)
  for (const path of ['/pour', '/pour-chunks']) {
    const client = connect(listener.port, '127.0.0.1')
    client.pause()
    client.write(get(`${path}?n=${size}`, 'Connection: close\r\n'))
    await settled(() => seen.poured)
    t.ok(seen.poured > 0 && seen.poured < 10 * MIB, `${path}: ${seen.poured} bytes were taken while nobody read`)
    const pieces: Buffer[] = []
    for await (const chunk of client) pieces.push(chunk)
    const text = Buffer.concat(pieces)
    const at = text.indexOf('\r\n\r\n') + 4
    const body = path === '/pour' ? text.subarray(at) : dechunk(text.subarray(at))
    t.ok(body.equals(whole), `${path} arrives as it was sent`)
  }
  t.same(seen.aborts, [])
})

function dechunk(bytes: Buffer): Buffer {
  const pieces: Buffer[] = []
  let at = 0
  for (;;) {
    const end = bytes.indexOf('\r\n', at)
    const size = Number.parseInt(bytes.toString('latin1', at, end), 16)
    if (size === 0) return Buffer.concat(pieces)
    pieces.push(bytes.subarray(end + 2, end + 2 + size))
    at = end + 2 + size + 2
  }
}

t.test('what is held back for a slow reader goes out although nothing more is written', async t => {
  const { listener, seen } = await start(t)
  const client = connect(listener.port, '127.0.0.1')
  client.pause()
  client.write(get('/hold'))
  while (seen.downs.length === 0) await new Promise(setImmediate)
  const down = seen.downs[0]!
  down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: -1 })
  let sent = 0
  while (down.write(pattern(0, 256 * 1024))) sent += 256 * 1024
  sent += 256 * 1024
  const drained = new Promise<void>(resolve => {
    down.onDrain = resolve
  })
  let got = 0
  const all = new Promise<void>(resolve => {
    client.on('data', chunk => {
      got += chunk.length
      if (got >= sent) resolve()
    })
  })
  client.resume()
  await drained
  await all
  t.ok(got >= sent, 'all that was written has come, with the answer still open')
  down.end(null)
  client.destroy()
})

t.test('a client that goes away is told once, and late calls do nothing', async t => {
  const { listener, seen } = await start(t)
  for (const path of ['/hold', '/hold-again']) {
    const client = new Client(listener)
    client.send(get(path))
    while (seen.downs.length === 0) await new Promise(setImmediate)
    const down = seen.downs.pop()!
    if (path === '/hold-again') {
      down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: -1 })
      down.write(Buffer.from('part'))
      down.flush()
      await client.until('part')
    }
    const before = seen.aborts.length
    client.socket.destroy()
    while (seen.aborts.length === before) await new Promise(setImmediate)
    t.equal(down.aborted, true)
    late(down)
    t.same(seen.aborts.slice(before), [null])
  }
  while (listener.connections > 0) await new Promise(setImmediate)
})

t.test('abort and a body that ends early look cut to the client', async t => {
  const { listener, seen } = await start(t)
  const withLength = new Client(listener)
  const text = await withLength.send(get('/cut?n=10')).end()
  t.match(text, /Content-Length: 10\r\n\r\npart$/)
  const chunked = new Client(listener)
  t.match(await chunked.send(get('/cut?n=-1')).end(), /Transfer-Encoding: chunked\r\n\r\n4\r\npart$/)
  const short = new Client(listener)
  short.send(get('/hold'))
  while (seen.downs.length === 0) await new Promise(setImmediate)
  const down = seen.downs[0]!
  down.writeHead({ status: 200, headers: [], hasDate: false, bodyLength: 10 })
  down.write(Buffer.from('part'))
  down.end(null)
  t.match(await short.end(), /Content-Length: 10\r\n\r\npart$/)
  t.same(seen.aborts, [], 'the one who cuts is not told')
})

t.test('HEAD, 204 and 304 carry no body, and no length that they must not', async t => {
  const { listener } = await start(t)
  const client = new Client(listener)
  client.send('HEAD /status?n=200 HTTP/1.1\r\nHost: a\r\n\r\n')
  t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 5\r\n\r\n$/)
  client.send('HEAD /pour-chunks?n=9 HTTP/1.1\r\nHost: a\r\n\r\n')
  t.notMatch(await client.until('\r\n\r\n'), /content-length|transfer-encoding/i)
  client.send(get('/status?n=204'))
  t.notMatch(await client.until('\r\n\r\n'), /content-length|transfer-encoding/i)
  client.send(get('/status?n=304'))
  t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 304 Not Modified\r\n[\s\S]*Content-Length: 5\r\n\r\n$/)
  client.send(get('/later'))
  t.match(await client.until('later'), /^HTTP\/1\.1 200 OK\r\n/, 'nothing stands between the answers')
  client.socket.destroy()
})

t.test('an answer has one Date and no name of the library', async t => {
  const { listener } = await start(t)
  const client = new Client(listener)
  const head = await client.send(get('/date')).until('\r\n\r\n')
  t.equal(head.match(/^date:/gim)?.length, 1)
  t.match(head, 'x-after: 1')
  t.notMatch(head, /uwebsockets/i)
  client.socket.destroy()
})

t.test('close is said once and done', async t => {
  const { listener } = await start(t)
  for (const more of ['', 'Connection: close\r\n', 'Connection: x-a, close\r\n']) {
    const text = await new Client(listener).send(get('/close', more)).end()
    t.equal(text.match(/^connection: close\r$/gim)?.length, 1, JSON.stringify(more))
    t.match(text, /bye$/)
  }
  const told = await new Client(listener).send(get('/date', 'Connection: close\r\n')).end()
  t.match(told, /^connection: close\r$/im)
  const streamed = new Client(listener)
  const text = await streamed.send(get('/close-chunks')).until('0\r\n\r\n')
  t.match(text, /connection: close\r\n[\s\S]*Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n$/)
  streamed.socket.destroy()
})

t.test('a head that two parsers could read differently is refused and the connection closed', async t => {
  const { listener, seen } = await start(t)
  const start400 = /^HTTP\/1\.1 400 /
  const cases: [string, string | Buffer, RegExp, string | null][] = [
    ['two Content-Length', post('/x', 'Content-Length: 3\r\nContent-Length: 5\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['the same twice', post('/x', 'Content-Length: 3\r\nContent-Length: 3\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['empty Content-Length', post('/x', 'Content-Length:\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['signed Content-Length', post('/x', 'Content-Length: +3\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['list of lengths', post('/x', 'Content-Length: 3, 3\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['past 2^53-1', post('/x', 'Content-Length: 9007199254740993\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['gzip', post('/x', 'Transfer-Encoding: gzip\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['chunked twice', post('/x', 'Transfer-Encoding: chunked, chunked\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    [
      'two codings',
      post('/x', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'),
      start400,
      'SLUICE_BAD_REQUEST',
    ],
    ['both framings', post('/x', 'Transfer-Encoding: chunked\r\nContent-Length:\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    [
      'both framings, by the library',
      post('/x', 'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n'),
      start400,
      null,
    ],
    ['method', 'G(T /x HTTP/1.1\r\nHost: a\r\n\r\n', start400, 'SLUICE_BAD_REQUEST'],
    ['CONNECT', 'CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n', /^HTTP\/1\.1 501 /, 'SLUICE_NOT_IMPLEMENTED'],
    ['fragment', get('/x#y'), start400, 'SLUICE_BAD_REQUEST'],
    ['DEL in the target', get('/x\x7f'), start400, 'SLUICE_BAD_REQUEST'],
    ['bytes above ASCII in the target', Buffer.from(get('/\xe9'), 'latin1'), start400, 'SLUICE_BAD_REQUEST'],
    ['bytes above ASCII in the query', Buffer.from(get('/x?\xc3\xa9'), 'latin1'), start400, 'SLUICE_BAD_REQUEST'],
    ['DEL in a value', get('/x', 'a: b\x7fc\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['a value that is no UTF-8', Buffer.from(get('/x', 'a: b\xe9c\r\n'), 'latin1'), start400, 'SLUICE_BAD_REQUEST'],
    ['empty Host', 'GET /x HTTP/1.1\r\nHost:\r\n\r\n', start400, 'SLUICE_BAD_REQUEST'],
    ['bad Host', 'GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n', start400, 'SLUICE_BAD_REQUEST'],
    ['no Host', 'GET /x HTTP/1.1\r\n\r\n', start400, null],
    ['two Hosts', 'GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', start400, null],
    ['Connection', get('/x', 'Connection: a b\r\n'), start400, 'SLUICE_BAD_REQUEST'],
    ['Expect', get('/x', 'Expect: miracles\r\n'), /^HTTP\/1\.1 417 /, 'SLUICE_EXPECTATION_FAILED'],
    ['a large head', get('/x', `a: ${'x'.repeat(17_000)}\r\n`), /^HTTP\/1\.1 431 /, 'SLUICE_HEADERS_TOO_LARGE'],
    ['99 fields', get('/x', Array.from({ length: 98 }, (_, i) => `a${i}: b\r\n`).join('')), /^HTTP\/1\.1 431 /, null],
    ['a large body', post('/x', `Content-Length: ${11 * MIB}\r\n`), /^HTTP\/1\.1 413 /, 'SLUICE_BODY_TOO_LARGE'],
    ['HTTP/1.0', 'GET /x HTTP/1.0\r\nHost: a\r\n\r\n', /^HTTP\/1\.1 505 /, null],
    ['absolute-form', 'GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n', /^HTTP\/1\.1 505 /, null],
    ['asterisk-form', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', /^HTTP\/1\.1 505 /, null],
  ]
  for (const [label, bytes, status, code] of cases) {
    const before = seen.refused.length
    t.match(await new Client(listener).send(bytes).end(), status, label)
    t.same(seen.refused.slice(before), code === null ? [] : [code], label)
  }
  t.same(seen.heads, [], 'none of them was handed on')
  t.same(seen.aborts, [])
})

t.test('a request smuggled behind a refused one is not handed on', async t => {
  const { listener, seen } = await start(t)
  const hidden = get('/hidden')
  const client = new Client(listener)
  client.send(`${post('/x', `Content-Length: 0\r\nContent-Length: ${hidden.length}\r\n`)}${hidden}`)
  await client.end()
  t.same(seen.heads, [])
})

t.test('a listener holds heads and counts to its own limits', async t => {
  const { listener, seen } = await start(t, { limits: { headers: '512B', headerCount: 5, body: '10B' } })
  const fields = (count: number) => get('/later', Array.from({ length: count - 1 }, (_, i) => `a${i}: b\r\n`).join(''))
  const client = new Client(listener)
  await client.send(fields(5)).until('later')
  t.match(await client.send(fields(6)).end(), /^HTTP\/1\.1 431 /)
  t.match(await new Client(listener).send(get('/x', `a: ${'b'.repeat(512)}\r\n`)).end(), /^HTTP\/1\.1 431 /)
  t.match(await new Client(listener).send(post('/x', 'Content-Length: 11\r\n')).end(), /^HTTP\/1\.1 413 /)
  const chunked = new Client(listener)
    .send(post('/hash', 'Transfer-Encoding: chunked\r\n'))
    .send('a\r\n0123456789\r\n1\r\n0\r\n')
  t.match(await chunked.end(), /^HTTP\/1\.1 413 [\s\S]*Connection: close\r\n[\s\S]*SLUICE_BODY_TOO_LARGE$/)
  t.same(seen.aborts, ['SLUICE_BODY_TOO_LARGE'])
})

t.test('other limits hold from the next request on', async t => {
  const { listener } = await start(t)
  const client = new Client(listener)
  await client.send(get('/later', `a: ${'b'.repeat(600)}\r\n`)).until('later')
  listener.reconfigure(listenerOptions.parse({ name: 'test', port: 0, limits: { headers: '512B', body: '3B' } }))
  await client.send(post('/hash', 'Content-Length: 3\r\n')).send('abc').until(' ba7816bf')
  t.match(await new Client(listener).send(post('/x', 'Content-Length: 4\r\n')).end(), /^HTTP\/1\.1 413 /)
  t.match(await client.send(get('/later', `a: ${'b'.repeat(600)}\r\n`)).end(), /HTTP\/1\.1 431 /)
})

t.test('an upload that is under way keeps the limit that it began with', async t => {
  const { listener, seen } = await start(t)
  const client = new Client(listener)
  client.send(post('/hash', 'Content-Length: 6\r\n')).send('abc')
  // One that comes later on another connection is read later too.
  await new Client(listener).send(get('/later')).until('later')
  listener.reconfigure(listenerOptions.parse({ name: 'test', port: 0, limits: { body: '3B' } }))
  await client.send('def').until('6 bef57ec7')
  t.same(seen.aborts, [])
})

t.test('draining ends idle connections at once and busy ones with their answer', async t => {
  const { listener, seen } = await start(t)
  const idle = new Client(listener)
  await idle.send(get('/later')).until('later')
  const busy = new Client(listener).send(get('/hold'))
  while (seen.downs.length === 0) await new Promise(setImmediate)
  const drained = listener.drain()
  const refused = connect(listener.port, '127.0.0.1')
  const [error] = await once(refused, 'error')
  t.equal(error.code, 'ECONNREFUSED')
  answer(seen.downs[0]!, 200, 'last')
  t.match(await busy.end(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n[\s\S]*last$/)
  await idle.end()
  await drained
  t.equal(listener.connections, 0)
  t.same(seen.aborts, [])
})

t.test('draining without a connection ends at once, with an idle one soon', async t => {
  const first = await start(t)
  await first.listener.drain()
  const { listener } = await start(t)
  const idle = new Client(listener)
  await idle.send(get('/later')).until('later')
  await Promise.all([listener.drain(), idle.end()])
  t.equal(listener.connections, 0)
  listener.destroy()
})

t.test('a drain waits a moment for the first request of a client that has just come', async t => {
  const { listener } = await start(t)
  const late = new Client(listener)
  await once(late.socket, 'connect')
  while (listener.connections === 0) await new Promise(setImmediate)
  const drained = listener.drain()
  t.match(await late.send(get('/later')).end(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n/i)
  await drained
})

t.test('destroy ends everything and tells those in flight', async t => {
  const { listener, seen } = await start(t)
  const busy = new Client(listener).send(get('/hold'))
  while (seen.downs.length === 0) await new Promise(setImmediate)
  listener.destroy()
  await busy.end()
  t.same(seen.aborts, [null])
  t.equal(listener.connections, 0)
})

t.test('an address that cannot be had is told with the reason of the system', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  await t.rejects(start(t, { port }), { code: 'EADDRINUSE' })
  const { listener } = await start(t)
  await t.rejects(start(t, { port: listener.port }), { code: 'EADDRINUSE' })
  await t.rejects(start(t, { host: '192.0.2.1' }), { code: 'EADDRNOTAVAIL' })
})

t.test('what the library cannot do is a fault when it is asked for', async t => {
  const parse = (options: Record<string, unknown>) => listenerOptions.parse({ name: 'test', port: 0, ...options })
  t.same(uwsFaults(parse({})), [])
  t.same(uwsFaults(parse({ timeouts: { idle: '30s', requestHeader: '30s' } })), [])
  t.equal(uwsFaults(parse({ limits: { headerCount: 200 }, timeouts: { idle: '5s', requestHeader: '1s' } })).length, 3)
  await t.rejects(start(t, { timeouts: { idle: '5s' } }), { code: 'ERR_UWS_UNSUPPORTED', message: /timeouts\.idle/ })
  await t.rejects(start(t, { limits: { headers: '1MiB' } }), {
    code: 'ERR_UWS_UNSUPPORTED',
    message: /limits\.headers/,
  })
})

t.test('the line at start says how the library was loaded', async t => {
  const { listener } = await start(t)
  t.match(listener.engine, /^uws \(\S+ \d+\.\d+\.\d+.*\)$/)
  t.equal(listener.host, '127.0.0.1')
  t.equal(listener.name, 'test')
})
