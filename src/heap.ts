// How V8 keeps the heap of a gateway: main.ts imports this before what fills it.
import { performance } from 'node:perf_hooks'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/** Bytes of the young generation: past this it costs memory and long pauses, and saves nothing (docs/decisions/0013). */
const YOUNG = 4 * 1024 * 1024
/** Milliseconds between two looks at it. */
const LOOK = 250
/** Share of the time between two looks that the event loop is busy under load. */
const BUSY = 0.05
/** So many busy looks in a row are load: a start is shorter. */
const LONG = 8
/** Bytes that are made to live on at the most, so that it grows. */
const MOST = 32 * 1024 * 1024
/** Bytes of one of the objects that do: large ones have a space of their own. */
const SOME = 8 * 1024

// Objects of a site whose first ones lived long are made in the old generation from then on. Under load that hits what
// each request is made of, and costs a sixth of a request's time in the collector (docs/decisions/0011).
setFlagsFromString('--no-allocation-site-pretenuring')

// Whoever sets a size of their own knows better.
const options = [...process.execArgv, process.env.NODE_OPTIONS ?? '']
const chosen = (what: RegExp) => options.some(option => what.test(option))

// A full collection marks all that lives, which holds up requests: not before there is as much again, instead of 8 MiB more
// (docs/decisions/0015).
if (!chosen(/heap[-_]growing/)) setFlagsFromString('--heap-growing-percent=100')

if (!chosen(/semi[-_]space/)) {
  // What is loaded at the start lives on, which V8 takes as a reason to let the young generation grow.
  setGrowth(1)
  // The heap of a new thread makes V8 set it to 2 for all of them.
  process.on('worker', worker => worker.once('online', () => setGrowth(1)))
  let last = performance.eventLoopUtilization()
  let busy = 0
  setInterval(() => {
    const now = performance.eventLoopUtilization()
    busy = performance.eventLoopUtilization(now, last).utilization > BUSY ? busy + 1 : 0
    last = now
    setGrowth(1)
    // Again and again: V8 lets it shrink when idle.
    if (busy >= LONG && youngSize() < YOUNG * 0.75) grow()
  }, LOOK).unref()
}

/**
 * Let it grow, here and now: were V8 allowed to do so until the next look, whatever lives on meanwhile, such as all
 * endpoints of a large registry, would take it far past its size.
 */
function grow(): void {
  setGrowth(2)
  const kept: number[][] = []
  while (kept.length * SOME < MOST && youngSize() < YOUNG * 0.75) {
    kept.push(...Array.from({ length: 32 }, () => new Array(SOME / 8).fill(0)))
  }
  setGrowth(1)
}

/** V8 reads this each time that it thinks of growing; the largest size itself it reads only at its start. */
function setGrowth(factor: number): void {
  setFlagsFromString(`--semi-space-growth-factor=${factor}`)
}

/** Bytes that fit into the young generation, a little less than its nominal size. */
function youngSize(): number {
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
  return space === undefined ? YOUNG : space.space_used_size + space.space_available_size
}
