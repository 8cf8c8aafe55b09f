// What a request costs in JavaScript alone: the native engine from the bytes of a head to the bytes of the answer, without sockets.
// Run: node --import=./scripts/loader/register.mjs bench/micro/request.ts [SCENARIO …]
//
// The kernel takes two thirds of a request's time, and its noise hides what a change of the code does. Here both ends are
// objects that look like sockets, everything between them is the gateway's own. Each scenario has a process of its
// own, in which the same requests go by a route with its plugins and by one without, in turns; the median of the turns is
// given, in microseconds of CPU with the collector's threads.
import { type ChildProcess, fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import net, { type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import '../../src/heap.ts'
import type { Connection } from '../../src/listener/connection.ts'
import { scenarios } from '../load/scenarios.ts'

const TURNS = 9
/** Requests to each host before anything is measured, in turns. */
const WARM_UP = 30_000
const WARM_UP_TURNS = 4
const REQUESTS = 60_000
/** Requests in flight, each on a client connection of its own. */
const TOGETHER = 64
const BUFFER = Buffer.allocUnsafeSlow(64 * 1024)
const written = Buffer.allocUnsafeSlow(64 * 1024)
const ANSWER = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: ${new Date().toUTCString()}\r\ncontent-length: 150\r\n\r\n${'x'.repeat(150)}`,
)
/** Hosts of the two routes. */
const BARE = 'plain.test'
const FULL = 'bench.test'
const REQUEST_ID = { name: 'request-id', plugins: '[request-id]' }
const NAMES = ['plain', 'request-id', 'jwt', 'limit-memory', 'breaker', 'canary', 'pipeline']

/** What the gateway uses of a socket; `received` takes what is written. */
class Wire extends EventEmitter {
  readonly remoteAddress = '127.0.0.1'
  readonly writableLength = 0
  readonly bytesRead = 1
  readonly destroyed = false
  readonly #received: (text: string) => void

  constructor(received: (text: string) => void) {
    super()
    this.#received = received
  }

  /** Copied, as the kernel does: a text that was joined of pieces is put together for it. */
  write(text: string): boolean {
    written.write(text, 'latin1')
    this.#received(text)
    return true
  }

  isPaused(): boolean {
    return false
  }

  pause(): void {}
  resume(): void {}
}

interface Measured {
  readonly name: string
  readonly child: ChildProcess
  readonly bare: number[]
  readonly full: number[]
  readonly added: number[]
}

interface Upstream {
  readonly callback: (length: number, bytes: Uint8Array) => void
}

/** Serve one scenario: each message names a host, and is answered with the microseconds that each of REQUESTS to it took. */
async function serve(name: string): Promise<void> {
  const asked: Upstream[] = []
  // The transport connects by this name, and is loaded below.
  net.connect = ((options: { onread: Upstream }) => {
    const wire: Wire = new Wire(() => void asked.push(options.onread))
    setImmediate(() => wire.emit('connect'))
    return wire
  }) as unknown as typeof net.connect
  syncBuiltinESMExports()
  const { Gateway } = await import('../../src/gateway.ts')
  const { EdgeProxy } = await import('../../src/proxy/proxy.ts')
  const { Connection } = await import('../../src/listener/connection.ts')
  const { createLog } = await import('../../src/log.ts')
  const { default: plugins } = await import('../../plugins/bundled.ts')

  const folder = mkdtempSync(join(tmpdir(), 'sluice-micro-'))
  const scenario = name === REQUEST_ID.name ? REQUEST_ID : scenarios.find(each => each.name === name)!
  const prepared = 'prepare' in scenario ? await scenario.prepare?.(folder) : undefined
  const file = join(folder, 'gateway.yaml')
  writeFileSync(
    file,
    `listeners: [{ name: web, port: 0 }]
admin: off
upstreams:
  bench: { endpoints: ["127.0.0.1:1"] }
  bench-v2: { endpoints: ["127.0.0.1:1"] }
routes:
  - { name: bare, match: { host: ${BARE}, path: /* }, upstream: bench }
  - { name: full, match: { host: ${FULL}, path: /* }, upstream: bench, plugins: ${prepared?.plugins ?? scenario.plugins ?? '[]'} }
`,
  )
  const bundled = new URL('../../plugins/bundled.ts', import.meta.url).href
  const gateway = new Gateway({ file, plugins, bundled, watch: false })
  await gateway.start()
  rmSync(folder, { recursive: true })
  const more = Object.entries(prepared?.headers ?? {}).map(([field, value]) => `${field}: ${value}\r\n`)
  const options = {
    ...{ name: 'web', host: '127.0.0.1', port: 0, engine: 'native', paths: { encodedSlash: 'refuse' } },
    limits: { headers: 16 * 1024, headerCount: 100, body: 10 * 1024 * 1024, pipelining: 32 },
    timeouts: { idle: 60_000, requestHeader: 10_000 },
  } as ConstructorParameters<typeof Connection>[0]
  const proxy = new EdgeProxy(gateway, false, createLog())
  let answered = 0
  const clients: Connection[] = Array.from({ length: TOGETHER }, () => {
    const client = new Connection(options, proxy, { draining: false, forget() {} })
    const wire = new Wire(text => {
      if (text.startsWith('HTTP/1.1 200 OK\r\n')) answered++
      else throw new Error(`not the upstream's answer: ${text}`)
    })
    client.attach(wire as unknown as Socket)
    return client
  })

  const run = async (host: string, count: number): Promise<number> => {
    const request = Buffer.from(`GET /?bytes=150 HTTP/1.1\r\nhost: ${host}\r\n${more.join('')}\r\n`)
    const before = answered
    const start = process.cpuUsage()
    for (let i = 0; i < count; i += TOGETHER) {
      for (const client of clients) {
        request.copy(BUFFER)
        client.read(BUFFER, request.length)
      }
      while (answered < before + i + TOGETHER) {
        for (const { callback } of asked.splice(0)) {
          ANSWER.copy(BUFFER)
          callback(ANSWER.length, BUFFER)
        }
        await turn()
      }
    }
    const { user, system } = process.cpuUsage(start)
    return (user + system) / (answered - before)
  }
  for (let i = 0; i < WARM_UP_TURNS; i++) for (const host of [BARE, FULL]) await run(host, WARM_UP / WARM_UP_TURNS)
  process.on('message', async (host: string) => process.send!(await run(host, REQUESTS)))
  process.on('disconnect', () => process.exit())
  process.send!('ready')
}

const { positionals } = parseArgs({ allowPositionals: true })
if (process.send !== undefined) await serve(positionals[0]!)
else {
  const chosen = positionals.length === 0 ? NAMES : positionals
  const wrong = chosen.find(name => !NAMES.includes(name))
  if (wrong !== undefined) throw new Error(`no scenario ${wrong}; there are ${NAMES.join(', ')}`)
  const processes: Measured[] = chosen.map(name => ({
    name,
    child: fork(import.meta.filename, [name]),
    bare: [],
    full: [],
    added: [],
  }))
  await Promise.all(processes.map(({ child }) => once(child, 'message')))
  for (let i = 0; i < TURNS; i++) {
    for (const { child, bare, full, added } of processes) {
      const ask = async (host: string) => {
        child.send(host)
        return ((await once(child, 'message')) as [number])[0]
      }
      // Whoever is second may find a warmer machine.
      const first = i % 2 === 0 ? BARE : FULL
      const times = { [first]: await ask(first) }
      const second = first === BARE ? FULL : BARE
      times[second] = await ask(second)
      bare.push(times[BARE]!)
      full.push(times[FULL]!)
      added.push(times[FULL]! - times[BARE]!)
    }
  }
  const rows: Record<string, Record<string, string>> = {}
  for (const { name, child, bare, full, added } of processes) {
    child.disconnect()
    const at = (times: number[], place: number) => times.sort((a, b) => a - b)[place]!.toFixed(2)
    const middle = TURNS >> 1
    rows[name] = {
      'without plugins': at(bare, middle),
      with: at(full, middle),
      added: at(added, middle),
      'lowest and highest added': `${at(added, 0)} ${at(added, TURNS - 1)}`,
    }
  }
  console.table(rows)
}
