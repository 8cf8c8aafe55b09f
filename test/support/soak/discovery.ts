// The soak of discovery: a thousand services of ten instances, a hundred changes a second, and what traffic notices of it.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Test } from 'tap'
import { startChild } from '../child-gateway.ts'
import { replaceFile } from '../replace-file.ts'
import { ROOT } from '../root.ts'
import { temporaryFolder } from '../server-process.ts'
import { eventually, pause } from '../within.ts'

const SERVICES = 1000
const INSTANCES = 10
const CHANGES = 100
const CLIENTS = 20
/** Milliseconds that a client rests after an answer, on average: some 800 requests a second, far from what two cores can do. */
const PACE = 20
/** Spans with a still registry and with a changing one take turns, for what else the machine does comes and goes. */
const ROUNDS = 8
/**
 * Requests whose p99 is one number, some 3 s of them; the median of those numbers is the p99 of all spans of a kind. Where
 * the machine stands still for a moment, one of them tells of it.
 */
const WINDOW = 2_500
/** Of the rounds, the memory counts from here on. */
const SETTLED = 3

/** What all spans of one kind came to; times in milliseconds, `p99` as of WINDOW. */
export interface Traffic {
  readonly requests: number
  readonly failures: number
  readonly p50: number
  readonly p99: number
}

/** What the soak found. */
export interface DiscoveryReport {
  readonly still: Traffic
  readonly changing: Traffic
  readonly changes: number
  /** Resident MiB of the gateway after each round. */
  readonly memory: readonly number[]
  /** MiB of its heap that a collection leaves then: the same for ever where nothing is kept. */
  readonly live: readonly number[]
  readonly faults: readonly string[]
}

/** Run for about `seconds`, half of them with a registry that stands still. */
export async function soakDiscovery(
  t: Pick<Test, 'teardown'>,
  seconds: number,
  say: (line: string) => void,
): Promise<DiscoveryReport> {
  const peers = fork(join(ROOT, 'test/support/soak/peers.mjs'), { execArgv: [] })
  t.teardown(() => void peers.kill())
  const [port] = (await once(peers, 'message')) as [number]
  const registry = new FileRegistry(temporaryFolder(t, 'soak-discovery'), port)
  // The machine is that of the registry, too: while the gateway's stands still, one that nobody asks changes as much.
  const another = new FileRegistry(temporaryFolder(t, 'soak-discovery'), port)
  const names = Array.from({ length: SERVICES }, (_, i) => `s${i}`)
  const config = {
    listeners: [{ name: 'web', port: 0 }],
    admin: { port: 0 },
    discovery: { files: { kind: 'file', path: join(registry.folder, '{service}', 'list.json') } },
    upstreams: Object.fromEntries(names.map((name, i) => [name, { discover: { from: 'files', service: String(i) } }])),
    routes: names.map((name, i) => ({ name, match: { path: `/${i}/*` }, upstream: name })),
  }
  const probe = pathToFileURL(join(ROOT, 'test/support/soak/live-heap.mjs')).href
  // What V8 may keep of garbage would look like growth.
  const gateway = await startChild(t, JSON.stringify(config), {
    NODE_OPTIONS: `--max-old-space-size=160 --expose-gc --import=${probe}`,
  })
  say(`${SERVICES} services of ${INSTANCES} instances are known`)

  const liveHeap = async (): Promise<number> => {
    const from = gateway.process.out.length
    gateway.process.kill('SIGUSR2')
    const told = () => /^live (\d+)$/m.exec(gateway.process.out.slice(from))
    await eventually(
      () => told() !== null,
      () => 'the gateway does not tell of its heap',
    )
    return mebibytes(Number(told()![1]) / 2 ** 20)
  }

  /** Traffic for a span. */
  const span = async (length: number): Promise<Outcome> => {
    peers.send({ port: gateway.port, seconds: length, clients: CLIENTS, services: SERVICES, pace: PACE })
    return ((await once(peers, 'message')) as [Outcome])[0]
  }
  /** Traffic for a span in which a registry changes. */
  const spanWith = async (length: number, changing: FileRegistry): Promise<Outcome> => {
    const begin = performance.now()
    const before = changing.changes
    const timer = setInterval(() => {
      const due = before + ((performance.now() - begin) / 1000) * CHANGES
      while (changing.changes < due) changing.change()
    }, 10)
    const outcome = await span(length)
    clearInterval(timer)
    return outcome
  }
  await span(5)
  const still: Outcome[] = []
  const moved: Outcome[] = []
  const memory: number[] = []
  const live: number[] = []
  const length = seconds / ROUNDS / 2
  for (let round = 1; round <= ROUNDS; round++) {
    still.push(await spanWith(length, another))
    moved.push(await spanWith(length, registry))
    // What was written last is read within this.
    await pause(1000)
    memory.push(mebibytes(gateway.process.memory))
    live.push(await liveHeap())
    say(
      `round ${round}: still ${JSON.stringify(sum(still.slice(-1)))}, changing ${JSON.stringify(sum(moved.slice(-1)))}, ${memory.at(-1)} MiB, ${live.at(-1)} MiB of them live`,
    )
  }
  const [at, after] = [sum(still), sum(moved)]
  const faults: string[] = []
  const failures = at.failures + after.failures
  if (failures > 0) faults.push(`${failures} requests failed`)
  if (after.p99 > at.p99 * 1.1) faults.push(`p99 went from ${at.p99} ms to ${after.p99} ms`)
  for (const [what, sizes, most] of [
    ['memory', memory, 16],
    ['the live heap', live, 3],
  ] as const) {
    // The least of each half: one reading may come before the collector, or behind it.
    const settled = sizes.slice(SETTLED - 1)
    const half = settled.length / 2
    const grown = Math.min(...settled.slice(half)) - Math.min(...settled.slice(0, half))
    if (grown > most) faults.push(`${what} grew by ${grown.toFixed(1)} MiB`)
  }
  return { still: at, changing: after, changes: registry.changes, memory, live, faults }
}

/** A file a service, each with its instances on this machine; every change puts a new one in the place of the oldest. */
class FileRegistry {
  readonly folder: string
  readonly #port: number
  readonly #generations = new Array<number>(SERVICES).fill(0)
  changes = 0

  constructor(folder: string, port: number) {
    this.folder = folder
    this.#port = port
    for (let i = 0; i < SERVICES; i++) {
      mkdirSync(join(folder, String(i)))
      this.#write(i)
    }
  }

  /** Of another service each time. */
  change(): void {
    this.#write((this.changes++ * 7919) % SERVICES)
  }

  #write(service: number): void {
    const first = this.#generations[service]!++
    const list = Array.from({ length: INSTANCES }, (_, i) => {
      const n = (service * 40 + ((first + i) % 20)) % 60_000
      return `127.${1 + Math.floor(n / 250)}.${n % 250}.1:${this.#port}`
    })
    replaceFile(join(this.folder, String(service), 'list.json'), JSON.stringify(list))
  }
}

const mebibytes = (size: number) => Math.round(size * 10) / 10

/** What the peers tell of a span: milliseconds of each answer. */
interface Outcome {
  readonly failures: number
  readonly times: readonly number[]
}

function sum(spans: readonly Outcome[]): Traffic {
  const windows = spans.flatMap(({ times }) => {
    // A short span is one: the rest of a long one says nothing that its windows do not.
    const length = Math.max(1, Math.floor(times.length / WINDOW))
    return Array.from({ length }, (_, i) => times.slice(i * WINDOW, (i + 1) * WINDOW))
  })
  const all = spans.flatMap(({ times }) => times)
  const failures = spans.reduce((all, span) => all + span.failures, 0)
  const p99 = quantile(
    windows.map(window => quantile(window, 0.99)),
    0.5,
  )
  return { requests: all.length, failures, p50: hundredths(quantile(all, 0.5)), p99: hundredths(p99) }
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN
}

const hundredths = (value: number) => Math.round(value * 100) / 100
