// Waiting with an end: a promise or a condition that must come true in time, or the test says what did not.
//
// Time is what this process was given of it: while the machine, or this process, stands still, no time passes here. A limit
// of a second can so be what the contract says, and fails on no machine that stood still for one.
import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds between two looks at the clock while somebody waits. */
const LOOK = 10
/** The most that counts between two of them, in milliseconds. */
const MOST = 3 * LOOK

/** Who waits until so much was given. */
interface Wait {
  readonly end: number
  readonly late: () => void
}

/** Milliseconds that were given while somebody waited. */
let given = 0
let looked = 0
let looking: NodeJS.Timeout | null = null
const waits = new Set<Wait>()

function look(): void {
  const now = performance.now()
  given += Math.min(now - looked, MOST)
  looked = now
  for (const { end, late } of waits) if (given >= end) late()
}

/** Call `late` when `ms` were given; what is returned ends that. */
function after(ms: number, late: () => void): () => void {
  if (looking === null) {
    looked = performance.now()
    // Tests count what keeps the loop going: that is not this.
    looking = setInterval(look, LOOK).unref()
  }
  const wait = { end: given + ms, late }
  waits.add(wait)
  return () => {
    waits.delete(wait)
    if (waits.size > 0 || looking === null) return
    clearInterval(looking)
    looking = null
  }
}

/** Starts to count; what is returned ends that, and says how many milliseconds were given. For what may not take longer. */
export function stopwatch(): () => number {
  const end = after(Number.POSITIVE_INFINITY, () => {})
  const begun = given
  return () => {
    look()
    end()
    return given - begun
  }
}

/** Settle as `promise` does, or reject after `ms` with what `missing` says. */
export function within<T>(ms: number, promise: Promise<T>, missing: () => string): Promise<T> {
  let end = () => {}
  const late = new Promise<never>((_resolve, reject) => {
    end = after(ms, () => reject(new Error(`${missing()} (waited ${ms} ms)`)))
  })
  // A promise that nothing can settle any more would end the process before it is late.
  const alive = setInterval(() => {}, ms)
  return Promise.race([promise, late]).finally(() => {
    clearInterval(alive)
    end()
  })
}

/** Look again and again until `met` holds, for what tells nobody when it changes; reject after `ms`. */
export async function eventually(
  met: () => boolean | Promise<boolean>,
  missing: () => string,
  ms = 10_000,
): Promise<void> {
  let late = false
  const end = after(ms, () => {
    late = true
  })
  try {
    while (!(await met())) {
      if (late) throw new Error(`${missing()} (waited ${ms} ms)`)
      await sleep(5)
    }
  } finally {
    end()
  }
}

/**
 * Let `ms` pass: for tests of time itself. In steps, so that all else in this process has its turns meanwhile: after a
 * stand-still a single timer would be first in line.
 */
export async function pause(ms: number): Promise<void> {
  const steps = Math.min(10, Math.max(1, Math.floor(ms / 5)))
  for (let i = 0; i < steps; i++) await sleep(ms / steps)
}
