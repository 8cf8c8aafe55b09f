// What a plan costs a request: request, response and finish phase with no plugin, one and five, all synchronous.
// Run: node --import=./scripts/loader/register.mjs bench/micro/plan-run.ts
import { Exchange } from '../../src/exchange/exchange.ts'
import type { Downstream } from '../../src/http/downstream.ts'
import type { RequestHead } from '../../src/http/head.ts'
import { Plan } from '../../src/pipeline/plan.ts'
import type { Plugin } from '../../src/pipeline/plugin.ts'
import { type PhaseEnd, runFinish, runRequest, runResponse } from '../../src/pipeline/run.ts'

const ROUNDS = 15
const CALLS_A_ROUND = 500_000

let passed = 0
let touched = 0
const end: PhaseEnd = {
  requestPassed() {
    passed++
  },
  answered() {
    throw new Error('nobody answers here')
  },
  responsePassed() {
    passed++
  },
  pluginFailed(_x, _step, error) {
    throw error
  },
}

/** As light as a plugin can be, and a shape of its own each, as plugins of several kinds have. */
function plugin(i: number): Plugin {
  const made: Plugin & Record<string, unknown> = {
    [`kind${i}`]: i,
    onRequest(x) {
      touched += x.attempts + i
    },
    onResponse(x) {
      touched -= x.attempts + i
    },
    onFinish() {
      touched++
    },
  }
  return made
}

const head = { method: 'GET', path: '/', headers: [] as string[], remoteAddress: '127.0.0.1' } as unknown as RequestHead
const exchange = () =>
  new Exchange(head, {} as Downstream, { name: 'r' }, 0, null, { upstreams: new Map(), trusted: null })

/** Median of the rounds, in nanoseconds of CPU an exchange. */
function measure(plan: Plan): number {
  const times: number[] = []
  const x = exchange()
  const report = () => {
    throw new Error('nothing fails here')
  }
  for (let round = 0; round < ROUNDS; round++) {
    const before = passed
    const start = process.cpuUsage()
    for (let i = 0; i < CALLS_A_ROUND; i++) {
      x.reached = 0
      x.skipped = 0
      runRequest(plan, x, end)
      if (plan.response === null) passed++
      else runResponse(plan.response, x, end)
      if (plan.finish !== null) runFinish(plan.finish, x, null, report)
    }
    const used = process.cpuUsage(start)
    if (passed - before !== 2 * CALLS_A_ROUND)
      throw new Error('not every phase ended: the bench measures the wrong thing')
    times.push(((used.user + used.system) * 1_000) / CALLS_A_ROUND)
  }
  return times.sort((a, b) => a - b)[ROUNDS >> 1]!
}

const rows: Record<string, { 'ns an exchange': string }> = {}
for (const count of [0, 1, 5]) {
  for (const conditional of count === 0 ? [false] : [false, true]) {
    const members = Array.from({ length: count }, (_, i) => ({
      plugin: plugin(i),
      name: `p${i}`,
      when: conditional ? (x: Exchange) => x.attempts === 0 : null,
    }))
    const name = `${count} plugins${conditional ? ', each with a condition' : ''}`
    rows[name] = { 'ns an exchange': measure(new Plan(members)).toFixed(0) }
  }
}
console.table(rows)
if (touched < 0) console.log(touched)
