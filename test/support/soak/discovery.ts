// The soak of discovery: a thousand services of ten instances, a hundred changes a second, and what traffic notices of it.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startChild } from '../child-gateway.ts'
import { temporaryFolder } from '../server-process.ts'
import { pause } from '../within.ts'

const SERVICES = 1000
const INSTANCES = 10
const CHANGES = 100
const CLIENTS = 20

/** What one span of traffic came to; times in milliseconds, memory in MiB. */
export interface Span {
  readonly requests: number
  readonly failures: number
  readonly p50: number
  readonly p99: number
  readonly memory: number
}

/** What the soak found. */
export interface DiscoveryReport {
  readonly still: Span
  readonly changing: Span
  readonly changes: number
  /** MiB that the gateway grew by, from a while after the changes began to their end. */
  readonly grown: number
  readonly faults: readonly string[]
}

/** Run for about `seconds`: a quarter with a registry that stands still, the rest with one that does not. */
export async function soakDiscovery(
  t: Pick<Test, 'teardown'>,
  seconds: number,
  say: (line: string) => void,
): Promise<DiscoveryReport> {
  const folder = temporaryFolder(t, 'soak-discovery')
  // One server that every address of the loopback leads to.
  const server = createServer((_request, response) => response.end('ok'))
  server.keepAliveTimeout = 60_000
  await new Promise<void>(resolve => server.listen(0, '0.0.0.0', resolve))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  const generation = new Array(SERVICES).fill(0) as number[]
  const write = (service: number) => {
    const first = generation[service]!++
    const list = Array.from({ length: INSTANCES }, (_, i) => {
      const n = (service * 40 + ((first + i) % 20)) % 60_000
      return `127.${1 + Math.floor(n / 250)}.${n % 250}.1:${port}`
    })
    const file = join(folder, String(service), 'list.json')
    writeFileSync(`${file}.tmp`, JSON.stringify(list))
    renameSync(`${file}.tmp`, file)
  }
  for (let i = 0; i < SERVICES; i++) {
    mkdirSync(join(folder, String(i)))
    write(i)
  }
  const names = Array.from({ length: SERVICES }, (_, i) => `s${i}`)
  const config = {
    listeners: [{ name: 'web', port: 0 }],
    admin: { port: 0 },
    discovery: { files: { kind: 'file', path: join(folder, '{service}', 'list.json') } },
    // Ten thousand endpoints: their idle connections alone would be what grows.
    upstreams: Object.fromEntries(
      names.map((name, i) => [name, { discover: { from: 'files', service: String(i) }, connections: { idle: '2s' } }]),
    ),
    routes: names.map((name, i) => ({ name, match: { path: `/${i}/*` }, upstream: name })),
  }
  const gateway = await startChild(t, JSON.stringify(config))
  say(`${SERVICES} services of ${INSTANCES} instances are known`)
  await traffic(gateway.port, 5, () => gateway.process.memory)

  const still = await traffic(gateway.port, seconds / 4, () => gateway.process.memory)
  say(`still: ${JSON.stringify(still)}`)
  let changes = 0
  const begin = performance.now()
  const changing = setInterval(() => {
    const due = ((performance.now() - begin) / 1000) * CHANGES
    for (; changes < due; changes++) write((changes * 7919) % SERVICES)
  }, 10)
  const settled = await traffic(gateway.port, seconds / 4, () => gateway.process.memory)
  const moved = await traffic(gateway.port, seconds / 2, () => gateway.process.memory)
  clearInterval(changing)
  say(`changing: ${JSON.stringify(moved)}`)
  const faults: string[] = []
  const failures = still.failures + settled.failures + moved.failures
  if (failures > 0) faults.push(`${failures} requests failed`)
  if (moved.p99 > still.p99 * 1.1 + 0.5) faults.push(`p99 went from ${still.p99} ms to ${moved.p99} ms`)
  const grown = moved.memory - settled.memory
  if (grown > 16) faults.push(`memory grew by ${grown.toFixed(1)} MiB`)
  return { still, changing: moved, changes, grown, faults }
}

/** Clients that ask at a steady pace, so that the two spans carry the same load. */
async function traffic(port: number, seconds: number, memory: () => number): Promise<Span> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  const times: number[] = []
  let failures = 0
  const end = performance.now() + seconds * 1000
  const client = async (n: number) => {
    for (let i = 0; performance.now() < end; i++) {
      const began = performance.now()
      const status = await ask(agent, port, `/${(n * 61 + i * 17) % SERVICES}/x`)
      if (status === 200) times.push(performance.now() - began)
      else failures++
      await pause(5)
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, (_, n) => client(n)))
  agent.destroy()
  times.sort((a, b) => a - b)
  const at = (share: number) => Math.round((times[Math.floor(times.length * share)] ?? Number.NaN) * 100) / 100
  return { requests: times.length, failures, p50: at(0.5), p99: at(0.99), memory: memory() }
}

function ask(agent: Agent, port: number, path: string): Promise<number> {
  return new Promise(resolve => {
    const asked = request({ host: '127.0.0.1', port, path, agent, timeout: 10_000 })
    asked.on('response', response => {
      response.resume()
      response.on('end', () => resolve(response.statusCode!))
      response.on('error', () => resolve(0))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve(0))
    asked.end()
  })
}
