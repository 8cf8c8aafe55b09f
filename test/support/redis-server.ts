// A real redis-server on a free port, alone or as a cluster, that a test kills, stops and starts again; nothing is written to disk.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { freeze } from './freeze.ts'
import { eventually } from './within.ts'

/** See the head of this file. Killed when the test is over. */
export class RedisServer {
  readonly port: number
  readonly #args: readonly string[]
  readonly #folder: string
  #child: ChildProcess | null = null

  constructor(port: number, args: readonly string[], folder: string) {
    this.port = port
    this.#args = args
    this.#folder = folder
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Start it, empty; resolves when it answers. */
  async start(): Promise<void> {
    const own = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
    const child = spawn('redis-server', [...own, '--dir', this.#folder, ...this.#args], { stdio: 'ignore' })
    this.#child = child
    let up = false
    await eventually(
      async () => {
        up = (await this.send('PING').catch(() => '')) === 'PONG'
        return up || child.exitCode !== null
      },
      () => `redis-server does not answer on port ${this.port}`,
      15_000,
    )
    if (!up) throw new Error(`redis-server ended with ${child.exitCode}`)
  }

  /** Resolves when it is gone, frozen or not. */
  async kill(): Promise<void> {
    const child = this.#running()
    if (child === null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  /** Let it stand still; resolves when it does. */
  async freeze(): Promise<void> {
    const child = this.#running()
    if (child !== null) await freeze(child)
  }

  /** Let it go on. */
  thaw(): void {
    this.#running()?.kill('SIGCONT')
  }

  #running(): ChildProcess | null {
    const child = this.#child
    return child === null || child.exitCode !== null || child.signalCode !== null ? null : child
  }

  /** One command over a connection of its own; its answer, nested where it is a list. Rejects with an error's text. */
  send(...words: readonly string[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1')
      let text = ''
      socket.setEncoding('latin1')
      socket.setTimeout(10_000, () => socket.destroy(new Error('redis-server says nothing')))
      socket.on('error', reject)
      socket.on('close', () => reject(new Error('redis-server closed the connection')))
      socket.on('data', data => {
        text += data
        try {
          const [value] = parse(text, 0)
          socket.destroy()
          if (value instanceof Error) reject(value)
          else resolve(value)
        } catch (error) {
          if (!(error instanceof RangeError)) throw error
        }
      })
      const parts = words.map(word => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
      socket.write(`*${words.length}\r\n${parts.join('')}`)
    })
  }

  /** Numbers of `INFO`, such as `total_commands_processed`. */
  async info(name: string): Promise<number> {
    return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(String(await this.send('INFO', 'everything')))?.[1])
  }
}

/** Reads one RESP 2 value; RangeError when there is not all of it yet. */
function parse(text: string, at: number): [value: unknown, end: number] {
  const end = text.indexOf('\r\n', at)
  if (end < 0) throw new RangeError('more is due')
  const line = text.slice(at + 1, end)
  switch (text[at]) {
    case '+':
      return [line, end + 2]
    case '-':
      return [new Error(line), end + 2]
    case ':':
      return [Number(line), end + 2]
    case '$': {
      const length = Number(line)
      if (length < 0) return [null, end + 2]
      if (text.length < end + 4 + length) throw new RangeError('more is due')
      return [text.slice(end + 2, end + 2 + length), end + 4 + length]
    }
    default: {
      const values: unknown[] = []
      let next = end + 2
      for (let i = 0; i < Number(line); i++) {
        const [value, after] = parse(text, next)
        values.push(value)
        next = after
      }
      return [values, next]
    }
  }
}

/** Start one. `args` are further options of redis-server. */
export async function startRedis(t: Pick<Test, 'teardown'>, ...args: readonly string[]): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-redis-'))
  const server = new RedisServer(await freePort(), args, folder)
  t.teardown(async () => {
    await server.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  await server.start()
  return server
}

/** Start a cluster of three nodes, each with a third of the slots and no replica; resolves when all know it. */
export async function startRedisCluster(t: Pick<Test, 'teardown'>): Promise<RedisServer[]> {
  const nodes: RedisServer[] = []
  const buses: number[] = []
  for (let i = 0; i < 3; i++) {
    const bus = await freePort()
    buses.push(bus)
    const options = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '1000']
    // One dead node must not take the slots of the others with it.
    nodes.push(await startRedis(t, ...options, '--cluster-require-full-coverage', 'no'))
  }
  const shares = [
    ['0', '5460'],
    ['5461', '10922'],
    ['10923', '16383'],
  ]
  for (const [i, node] of nodes.entries()) {
    await node.send('CLUSTER', 'ADDSLOTSRANGE', ...shares[i]!)
  }
  for (const [i, node] of nodes.entries()) {
    if (i > 0) await nodes[0]!.send('CLUSTER', 'MEET', '127.0.0.1', String(node.port), String(buses[i]))
  }
  await eventually(
    async () => {
      const infos = await Promise.all(nodes.map(node => node.send('CLUSTER', 'INFO')))
      return infos.every(info => /cluster_state:ok/.test(String(info)) && /cluster_slots_ok:16384/.test(String(info)))
    },
    () => 'the cluster does not come together',
    15_000,
  )
  return nodes
}
