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
/**
 * Traffic as of a load test, and as of most days: some 800 requests a second, of which every eighth is the first of its
 * endpoint while a hundred a second are new, and waits for a connection.
 */
const LOADS = { full: { clients: 64, pace: 0 }, light: { clients: 20, pace: 20 } } as const
/** What p99 may be while the registry changes, of what it is while that stands still, or in milliseconds more. */
const MOST = { full: (still: number) => still * 1.1, light: (still: number) => still + 2 }
/** Spans with a still registry and with a changing one take turns, for what else the machine does comes and goes. */
const ROUNDS = 8
/**
 * Requests whose p99 is one number, some 3 s of the light load; the median of those numbers is the p99 of all spans of a
 * kind. Where the machine stands still for a moment, one of them tells of it.
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

/** Of one load. */
interface Compared {
  readonly still: Traffic
  readonly changing: Traffic
}

/** What the soak found. */
export interface DiscoveryReport {
  readonly full: Compared
  readonly light: Compared
  readonly changes: number
  /** Resident MiB of the gateway after each round. */
  readonly memory: readonly number[]
  /**
   * MiB of its heap that a collection leaves once it has settled, and at the end: the same where nothing is kept. Not more
   * often: what V8 does after a collection that was asked for holds up the requests behind it.
   */
  readonly live: readonly number[]
  readonly faults: readonly string[]
}

/** Run for about `seconds`, half of them with a registry that stands still. */
export async function soakDiscovery(
  t: Pick<Test, 'teardown'>,
  seconds: number,
  say: (line: string) => void,
): Promise<DiscoveryReport> {
  const peers = fork(join(ROOT, 'test/support/soak/peers.mjs'), {
    // Its own collector is not to be measured.
    execArgv: ['--min-semi-space-size=128', '--max-semi-space-size=128'],
  })
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

  /** Traffic for a span in which a registry changes. */
  const span = async (load: keyof typeof LOADS, length: number, changing: FileRegistry): Promise<Outcome> => {
    const begin = performance.now()
    const before = changing.changes
    const timer = setInterval(() => {
      const due = before + ((performance.now() - begin) / 1000) * CHANGES
      while (changing.changes < due) changing.change()
    }, 10)
    peers.send({ port: gateway.port, seconds: length, services: SERVICES, ...LOADS[load] })
    const outcome = ((await once(peers, 'message')) as [Outcome])[0]
    clearInterval(timer)
    return outcome
  }
  await span('full', 5, another)
  const spans = { full: { still: [], changing: [] }, light: { still: [], changing: [] } } as Record<
    keyof typeof LOADS,
    Record<'still' | 'changing', Outcome[]>
  >
  const memory: number[] = []
  const live: number[] = []
  const length = seconds / ROUNDS / 4
  for (let round = 1; round <= ROUNDS; round++) {
    for (const load of ['full', 'light'] as const) {
      const { still, changing } = spans[load]
      const kinds = [
        async () => still.push(await span(load, length, another)),
        async () => changing.push(await span(load, length, registry)),
      ]
      // What comes behind what is not always the same.
      for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) await kind()
      say(
        `round ${round}, ${load}: still ${JSON.stringify(sum(still.slice(-1)))}, changing ${JSON.stringify(sum(changing.slice(-1)))}`,
      )
    }
    // What was written last is read within this.
    await pause(1000)
    memory.push(mebibytes(gateway.process.memory))
    if (round === SETTLED || round === ROUNDS) live.push(await liveHeap())
    say(`round ${round}: ${memory.at(-1)} MiB`)
  }
  const faults: string[] = []
  const compared = (load: keyof typeof LOADS): Compared => {
    const { still, changing } = spans[load]
    const [at, after] = [sum(still), sum(changing)]
    const failures = at.failures + after.failures
    if (failures > 0) faults.push(`${failures} requests failed (${load} load)`)
    if (after.p99 > MOST[load](at.p99)) faults.push(`p99 went from ${at.p99} ms to ${after.p99} ms (${load} load)`)
    return { still: at, changing: after }
  }
  const [full, light] = [compared('full'), compared('light')]
  // The least of each half: one reading may come before the collector, or behind it.
  const settled = memory.slice(SETTLED - 1)
  const half = settled.length / 2
  const grown = Math.min(...settled.slice(half)) - Math.min(...settled.slice(0, half))
  if (grown > 16) faults.push(`memory grew by ${grown.toFixed(1)} MiB`)
  const kept = live[1]! - live[0]!
  if (kept > 3) faults.push(`the live heap grew by ${kept.toFixed(1)} MiB`)
  return { full, light, changes: registry.changes, memory, live, faults }
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
