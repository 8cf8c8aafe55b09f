// A clock whose hours pass when a test says so; what is due is run in order.
import type { Clock } from '../../plugins/jwt/clock.ts'

/** See the head of this file. Begins at the machine's time. */
export class FakeClock implements Clock {
  #now = Date.now()
  #due: { readonly at: number; readonly run: () => void }[] = []

  now(): number {
    return this.#now
  }

  later(ms: number, run: () => void): () => void {
    const entry = { at: this.#now + ms, run }
    this.#due.push(entry)
    return () => {
      this.#due = this.#due.filter(other => other !== entry)
    }
  }

  /** What waits to be run. */
  get pending(): number {
    return this.#due.length
  }

  /** Milliseconds until the next thing is due; Infinity when nothing is. */
  get next(): number {
    return Math.min(...this.#due.map(entry => entry.at)) - this.#now
  }

  /** Let `ms` pass. */
  pass(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const [first] = this.#due.filter(entry => entry.at <= end).sort((a, b) => a.at - b.at)
      if (first === undefined) break
      this.#due = this.#due.filter(entry => entry !== first)
      this.#now = first.at
      first.run()
    }
    this.#now = end
  }
}
