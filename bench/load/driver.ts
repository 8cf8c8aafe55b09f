// Drives load against one port, with autocannon in worker threads or with wrk, and says what the clients saw.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import type { AutocannonOrder, AutocannonTally } from './autocannon-worker.ts'
import { BUCKETS, bucketFloor } from './histogram.ts'
import type { Scenario } from './scenario.ts'

/** What the clients saw in one run. Times in milliseconds. */
export interface LoadResult {
  readonly ok: number
  readonly failed: number
  readonly seconds: number
  readonly p50: number
  readonly p99: number
}

export interface LoadOrder {
  readonly scenario: Scenario
  /** With `host`. */
  readonly headers: Readonly<Record<string, string>>
  readonly port: number
  readonly connections: number
  readonly seconds: number
}

export type Driver = (order: LoadOrder) => Promise<LoadResult>

/** Worker threads of Node 20 do not inherit the TypeScript loader: each registers its own. */
const BOOT = `import(${JSON.stringify(new URL('../../scripts/loader/register.mjs', import.meta.url).href)})
  .then(() => import(${JSON.stringify(new URL('./autocannon-worker.ts', import.meta.url).href)}))`

/** Two threads: one is soon the limit, and more would only take from the proxy on small machines. */
const THREADS = 2

/** autocannon, its clients split over worker threads. */
export const autocannonDriver: Driver = async order => {
  const tallies = await Promise.all(
    Array.from({ length: THREADS }, async (_, i): Promise<AutocannonTally> => {
      const share = Math.floor(order.connections / THREADS) + (i < order.connections % THREADS ? 1 : 0)
      const { method, paths, body, pipelining } = order.scenario
      const workerData: AutocannonOrder = {
        url: `http://127.0.0.1:${order.port}`,
        method,
        // Each thread begins elsewhere in the list, so that the threads do not run in step.
        paths: [...paths.slice((paths.length / THREADS) * i), ...paths.slice(0, (paths.length / THREADS) * i)],
        body: body === null ? null : body.toString('latin1'),
        headers: order.headers,
        pipelining,
        connections: share,
        seconds: order.seconds,
      }
      const worker = new Worker(BOOT, { eval: true, workerData })
      const [tally] = (await once(worker, 'message')) as [AutocannonTally]
      await worker.terminate()
      return tally
    }),
  )
  const histogram = new Float64Array(BUCKETS)
  let ok = 0
  let failed = 0
  let seconds = 0
  for (const tally of tallies) {
    ok += tally.ok
    failed += tally.failed
    seconds = Math.max(seconds, tally.seconds)
    for (let i = 0; i < BUCKETS; i++) histogram[i]! += tally.histogram[i]!
  }
  return { ok, failed, seconds, p50: percentile(histogram, 0.5), p99: percentile(histogram, 0.99) }
}

function percentile(histogram: Float64Array, share: number): number {
  const total = histogram.reduce((sum, n) => sum + n, 0)
  let seen = 0
  for (let i = 0; i < histogram.length; i++) {
    seen += histogram[i]!
    if (total > 0 && seen >= total * share) return bucketFloor(i)
  }
  return Number.NaN
}

/** wrk: a tenth of autocannon's CPU, for machines where that leaves the proxy too little. One thread, pipelining by script. */
export const wrkDriver: Driver = async order => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sluice-bench-wrk-'))
  try {
    const script = path.join(folder, 'load.lua')
    fs.writeFileSync(script, wrkScript(order.scenario, order.headers))
    const { stdout } = await promisify(execFile)('wrk', [
      '--threads=1',
      `--connections=${order.connections}`,
      `--duration=${order.seconds}s`,
      '--latency',
      `--script=${script}`,
      `http://127.0.0.1:${order.port}/`,
    ])
    const result = /RESULT (\d+) (\d+) (\d+) (\S+) (\S+)/.exec(stdout)
    if (result === null) throw new Error(`wrk printed no result:\n${stdout}`)
    const [, total, failed, microseconds, p50, p99] = result.map(Number) as number[]
    // One lost connection counts as several errors.
    return {
      ok: Math.max(0, total! - failed!),
      failed: failed!,
      seconds: microseconds! / 1e6,
      p50: p50! / 1000,
      p99: p99! / 1000,
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

function wrkScript(scenario: Scenario, headers: Readonly<Record<string, string>>): string {
  const body = scenario.body === null ? 'nil' : `string.rep("x", ${scenario.body.length})`
  // wrk adds a Host of its own unless it finds one that is written so.
  const written = (name: string) => JSON.stringify(name === 'host' ? 'Host' : name)
  const fields = Object.entries(headers).map(([name, value]) => `[${written(name)}] = ${JSON.stringify(value)}`)
  return `local paths = { ${scenario.paths.map(p => JSON.stringify(p)).join(', ')} }
local requests = {}
local n = 0
init = function()
  for i, p in ipairs(paths) do requests[i] = wrk.format("${scenario.method}", p, { ${fields.join(', ')} }, ${body}) end
end
request = function()
  local out = ""
  for _ = 1, ${scenario.pipelining} do
    n = n % #requests + 1
    if ${scenario.pipelining} == 1 then return requests[n] end
    out = out .. requests[n]
  end
  return out
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %f %f\\n", summary.requests, e.status + e.read + e.write + e.timeout + e.connect,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
`
}
