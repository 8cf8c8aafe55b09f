// The young generation stays small where much lives on, and the old one may double, unless whoever started the process chose otherwise.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { ROOT } from '../support/root.ts'

const run = promisify(execFile)
const heap = pathToFileURL(join(ROOT, 'dist/src/heap.js')).href

/**
 * Prints MiB that the young generation holds: at first, behind 64 MiB that live on as soon as there is another thread, when
 * the loop was busy for a while in which next to nothing lives on, behind 64 MiB more.
 */
const PROGRAM = `
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { getHeapSpaceStatistics } from 'node:v8'
const kept = []
const keep = () => { for (let i = 0; i < 1024; i++) kept.push(new Array(8192).fill(i)) }
const size = () => {
  const { space_used_size, space_available_size } = getHeapSpaceStatistics().find(space => space.space_name === 'new_space')
  return Math.round((space_used_size + space_available_size) / 1048576)
}
if (process.argv[1] === 'held') await import(${JSON.stringify(heap)})
// Right behind so much allocation Node 24 counts pages that are no part of it any more.
const settled = async () => { await setTimeout(100); return size() }
const sizes = [size()]
await setTimeout(600)
const worker = new Worker('', { eval: true })
await once(worker, 'online')
keep()
sizes.push(await settled())
const started = performance.now()
while (size() < 4 && performance.now() - started < 20_000) {
  for (const from = performance.now(); performance.now() - from < 5; );
  await setTimeout(20)
}
sizes.push(size())
await setTimeout(500)
keep()
sizes.push(await settled())
console.log(JSON.stringify(sizes))
`

async function sizes(held: 'held' | 'free', ...options: string[]): Promise<number[]> {
  const { stdout } = await run(process.execPath, [...options, '--input-type=module', '-e', PROGRAM, '--', held], {
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  return JSON.parse(stdout) as number[]
}

t.test('work makes the young generation grow to 4 MiB, and what lives on no further', async t => {
  const [free, held, chosen] = await Promise.all([
    sizes('free'),
    sizes('held'),
    sizes('held', '--max-semi-space-size=8'),
  ])
  t.ok(free![1]! >= 8, `V8 by itself: ${free}`)
  // It may grow once at the start, before that is held.
  t.ok(held![0]! <= 2 && held![1]! <= 4, `not by what lives on: ${held}`)
  t.same(held!.slice(2), [4, 4], `to 4 MiB and no further: ${held}`)
  t.ok(chosen![1]! >= 8, `as chosen at the start: ${chosen}`)
})

/**
 * Prints how many full collections there are while 64 MiB live, and four times as much dies old: in so short a time V8 by
 * itself would let the heap grow fourfold.
 */
const CHURN = `
import { PerformanceObserver, constants } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
if (process.argv[1] === 'held') await import(${JSON.stringify(heap)})
const kept = []
const one = i => Array.from({ length: 64 }, (_, j) => ({ i, j, more: [i, j] }))
for (let i = 0; i < 8192; i++) kept.push(one(i))
globalThis.gc()
let full = 0
const count = entries => { for (const entry of entries) if (entry.detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) full++ }
const observer = new PerformanceObserver(list => count(list.getEntries()))
observer.observe({ entryTypes: ['gc'] })
for (let i = 0; i < 8192 * 4; i++) {
  kept[i % 8192] = one(i)
  if (i % 512 === 0) await setTimeout(1)
}
await setTimeout(50)
count(observer.takeRecords())
console.log(full)
`

async function fullCollections(held: 'held' | 'free', ...options: string[]): Promise<number> {
  const args = ['--expose-gc', ...options, '--input-type=module', '-e', CHURN, '--', held]
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, NODE_OPTIONS: '' } })
  return Number(stdout)
}

t.test('the old generation may double before all of it is collected', async t => {
  const [free, held, chosen] = await Promise.all([
    fullCollections('free'),
    fullCollections('held'),
    fullCollections('held', '--heap-growing-percent=20'),
  ])
  t.ok(free < held, `V8 by itself: ${free}, held: ${held}`)
  t.ok(held < chosen, `held: ${held}, as chosen at the start: ${chosen}`)
})
