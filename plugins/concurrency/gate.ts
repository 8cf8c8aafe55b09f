// How many may be under way at once for one key, and who waits for a place, in the order in which they came.
import { Timer, wheel } from '../../src/plugin-api.ts'

/** One request in the queue: a node of its gate's list. */
export class Waiter {
  readonly gate: Gate
  previous: Waiter | null = null
  next: Waiter | null = null
  readonly timer: Timer
  readonly settle: (admitted: boolean) => void

  /** `settle` is called once: with true when its turn has come, with false when the wait was too long. */
  constructor(gate: Gate, wait: number, settle: (admitted: boolean) => void) {
    this.gate = gate
    this.settle = settle
    this.timer = new Timer(wheel, () => {
      gate.leave(this)
      settle(false)
    })
    this.timer.set(wait)
  }
}

/** The state of one key. */
export class Gate {
  readonly key: string
  /** Places that there are, by the configuration under which the last request came: a reload may change it. */
  max = 0
  running = 0
  waiting = 0
  #first: Waiter | null = null
  #last: Waiter | null = null

  constructor(key: string) {
    this.key = key
  }

  /** True when nothing is lost with it. */
  get idle(): boolean {
    return this.running === 0 && this.waiting === 0
  }

  /** Join the queue at its end. */
  enter(waiter: Waiter): void {
    waiter.previous = this.#last
    if (this.#last === null) this.#first = waiter
    else this.#last.next = waiter
    this.#last = waiter
    this.waiting++
  }

  /** Leave the queue, from any place in it. */
  leave(waiter: Waiter): void {
    if (waiter.previous === null) this.#first = waiter.next
    else waiter.previous.next = waiter.next
    if (waiter.next === null) this.#last = waiter.previous
    else waiter.next.previous = waiter.previous
    waiter.previous = null
    waiter.next = null
    this.waiting--
    waiter.timer.remove()
  }

  /** One is done: its place is free for the first in the queue. */
  release(): void {
    this.running--
    this.advance()
  }

  /** Whoever waits takes the places that are free, in turn. */
  advance(): void {
    while (this.running < this.max && this.#first !== null) {
      const first = this.#first
      this.leave(first)
      this.running++
      first.settle(true)
    }
  }
}

/** The gates of one place in the configuration that are not idle, by key: those under way count on over a reload. */
export class Gates extends Map<string, Gate> {
  /** Nothing to let go of: who is under way gives its place back all the same. */
  close(): void {}
}
