// When a registry is asked again: intervals with jitter, and a backoff with full jitter while it does not answer.
import { waitAtMost } from './abortable.ts'

/** Longest pause after failures, in milliseconds. */
const LONGEST_BACKOFF = 30_000
const FIRST_BACKOFF = 500
/** A registry that waits for changes is asked once in this time: what changes meanwhile comes as one. */
export const GAP = 50
/** So many answers in a row may come at once and say nothing new; then comes one in LEAST_WAIT. */
export const BURST = 2
/** A registry that was to wait and answers sooner, with nothing new, does not wait: it is asked after the interval. */
export const LEAST_WAIT = 1_000
/** DNS names may say 0; no registry is asked more often for the sake of a TTL. */
const LEAST_TTL = 5_000
const JITTER = 0.1

/** Time as the poller sees it; tests have one of their own. */
export interface Pace {
  /** Milliseconds of a monotonic clock. */
  now(): number
  /** A number in [0, 1). */
  random(): number
  /** Rejects when aborted. Does not keep the process alive. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Call `run` after the time, unless what is returned is called before. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void
}

/** The real one. */
export const realPace: Pace = {
  now: () => performance.now(),
  random: Math.random,
  sleep: (ms, signal) => waitAtMost(ms, signal).done,
  after(ms, run) {
    const timer = setTimeout(run, ms).unref()
    return () => clearTimeout(timer)
  },
}

/** Milliseconds to the next poll after an answer: a registry's own TTL counts when it is shorter than the interval. */
export function afterAnswer(interval: number, ttl: number | undefined, random: number): number {
  // Only earlier, so that the interval is a promise.
  const jitter = 1 - JITTER * random
  return Math.min(interval * jitter, ttl === undefined ? interval : Math.max(ttl * jitter, LEAST_TTL))
}

/** Milliseconds to the next poll after `failures` in a row: full jitter (Brooker 2015), and never at once. */
export function afterFailure(failures: number, random: number): number {
  const most = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** Math.min(failures - 1, 10))
  return Math.max(GAP, most * random)
}
