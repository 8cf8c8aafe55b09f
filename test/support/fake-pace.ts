// Time for pollers that stands still until a test moves it on.
import type { Pace } from '../../src/discovery/pace.ts'

interface Sleeper {
  readonly until: number
  readonly wake: () => void
}

/** See the head of this file. */
export class FakePace implements Pace {
  #now = 0
  #sleepers: Sleeper[] = []
  /** What `random` gives. */
  chance = 0.5

  now(): number {
    return this.#now
  }

  random(): number {
    return this.chance
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const sleeper: Sleeper = { until: this.#now + ms, wake: () => done(resolve) }
      const gone = () => done(() => reject(signal.reason))
      const done = (then: () => void) => {
        signal.removeEventListener('abort', gone)
        this.#sleepers = this.#sleepers.filter(other => other !== sleeper)
        then()
      }
      signal.addEventListener('abort', gone, { once: true })
      this.#sleepers.push(sleeper)
    })
  }

  after(ms: number, run: () => void): () => void {
    const end = new AbortController()
    this.sleep(ms, end.signal).then(run, () => {})
    return () => end.abort()
  }

  /** Number of those who sleep. */
  get sleeping(): number {
    return this.#sleepers.length
  }

  /** Let `ms` pass: everybody wakes in the order of their times, and gets to run before the next. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      await settled()
      const next = this.#sleepers.reduce<Sleeper | null>((a, b) => (a === null || b.until < a.until ? b : a), null)
      if (next === null || next.until > end) break
      this.#now = Math.max(this.#now, next.until)
      next.wake()
    }
    this.#now = end
    await settled()
  }
}

/** Resolves when what can run without the passing of time has run. */
function settled(): Promise<void> {
  return new Promise(resolve => setImmediate(() => setImmediate(resolve)))
}
