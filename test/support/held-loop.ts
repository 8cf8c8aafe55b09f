// The longest that a thread held its event loop up: of the time that it ran, because what others on the machine take is no fault of its.
import { readFileSync } from 'node:fs'

/** Milliseconds that the main thread of this process has run. */
function ran(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ', 1)[0]) / 1e6
}

/** Watches the main thread from its making to `stop`. */
export class HeldLoop {
  #before = ran()
  #longest = 0
  readonly #timer = setInterval(() => this.#look(), 1).unref()

  #look(): void {
    const now = ran()
    this.#longest = Math.max(this.#longest, now - this.#before)
    this.#before = now
  }

  /** Longest run between two looks since the last call, in milliseconds. */
  take(): number {
    this.#look()
    const longest = this.#longest
    this.#longest = 0
    return longest
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
