// What finding a route costs, by number of routes and kind of pattern: nanoseconds a request, one core.
// Run: node --import=./scripts/loader/register.mjs bench/micro/route-match.ts
import type { RequestHead } from '../../src/http/head.ts'
import { normalizePath } from '../../src/http/path.ts'
import { RouteTableBuilder } from '../../src/route/table.ts'

const REQUESTS = 10_000
const ROUNDS = 7
const CALLS_A_ROUND = 400_000

/** A string as the parser makes one: flat and never looked up before, so that its hash is paid for as it is in service. */
function fresh(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

function request(host: string, path: string): RequestHead {
  return {
    method: 'GET',
    rawPath: path,
    path,
    query: '',
    hasQuery: false,
    minor: 1,
    secure: false,
    host,
    remoteAddress: '127.0.0.1',
    headers: ['user-agent', 'bench', 'accept', '*/*'],
    bodyLength: 0,
    hasUnderscore: false,
    acceptsTrailers: false,
  }
}

const KINDS: Record<string, [pattern: (i: number) => string, path: (i: number) => string]> = {
  exact: [i => `/api/v1/resource${i}/items`, i => `/api/v1/resource${i}/items`],
  param: [i => `/api/v1/resource${i}/:id`, i => `/api/v1/resource${i}/${i * 7}`],
  prefix: [i => `/api/v1/resource${i}/*`, i => `/api/v1/resource${i}/items/${i}`],
}

/** Median of the rounds, in nanoseconds of CPU a call: others may use the machine too. `prepare` is not counted. */
function measure<T>(prepare: () => T[], call: (one: T) => unknown): number {
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    let spent = 0
    for (let calls = 0; calls < CALLS_A_ROUND; calls += REQUESTS) {
      const batch = prepare()
      const start = process.cpuUsage()
      for (let i = 0; i < batch.length; i++) {
        if (call(batch[i]!) === null) throw new Error('nothing found: the bench measures the wrong thing')
      }
      const used = process.cpuUsage(start)
      spent += used.user + used.system
    }
    times.push((spent * 1_000) / CALLS_A_ROUND)
  }
  return times.sort((a, b) => a - b)[ROUNDS >> 1]!
}

const rows: Record<string, Record<string, string>> = {}
for (const [kind, [pattern, path]] of Object.entries(KINDS)) {
  rows[kind] = {}
  for (const count of [10, 1_000, 100_000]) {
    const builder = new RouteTableBuilder<number>()
    const start = performance.now()
    for (let i = 0; i < count; i++) {
      builder.add({ host: ['api.example.com'], path: [pattern(i)], methods: ['GET', 'POST'] }, i, i)
    }
    const table = builder.build()
    const built = performance.now() - start
    const prepare = () =>
      Array.from({ length: REQUESTS }, () => {
        const i = Math.floor(Math.random() * count)
        return request(fresh('api.example.com'), fresh(path(i)))
      })
    rows[kind][`${count} routes`] = `${measure(prepare, head => table.findEntry(head)).toFixed(0)} ns`
    rows[kind][`built ${count}`] = `${built.toFixed(0)} ms`
  }
}
// What the memory of the machine allows: a single lookup of the path among as many.
rows['one Map.get'] = {}
for (const count of [10, 1_000, 100_000]) {
  const [pattern, path] = KINDS['exact']!
  const map = new Map(Array.from({ length: count }, (_, i) => [pattern(i), i]))
  const prepare = () => Array.from({ length: REQUESTS }, () => fresh(path(Math.floor(Math.random() * count))))
  rows['one Map.get'][`${count} routes`] = `${measure(prepare, text => map.get(text) ?? null).toFixed(0)} ns`
}
console.table(rows)

const texts = { clean: '/api/v1/resource/1234567/items', escaped: '/api/v1/resource/caf%c3%a9/it' }
const normalised: Record<string, string> = {}
for (const [kind, text] of Object.entries(texts)) {
  const prepare = () => Array.from({ length: REQUESTS }, () => fresh(text))
  normalised[kind] = `${measure(prepare, raw => normalizePath(raw, false)).toFixed(0)} ns`
}
console.table({ 'normalizePath, 30 characters': normalised })
