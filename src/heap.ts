// How V8 keeps the heap of a gateway: main.ts imports this before what fills it.
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/** Bytes of the young generation: past this it costs memory and long pauses, and saves nothing (docs/decisions/0013). */
const YOUNG = 4 * 1024 * 1024
/** Milliseconds between two looks at it, in which traffic does not let it grow twice. */
const LOOK = 250

// Objects of a site whose first ones lived long are made in the old generation from then on. Under load that hits what
// each request is made of, and costs a sixth of a request's time in the collector (docs/decisions/0011).
setFlagsFromString('--no-allocation-site-pretenuring')

// Whoever sets a size of their own knows better.
const options = [...process.execArgv, process.env.NODE_OPTIONS ?? '']
if (!options.some(option => /semi[-_]space/.test(option))) {
  // What is loaded at the start lives on, which V8 takes as a reason to let the young generation grow.
  setGrowth(false)
  setInterval(() => setGrowth(youngSize() < YOUNG * 0.75), LOOK).unref()
}

/** V8 reads this each time that it thinks of growing; the largest size itself it reads only at its start. */
function setGrowth(allowed: boolean): void {
  setFlagsFromString(`--semi-space-growth-factor=${allowed ? 2 : 1}`)
}

/** Bytes that fit into the young generation, a little less than its nominal size. V8 lets it shrink when idle. */
function youngSize(): number {
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
  return space === undefined ? YOUNG : space.space_used_size + space.space_available_size
}
