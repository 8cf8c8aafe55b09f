// The time that tokens and keys are measured by, in one place, so that hours can pass in a test within milliseconds.

/** See the head of this file. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Run once in `ms`; the result takes it back. Never keeps the process alive. */
  later(ms: number, run: () => void): () => void
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  later(ms, run) {
    const timer = setTimeout(run, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
