// Large and slow bodies through a gateway in a process of its own: its memory must not follow their size.
// Over 300 lines because nearly every case measures the memory of the same kind of process.

import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type ChildGateway, startChild } from '../support/child-gateway.ts'
import { configText } from '../support/gateway.ts'
import { eventually, within } from '../support/within.ts'

const MIB = 1024 * 1024
/** What the kernel may hold by itself: a send and a receive buffer on either side, at most 4 and 6 MiB each by default. */
const KERNEL = 24 * MIB
const BLOCK = Buffer.alloc(64 * 1024, 'x')

// Eight processes are started, one after the other.
t.setTimeout(240_000)

/** Listen on a free port; all sockets are destroyed when the test is over. */
async function listen(t: Test, onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer({ noDelay: true }, socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    onSocket(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Write `total` bytes as fast as they are taken. */
function pour(socket: Socket, total: number, wrote: (bytes: number) => void, done: () => void): void {
  let left = total
  const more = () => {
    while (left > 0) {
      const size = Math.min(left, BLOCK.length)
      left -= size
      wrote(size)
      if (!socket.write(size === BLOCK.length ? BLOCK : BLOCK.subarray(0, size))) {
        socket.once('drain', more)
        return
      }
    }
    done()
  }
  more()
}

/** Bytes in a burst, ms of rest after each, and ms in which nothing is read at first. */
type Pace = [number, number, number]

/** Read at that pace; `begin` is called before the first byte is read. */
function readSlowly(socket: Socket, [burst, rest, hold]: Pace, got: (bytes: number) => void, begin = () => {}): void {
  let since = 0
  socket.pause()
  setTimeout(() => {
    begin()
    socket.resume()
  }, hold)
  socket.on('data', chunk => {
    got(chunk.length)
    since += chunk.length
    if (since < burst) return
    since = 0
    socket.pause()
    setTimeout(() => socket.resume(), rest)
  })
}

/** The most memory that the gateway takes while `work` goes on, beyond what it took before, in MiB. */
async function growth(gateway: ChildGateway, work: () => Promise<void>): Promise<number> {
  const before = gateway.process.memory
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, gateway.process.memory)
  }, 20)
  await work().finally(() => clearInterval(timer))
  return most - before
}

function start(t: Test, engine: string, port: number): Promise<ChildGateway> {
  const config = configText({
    listener: { host: '127.0.0.1', engine, limits: { body: 'unlimited' } },
    up: { endpoints: [`127.0.0.1:${port}`] },
    route: { timeout: 'none' },
  })
  return startChild(t, config)
}

async function open(t: Test, gateway: ChildGateway): Promise<Socket> {
  const socket = connect({ port: gateway.port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  t.teardown(() => {
    socket.destroy()
  })
  await new Promise<void>(resolve => socket.once('connect', resolve))
  return socket
}

/** Download `size` bytes at that pace; resolves when all are here. */
async function download(t: Test, gateway: ChildGateway, size: number, pace: Pace, begin = () => {}): Promise<void> {
  const socket = await open(t, gateway)
  let got = 0
  readSlowly(
    socket,
    pace,
    bytes => {
      got += bytes
    },
    begin,
  )
  socket.write(`GET /${size} HTTP/1.1\r\nHost: h\r\n\r\n`)
  await eventually(
    () => got > size,
    () => `${got} of ${size} bytes came`,
    60_000,
  )
  socket.destroy()
}

// Chunks that wait for a moment outlive a scavenge: until a full collection they add up to V8's bound on external
// memory (32 MiB), once. What follows the size of a body shows in a second, larger one at the same pace.
const FIRST = 60 * MIB
const SLOW: Pace = [4 * MIB, 10, 500]

for (const { engine, size } of [
  { engine: 'native', size: 200 * MIB },
  { engine: 'uws', size: 120 * MIB },
]) {
  t.test(`${engine}: a download that the client takes slowly holds the upstream back`, async t => {
    let sent = 0
    const port = await listen(t, socket =>
      socket.on('data', head => {
        const total = Number(/GET \/(\d+)/.exec(String(head))![1])
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
        pour(
          socket,
          total,
          bytes => {
            sent += bytes
          },
          () => {},
        )
      }),
    )
    const gateway = await start(t, engine, port)
    const first = await growth(gateway, () => download(t, gateway, FIRST, SLOW))
    sent = 0
    let heldBack = 0
    const grown = await growth(gateway, () =>
      download(t, gateway, size, SLOW, () => {
        heldBack = sent
      }),
    )
    t.comment(`${engine}: ${FIRST / MIB} MiB down, memory grew by ${first.toFixed(1)} MiB`)
    t.ok(first < 48, `grew by ${first.toFixed(1)} MiB`)
    t.comment(`${engine}: ${size / MIB} MiB down, memory grew by ${grown.toFixed(1)} MiB`)
    t.comment(`before the first byte was read the upstream could send ${(heldBack / MIB).toFixed(1)} MiB`)
    t.ok(grown < 16, `grew by ${grown.toFixed(1)} MiB`)
    t.ok(heldBack < KERNEL, `${heldBack} bytes were taken ahead`)
  })
}

const UPLOAD = 200 * MIB

t.test('native: an upload that the upstream takes slowly holds the client back', async t => {
  let received = 0
  let sent = 0
  let heldBack = 0
  const port = await listen(t, socket => {
    let due = -1
    let got = 0
    readSlowly(
      socket,
      SLOW,
      () => {},
      () => {
        heldBack = sent
      },
    )
    socket.on('data', chunk => {
      if (due < 0) due = Number(/content-length: (\d+)/.exec(chunk.toString('latin1'))![1])
      got += chunk.length
      received += chunk.length
      if (got > due) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
    })
  })
  const gateway = await start(t, 'native', port)
  const upload = async (total: number, wrote: (bytes: number) => void): Promise<void> => {
    const socket = await open(t, gateway)
    socket.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${total}\r\n\r\n`)
    const answered = new Promise<string>(resolve => socket.once('data', data => resolve(String(data))))
    pour(socket, total, wrote, () => {})
    t.match(await within(60_000, answered, () => `no answer, ${received} bytes arrived`), /^HTTP\/1\.1 200 /)
    socket.destroy()
  }
  const count = (bytes: number) => {
    sent += bytes
  }
  const first = await growth(gateway, () => upload(FIRST, count))
  t.comment(`${FIRST / MIB} MiB up, memory grew by ${first.toFixed(1)} MiB`)
  t.ok(first < 48, `grew by ${first.toFixed(1)} MiB`)
  sent = 0
  const grown = await growth(gateway, () => upload(UPLOAD, count))
  t.comment(`${UPLOAD / MIB} MiB up, memory grew by ${grown.toFixed(1)} MiB`)
  t.ok(grown < 16, `grew by ${grown.toFixed(1)} MiB`)
  t.ok(heldBack < KERNEL, `${heldBack} bytes were taken ahead`)
  t.ok(received > UPLOAD)
})

// Its library reads on for as long as a client keeps its buffer full, told to pause or not: what holds is a bound.
t.test('uws: an upload that nobody takes fills no more than its bound', async t => {
  const port = await listen(t, socket => socket.pause())
  const gateway = await start(t, 'uws', port)
  const socket = await open(t, gateway)
  let sent = 0
  let refused = ''
  socket.on('data', data => {
    refused += data
  })
  const grown = await growth(gateway, async () => {
    socket.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${1024 * MIB}\r\n\r\n`)
    pour(
      socket,
      1024 * MIB,
      bytes => {
        sent += bytes
      },
      () => {},
    )
    let before = -1
    let since = 0
    // Held back or refused: either way it comes to an end.
    await eventually(
      () => {
        if (sent !== before) since = performance.now()
        before = sent
        return socket.destroyed || performance.now() - since > 500
      },
      () => `${sent} bytes were taken`,
      60_000,
    )
  })
  t.comment(
    `uws: ${(sent / MIB).toFixed(0)} MiB sent, memory grew by ${grown.toFixed(1)} MiB, answered ${refused.slice(0, 12)}`,
  )
  t.ok(grown < 160, `grew by ${grown.toFixed(1)} MiB`)
  t.ok(sent < 1024 * MIB, 'it was not taken whole')
})

t.test('ten slow downloads at once', async t => {
  const port = await listen(t, socket =>
    socket.on('data', head => {
      const total = Number(/GET \/(\d+)/.exec(String(head))![1])
      socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${total.toString(16)}\r\n`)
      pour(
        socket,
        total,
        () => {},
        () => socket.write('\r\n0\r\n\r\n'),
      )
    }),
  )
  const gateway = await start(t, 'native', port)
  const grown = await growth(gateway, async () => {
    await Promise.all(Array.from({ length: 10 }, () => download(t, gateway, 20 * MIB, [MIB, 40, 200])))
  })
  t.comment(`10 × 20 MiB, memory grew by ${grown.toFixed(1)} MiB`)
  t.ok(grown < 64, `grew by ${grown.toFixed(1)} MiB`)
})

t.test('events flow at once, also where one comes every 200 ms', async t => {
  const port = await listen(t, socket =>
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n')
      const timer = setInterval(() => socket.write(`data: ${performance.now()}\n\n`), 200)
      socket.on('close', () => clearInterval(timer))
    }),
  )
  const gateway = await start(t, 'native', port)
  const socket = await open(t, gateway)
  const late: number[] = []
  socket.on('data', chunk => {
    const found = /data: ([\d.]+)/.exec(String(chunk))
    if (found !== null) late.push(performance.now() - Number(found[1]))
  })
  socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  await eventually(
    () => late.length >= 6,
    () => `${late.length} events came`,
  )
  // Half of them: a machine that stands still for a moment makes one late, a gateway that waits for the next all.
  const half = late.sort((a, b) => a - b)[2]!
  t.ok(half < 100, `half of them took ${half.toFixed(1)} ms and more`)
})

t.test('10,000 requests one after the other on one connection', async t => {
  for (const [engine, count] of [
    ['native', 10_000],
    ['uws', 3000],
  ] as const) {
    let asked = 0
    let connections = 0
    const port = await listen(t, socket => {
      connections++
      socket.on('data', () => {
        asked++
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
    })
    const gateway = await start(t, engine, port)
    const socket = await open(t, gateway)
    const run = (count: number) =>
      new Promise<void>((resolve, reject) => {
        let left = count
        const ended = () => reject(new Error(`the connection ended with ${left} to go`))
        socket.once('close', ended)
        const onData = (chunk: Buffer) => {
          if (chunk.at(-1) !== 0x6b) return
          if (--left > 0) {
            socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
            return
          }
          socket.off('data', onData)
          socket.off('close', ended)
          resolve()
        }
        socket.on('data', onData)
        socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
      })
    await run(2000)
    const descriptors = gateway.process.descriptors
    const grown = await growth(gateway, () => run(count - 2000))
    t.equal(asked, count)
    t.equal(connections, 1)
    t.equal(gateway.process.descriptors, descriptors)
    t.comment(`${engine}: memory grew by ${grown.toFixed(1)} MiB over ${count - 2000} requests`)
    t.ok(grown < 24, `grew by ${grown.toFixed(1)} MiB`)
  }
})
