// What picking an endpoint costs, by balancer and number of endpoints: nanoseconds a pick, and milliseconds to make one anew.
// Run: node --import=./scripts/loader/register.mjs bench/micro/balancer-pick.ts
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Timer, wheel } from '../../src/clock.ts'
import { BALANCERS } from '../../src/upstream/balance/algorithms.ts'
import type { MakeBalancer } from '../../src/upstream/balance/balancer.ts'
import { Endpoint } from '../../src/upstream/endpoint.ts'
import type { EndpointPool } from '../../src/upstream/transport/transport.ts'

const ROUNDS = 7
const PICKS = 1_000_000
/** Requests under way at any time: each pick ends the one made so many picks before. */
const UNDER_WAY = 64

const POOL: EndpointPool = {
  ...{ open: 0, idle: 0, waiting: 0, full: false },
  send() {
    throw new Error('nothing is sent here')
  },
  close() {},
}

/** Weights from 1 to 5, or all the same; each has answered once. */
function endpoints(count: number, uneven: boolean): Endpoint[] {
  return Array.from({ length: count }, (_, i) => {
    const host = `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`
    const weight = uneven ? 1 + (i % 5) : 1
    const endpoint = new Endpoint({ address: `${host}:8080`, host, port: 8080, weight, labels: {} }, POOL)
    endpoint.answeredIn(5 + (i % 7), performance.now())
    return endpoint
  })
}

function cpu(run: () => void): number {
  const start = process.cpuUsage()
  run()
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1000
}

function median(times: number[]): number {
  return times.sort((a, b) => a - b)[times.length >> 1]!
}

/** Nanoseconds a pick, and for the loop around it: the last row says how many those are. */
function pick(make: MakeBalancer, all: readonly Endpoint[]): number {
  const balancer = make(all, null)
  const underWay: (Endpoint | null)[] = Array(UNDER_WAY).fill(null)
  const round = (picks: number) => {
    for (let i = 0; i < picks; i++) {
      const ended = underWay[i % UNDER_WAY]!
      if (ended !== null) ended.inFlight--
      const picked = balancer.pick(Math.imul(i, 0x9e37_79b1) >>> 0, null)
      if (picked !== null) picked.inFlight++
      underWay[i % UNDER_WAY] = picked
    }
  }
  round(PICKS / 4)
  const times = Array.from({ length: ROUNDS }, () => (cpu(() => round(PICKS)) * 1e6) / PICKS)
  for (const endpoint of underWay) if (endpoint !== null) endpoint.inFlight--
  return median(times)
}

/** Milliseconds to make one over endpoints of which one's share has just changed. */
function build(make: MakeBalancer, all: readonly Endpoint[]): number {
  let balancer = make(all, null)
  const once = () => {
    all[0]!.share = all[0]!.share === all[0]!.weight ? all[0]!.weight * 0.35 : all[0]!.weight
    balancer = make(all, balancer)
  }
  const repeat = all.length > 1000 ? 5 : 40
  for (let i = 0; i < repeat; i++) once()
  const times = Array.from({ length: ROUNDS }, () => {
    const spent = cpu(() => {
      for (let i = 0; i < repeat; i++) once()
    })
    return spent / repeat
  })
  all[0]!.share = all[0]!.weight
  return median(times)
}

/** Picks in turn without any thought: what the loop of `pick` costs by itself. */
const loopAlone: MakeBalancer = endpoints => {
  let at = 0
  return {
    endpoints,
    timed: false,
    pick() {
      at = at === endpoints.length - 1 ? 0 : at + 1
      return endpoints[at]!
    },
  }
}

const CASES: Record<string, MakeBalancer> = { ...BALANCERS, 'the loop alone': loopAlone }
const COUNTS = [3, 100, 10_000]

/** A row by the case's name, and whether the shares are uneven. Each in a process of its own, as a pick there is compiled. */
function measure(name: string, uneven: boolean): Record<string, string> {
  // As it is under traffic, when the transports' timers keep the wheel turning.
  new Timer(wheel, () => {}).set(600_000)
  const make = CASES[name]!
  const row: Record<string, string> = {}
  for (const count of COUNTS) row[`${count}`] = `${pick(make, endpoints(count, uneven)).toFixed(0)} ns`
  for (const count of COUNTS) row[`made, ${count}`] = `${build(make, endpoints(count, uneven)).toFixed(2)} ms`
  return row
}

const [name, shares] = process.argv.slice(2)
if (name !== undefined) {
  console.log(JSON.stringify(measure(name, shares === 'uneven')))
  process.exit(0)
}
const rows: Record<string, Record<string, string>> = {}
for (const name of Object.keys(CASES)) {
  for (const shares of ['even', 'uneven']) {
    const run = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), name, shares], {
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
    })
    rows[`${name}, ${shares}`] = JSON.parse(run.stdout)
  }
}
console.table(rows)
