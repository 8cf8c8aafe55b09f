// One measured run of one rival under one scenario, and what a series of such runs comes to.
import { setTimeout as delay } from 'node:timers/promises'
import type { Driver } from './load/driver.ts'
import { cpuBetween, processTree, readCpu, readRss } from './load/process-tree.ts'
import { checkSample } from './load/sample.ts'
import type { Scenario } from './load/scenario.ts'
import type { UpstreamProcess } from './load/upstream-process.ts'
import type { RunningRival } from './rivals/rival.ts'

/** A run under this share of 2xx is a failed run: its figures say nothing. */
const LEAST_OK = 0.999

/** One run. Latencies in milliseconds, memory in bytes. */
export interface Run {
  readonly cpuPerRequest: number
  readonly requestsPerSecond: number
  readonly p50: number
  readonly p99: number
  readonly rss: number
  /** Share of answers that were 2xx. */
  readonly ok: number
  /** Why the run does not count, or null. */
  readonly fault: string | null
}

export interface RunOrder {
  readonly scenario: Scenario
  readonly headers: Readonly<Record<string, string>>
  readonly rival: RunningRival
  readonly upstream: UpstreamProcess
  readonly drive: Driver
  readonly connections: number
  readonly warmup: number
  readonly seconds: number
}

export async function run(order: RunOrder): Promise<Run> {
  const { scenario, headers, rival, upstream, connections } = order
  await checkSample(rival.port, scenario, headers, upstream)
  if (order.warmup > 0) await order.drive({ scenario, headers, port: rival.port, connections, seconds: order.warmup })
  const pids = processTree(rival.pid)
  const seenBefore = await upstream.requests()
  const cpuBefore = readCpu(pids)
  const load = await order.drive({ scenario, headers, port: rival.port, connections, seconds: order.seconds })
  // What was on its way when the clients left is still the proxy's work, and would blur the sample after it.
  const seen = (await settled(upstream)) - seenBefore
  const cpuAfter = readCpu(pids)
  const rss = readRss(pids)
  await checkSample(rival.port, scenario, headers, upstream)
  const ok = load.ok / Math.max(1, load.ok + load.failed)
  // At the end up to this many were on their way: done by the proxy, not seen by the client.
  const open = connections * scenario.pipelining * 2
  let fault: string | null = null
  if (ok < LEAST_OK) fault = `${(ok * 100).toFixed(2)} % of the answers were 2xx`
  else if (seen < load.ok) fault = `the clients got ${load.ok} answers, the upstream saw ${seen} requests`
  else if (seen > load.ok + open) fault = `the upstream saw ${seen} requests for ${load.ok} answers`
  return {
    cpuPerRequest: cpuBetween(cpuBefore, cpuAfter) / Math.max(1, seen),
    requestsPerSecond: load.ok / load.seconds,
    p50: load.p50,
    p99: load.p99,
    rss,
    ok,
    fault,
  }
}

/** The upstream's count once it has stood still for a tenth of a second. */
async function settled(upstream: UpstreamProcess): Promise<number> {
  let last = await upstream.requests()
  for (;;) {
    await delay(100)
    const now = await upstream.requests()
    if (now === last) return now
    last = now
  }
}

/** What the runs of one rival come to: medians over the rounds that count. */
export interface Summary {
  readonly name: string
  readonly version: string
  readonly rounds: number
  readonly failed: readonly string[]
  readonly cpuPerRequest: number
  readonly lowest: number
  readonly highest: number
  /** Median of the ratios to the yardstick in the same round; null where it did not run. */
  readonly ratio: number | null
  readonly requestsPerSecond: number
  readonly p50: number
  readonly p99: number
  readonly rss: number
  readonly ok: number
}

/** `runs[i]` and `yardstick[i]` are of the same round; null marks a run that threw. */
export function summarise(
  name: string,
  version: string,
  runs: readonly Run[],
  yardstick: readonly Run[] | null,
): Summary {
  const good = runs.filter(r => r.fault === null)
  const ratios: number[] = []
  for (const [i, mine] of runs.entries()) {
    const theirs = yardstick?.[i]
    if (mine.fault === null && theirs !== undefined && theirs.fault === null) {
      ratios.push(mine.cpuPerRequest / theirs.cpuPerRequest)
    }
  }
  const cpu = good.map(r => r.cpuPerRequest)
  return {
    name,
    version,
    rounds: runs.length,
    failed: runs.flatMap(r => (r.fault === null ? [] : [r.fault])),
    cpuPerRequest: median(cpu),
    lowest: Math.min(...cpu),
    highest: Math.max(...cpu),
    ratio: ratios.length === 0 ? null : median(ratios),
    requestsPerSecond: median(good.map(r => r.requestsPerSecond)),
    p50: median(good.map(r => r.p50)),
    p99: median(good.map(r => r.p99)),
    rss: median(runs.map(r => r.rss)),
    ok: Math.min(...runs.map(r => r.ok)),
  }
}

/** What one of two adds to the other, in microseconds a request: the median over the rounds, and where it lies in truth. */
export interface Added {
  readonly median: number
  /** Bounds that hold the true median in 95 of 100 benches: order statistics, so that no kind of noise is assumed. */
  readonly low: number
  readonly high: number
}

/** `mine[i]` and `plain[i]` are of the same round; null where one of them did not run. */
export function added(mine: readonly Run[] | null, plain: readonly Run[] | null): Added | null {
  if (mine === null || plain === null) return null
  const differences: number[] = []
  for (const [i, { fault, cpuPerRequest }] of mine.entries()) {
    const other = plain[i]!
    if (fault === null && other.fault === null) differences.push(cpuPerRequest - other.cpuPerRequest)
  }
  if (differences.length === 0) return null
  differences.sort((a, b) => a - b)
  const n = differences.length
  const cut = Math.max(0, Math.floor(n / 2 - 0.98 * Math.sqrt(n)))
  return { median: median(differences), low: differences[cut]!, high: differences[n - 1 - cut]! }
}

/** Middle value; the mean of the two middle ones for an even count; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
