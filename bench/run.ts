// The bench: plays each scenario against Sluice and its rivals in turn, round by round, and writes bench/results.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { autocannonDriver, wrkDriver } from './load/driver.ts'
import { RedisProcess } from './load/redis-process.ts'
import type { Scenario } from './load/scenario.ts'
import { scenarios } from './load/scenarios.ts'
import { UpstreamProcess } from './load/upstream-process.ts'
import { describeAdded, describeMachine, readResults, writeReadme, writeResult } from './report.ts'
import { pin, type RunningRival } from './rivals/rival.ts'
import { DEFAULT, rivals, YARDSTICK } from './rivals/rivals.ts'
import { added, type Run, run, summarise } from './round.ts'

const USAGE = `npm run bench -- [options]
  --scenario NAME[,NAME]  ${scenarios.map(s => s.name).join(', ')} (default: all)
  --only NAME[,NAME]      a part of the name is enough: ${rivals.map(r => r.name).join(', ')} (default: all installed)
  --rounds N              rounds a scenario (5)
  --seconds S             seconds a run (3)
  --warmup S              seconds before each run that are not counted (1)
  --preheat S             seconds of load for each before the first round, for compiled code to settle (5)
  --connections N         client connections (64)
  --pin                   the last core for the proxies alone, the others for driver and upstream (taskset)
  --driver NAME           autocannon or wrk (autocannon)
  --out FOLDER            where the results go (bench/results); \`none\` writes nothing`

const { values: options } = parseArgs({
  options: {
    scenario: { type: 'string' },
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '1' },
    preheat: { type: 'string', default: '5' },
    connections: { type: 'string', default: '64' },
    driver: { type: 'string', default: 'autocannon' },
    out: { type: 'string', default: fileURLToPath(new URL('./results', import.meta.url)) },
    pin: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}

/** What clients call the proxy. */
const HOST = 'bench.test'

const rounds = count('rounds', options.rounds)
const seconds = count('seconds', options.seconds)
const warmup = Number(options.warmup)
const preheat = Number(options.preheat)
const connections = count('connections', options.connections)
const drive = { autocannon: autocannonDriver, wrk: wrkDriver }[options.driver]
if (drive === undefined) usage(`no such driver: ${options.driver}`)
if (drive === wrkDriver && !(Number.isInteger(warmup) && Number.isInteger(preheat)))
  usage('wrk runs for whole seconds: --warmup and --preheat must be whole numbers')
const chosen = choose(scenarios, options.scenario, (s, wanted) => s.name === wanted)
const invited = choose(rivals, options.only, (r, wanted) => r.name.includes(wanted))

if (options.pin) pin()
let faults = 0
for (const scenario of chosen) await play(scenario)
if (options.out !== 'none') writeReadme(options.out, readResults(options.out, scenarios))
process.exit(faults === 0 ? 0 : 1)

/** One of those who take turns; two may be of one process. */
interface Entrant {
  readonly name: string
  readonly version: string
  readonly running: RunningRival
  readonly host: string
  readonly runs: Run[]
}

/** All rounds of one scenario. Every rival stays up to the end, so that none profits from a fresh start; idle ones cost nothing. */
async function play(scenario: Scenario): Promise<void> {
  console.log(`\n${scenario.name}: ${scenario.question}`)
  const upstream = await UpstreamProcess.start()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sluice-bench-'))
  const prepared = (await scenario.prepare?.(folder)) ?? null
  const measure = ({ running, host }: Entrant, warmup: number) => {
    const headers = { host, ...prepared?.headers }
    return attempt(() =>
      run({ scenario, headers, rival: running, upstream, drive: drive!, connections, warmup, seconds }),
    )
  }
  const entrants: Entrant[] = []
  const absent: string[] = []
  let redis: RedisProcess | null = null
  try {
    const plugins = prepared?.plugins ?? scenario.plugins ?? null
    if (scenario.redis === true) redis = await RedisProcess.start(folder)
    for (const [i, rival] of invited.entries()) {
      const version = rival.version()
      const reason = version === null ? 'not installed (or not built)' : (rival.cannot?.(scenario.routes) ?? null)
      if (version === null || reason !== null) {
        absent.push(`${rival.name}: ${reason}`)
        console.log(`  ${rival.name} takes no part: ${reason}`)
        continue
      }
      const own = path.join(folder, String(i))
      fs.mkdirSync(own)
      const running = await rival.start({
        upstreamPorts: [upstream.port],
        routes: scenario.routes,
        plugins,
        discovered: scenario.discovered ?? false,
        haproxy: prepared?.haproxy ?? null,
        redisPort: redis?.port ?? null,
        folder: own,
      })
      entrants.push({ name: rival.name, version, running, host: HOST, runs: [] })
      // In the same process: no two compile the same code alike, and that may be more than what is to be seen.
      const host = running.bareHost
      if (host !== undefined) entrants.push({ name: `${rival.name}, plain`, version, running, host, runs: [] })
    }
    // Compiled code comes late: before the first round each gets a longer warm-up, which nobody counts.
    if (preheat > 0) console.log(`  ${preheat} s of load each before the first round`)
    if (preheat > 0) for (const entrant of entrants) await measure(entrant, preheat)
    for (let round = 0; round < rounds; round++) {
      // Each round begins with another one, so that none always runs after the same neighbour.
      for (let i = 0; i < entrants.length; i++) {
        const entrant = entrants[(i + round) % entrants.length]!
        const result = await measure(entrant, warmup)
        entrant.runs.push(result)
        const { cpuPerRequest, requestsPerSecond, p50, p99, fault } = result
        console.log(
          `  round ${round + 1}  ${entrant.name.padEnd(22)} ${cpuPerRequest.toFixed(1).padStart(7)} µs/request ` +
            `${requestsPerSecond.toFixed(0).padStart(7)} /s  p50 ${p50.toFixed(2)} ms  p99 ${p99.toFixed(2)} ms` +
            (fault === null ? '' : `  FAILED: ${fault}`),
        )
      }
    }
  } finally {
    for (const { running } of entrants) await running.stop()
    await redis?.stop()
    await upstream.stop()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  const runsOf = (name: string) => entrants.find(e => e.name === name)?.runs ?? null
  const summaries = entrants.map(e => summarise(e.name, e.version, e.runs, runsOf(YARDSTICK)))
  // Others may fail a scenario (uws does not pipeline, and its page says so); the default engine may not.
  faults += summaries.filter(s => s.name === DEFAULT && s.failed.length > 0).length
  for (const s of summaries) {
    console.log(
      `  ${s.name.padEnd(22)} ${s.cpuPerRequest.toFixed(1).padStart(7)} µs/request` +
        (s.ratio === null ? '' : `  ${s.ratio.toFixed(2)} × ${YARDSTICK}`) +
        (s.failed.length === 0 ? '' : `  ${s.failed.length} of ${s.rounds} runs failed`),
    )
  }
  const difference = added(runsOf(DEFAULT), runsOf(`${DEFAULT}, plain`))
  if (difference !== null) console.log(`  ${describeAdded(difference)}`)
  if (options.out !== 'none') {
    writeResult(options.out, {
      scenario: scenario.name,
      question: scenario.question,
      command: `npm run bench -- ${process.argv.slice(2).join(' ')}`.replace(/( --)? *$/, ''),
      driver: options.driver,
      rounds,
      seconds,
      warmup,
      connections,
      pipelining: scenario.pipelining,
      machine: describeMachine(),
      absent,
      summaries,
      added: difference,
    })
  }
}

/** A rival that answers wrongly fails its run; it does not end the bench. */
async function attempt(once: () => Promise<Run>): Promise<Run> {
  try {
    return await once()
  } catch (error) {
    const nothing = Number.NaN
    const fault = (error as Error).message
    return { cpuPerRequest: nothing, requestsPerSecond: 0, p50: nothing, p99: nothing, rss: nothing, ok: 0, fault }
  }
}

function choose<T>(
  all: readonly T[],
  names: string | undefined,
  fits: (one: T, wanted: string) => boolean,
): readonly T[] {
  if (names === undefined) return all
  const wanted = names.split(',')
  for (const name of wanted) if (!all.some(one => fits(one, name))) usage(`nothing is called ${name}`)
  return all.filter(one => wanted.some(name => fits(one, name)))
}

function count(name: string, text: string): number {
  const value = Number(text)
  if (!(Number.isInteger(value) && value > 0)) usage(`--${name} takes a whole number above 0`)
  return value
}

function usage(problem: string): never {
  console.error(`${problem}\n\n${USAGE}`)
  process.exit(2)
}
