// Bytes of heap that the whole gateway allocates a request: a gateway process, a keep-alive client and an upstream on loopback.
// Run: npm run build && node --import=./scripts/loader/register.mjs bench/micro/bytes-per-request.ts
//
// Counted inside the gateway by allocation-probe.mjs: growth of the used heap plus what collections freed in between.
// That is objects of JavaScript: bytes outside of the heap (socket buffers, libuv) are not in it, the wrappers that
// Node makes for each read and write are. Collections of the old generation sweep beside the program, so that a
// figure moves by some per cent; the median of the rounds is given, with the lowest and highest.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url))
const PROBE = new URL('./allocation-probe.mjs', import.meta.url).href
const REQUESTS = 50_000
const ROUNDS = 5
const CONNECTIONS = 16

const ANSWER = `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 150\r\n\r\n${'x'.repeat(150)}`
const CASES = {
  'GET, 150 bytes': 'GET /a HTTP/1.1\r\nhost: bench\r\n\r\n',
  'GET as a browser sends it, 150 bytes': `GET /shop/items/1234?ref=home HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nReferer: https://shop.example.com/\r\nCookie: session=3f2b9c0d4e5f60718293a4b5c6d7e8f9; theme=dark\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nCache-Control: max-age=0\r\n\r\n`,
  'POST of 1 KiB, 150 bytes': `POST /a HTTP/1.1\r\nhost: bench\r\ncontent-length: 1024\r\n\r\n${'y'.repeat(1024)}`,
}

/** Answers each request of a stream that only this bench's gateway sends: heads with at most a Content-Length. */
function upstream(): net.Server {
  return net.createServer(socket => {
    let text = ''
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', data => {
      text += data.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const length = Number(/\r\ncontent-length: (\d+)/.exec(text.slice(0, end))?.[1] ?? 0)
        if (text.length < end + 4 + length) break
        text = text.slice(end + 4 + length)
        socket.write(ANSWER)
      }
    })
  })
}

/** Sends `count` requests over keep-alive connections, each after the answer to the one before. */
async function drive(port: number, request: string, count: number): Promise<void> {
  let left = count
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.setNoDelay(true)
      await new Promise<void>((resolve, reject) => {
        let got = ''
        const next = () => {
          if (left-- > 0) socket.write(request)
          else resolve()
        }
        socket.on('data', data => {
          got += data.toString('latin1')
          const end = got.indexOf('\r\n\r\n')
          if (end < 0 || got.length < end + 4 + 150) return
          if (!got.startsWith('HTTP/1.1 200 ')) reject(new Error(`answered ${got.slice(0, 100)}`))
          got = ''
          next()
        })
        socket.on('error', reject)
        socket.on('close', () => reject(new Error('the gateway closed a connection')))
        next()
      })
      socket.destroy()
    }),
  )
}

async function ask(gateway: ChildProcess): Promise<{ allocated: number; collections: number }> {
  const told = once(gateway, 'message')
  gateway.send('how much?')
  return ((await told) as [{ allocated: number; collections: number }])[0]
}

const server = upstream().listen(0, '127.0.0.1')
await once(server, 'listening')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sluice-bytes-'))
const file = path.join(folder, 'gateway.yaml')
fs.writeFileSync(
  file,
  `listeners:
  - { name: web, host: 127.0.0.1, port: 0 }
admin: off
upstreams:
  bench: { endpoints: ["127.0.0.1:${(server.address() as net.AddressInfo).port}"] }
routes:
  - { name: all, match: { path: /* }, upstream: bench }
`,
)
const gateway = spawn(process.execPath, ['--import', PROBE, MAIN, 'start', '-c', file], {
  stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
})
try {
  const port = await new Promise<number>((resolve, reject) => {
    let printed = ''
    gateway.stdout!.on('data', data => {
      printed += data
      const found = /127\.0\.0\.1:(\d+)/.exec(printed)
      if (found !== null) resolve(Number(found[1]))
    })
    gateway.once('exit', code => reject(new Error(`the gateway ended with ${code}; is it built?`)))
  })
  const rows: Record<string, Record<string, string>> = {}
  for (const [name, request] of Object.entries(CASES)) {
    await drive(port, request, REQUESTS)
    const figures: number[] = []
    let collections = 0
    for (let round = 0; round < ROUNDS; round++) {
      const before = await ask(gateway)
      await drive(port, request, REQUESTS)
      const after = await ask(gateway)
      figures.push((after.allocated - before.allocated) / REQUESTS)
      collections += after.collections - before.collections
    }
    figures.sort((a, b) => a - b)
    rows[name] = {
      'bytes a request': figures[ROUNDS >> 1]!.toFixed(0),
      lowest: figures[0]!.toFixed(0),
      highest: figures.at(-1)!.toFixed(0),
      collections: String(collections),
    }
  }
  console.table(rows)
} finally {
  gateway.kill('SIGTERM')
  await once(gateway, 'exit')
  server.close()
  fs.rmSync(folder, { recursive: true, force: true })
}
