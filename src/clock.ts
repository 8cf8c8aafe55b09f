// Coarse time and one timer wheel: every timeout of the data path is a node on it, never a setTimeout of its own.

/** Milliseconds between two turns: the precision of every timeout. */
const TICK = 20
const SLOTS = 256
const TURN = TICK * SLOTS

/**
 * A deadline that can be moved for the price of one field write. Moving it later is lazy: the node stays where it is
 * linked and is looked at again when its slot comes by (Varghese and Lauck 1987, scheme 6, with lazy re-insertion).
 */
export class Timer {
  /** Absolute time in `Wheel.now` milliseconds, or Infinity when unset. */
  deadline = Number.POSITIVE_INFINITY
  next: Timer | null = null
  previous: Timer | null = null
  /** Slot time at which the node will be looked at; 0 while it is not linked. */
  visit = 0
  readonly wheel: Wheel
  readonly fire: () => void

  /** `fire` is called once per `set`, from the event loop, as late as the loop is busy, and early by no more than half
   * a tick against `Wheel.now`, which itself is up to a tick old. */
  constructor(wheel: Wheel, fire: () => void) {
    this.wheel = wheel
    this.fire = fire
  }

  /** Fire in `ms` from now, instead of whatever was set; Infinity is `clear`. */
  set(ms: number): void {
    if (ms === Number.POSITIVE_INFINITY) {
      this.deadline = ms
      return
    }
    const wheel = this.wheel
    if (wheel.running === null) wheel.start()
    const deadline = wheel.now + ms
    this.deadline = deadline
    if (this.visit === 0) wheel.link(this)
    else if (deadline < this.visit) {
      wheel.unlink(this)
      wheel.link(this)
    }
  }

  /** Do not fire. The node is dropped when its slot comes by; cheap enough for every request. */
  clear(): void {
    this.deadline = Number.POSITIVE_INFINITY
  }

  /** Do not fire and let go of the owner at once: when the owner ends. */
  remove(): void {
    this.deadline = Number.POSITIVE_INFINITY
    if (this.visit !== 0) this.wheel.unlink(this)
  }
}

/** A hashed timer wheel that ticks only while a timer is linked. */
export class Wheel {
  /** Milliseconds of a monotonic clock, refreshed each tick: coarse on purpose. Valid while a timer is linked. */
  now: number
  running: NodeJS.Timeout | null = null
  readonly #slots: (Timer | null)[] = new Array(SLOTS).fill(null)
  #linked = 0
  #visited = 0
  readonly #time: () => number

  /** `time` reads a monotonic clock in milliseconds. */
  constructor(time: () => number = () => performance.now()) {
    this.#time = time
    this.now = time()
  }

  /** Number of linked timers; 0 when nothing waits. */
  get size(): number {
    return this.#linked
  }

  /** The current time of this clock, also while it stands still. */
  time(): number {
    return this.running === null ? this.#time() : this.now
  }

  start(): void {
    this.now = this.#time()
    this.#visited = Math.floor(this.now / TICK)
    this.running = setInterval(() => this.#tick(), TICK)
    this.running.unref()
  }

  #tick(): void {
    const now = this.#time()
    if (now - this.now <= 2 * TICK) this.turn()
    else {
      // The loop stood still, and timers come before sockets in it: what has arrived meanwhile may be what is waited for.
      this.now = now
      setImmediate(() => this.turn())
    }
  }

  link(timer: Timer): void {
    const wanted = Math.min(timer.deadline, this.now + TURN - TICK)
    const turn = Math.max(Math.ceil(wanted / TICK), this.#visited + 1)
    const slot = turn % SLOTS
    timer.visit = turn * TICK
    timer.previous = null
    const head = this.#slots[slot]!
    timer.next = head
    if (head !== null) head.previous = timer
    this.#slots[slot] = timer
    this.#linked++
  }

  unlink(timer: Timer): void {
    if (timer.previous !== null) timer.previous.next = timer.next
    else this.#slots[(timer.visit / TICK) % SLOTS] = timer.next
    if (timer.next !== null) timer.next.previous = timer.previous
    timer.next = null
    timer.previous = null
    timer.visit = 0
    this.#linked--
  }

  /** Fire what is due. Called by the wheel itself. */
  turn(): void {
    this.now = this.#time()
    const until = Math.floor(this.now / TICK)
    // A loop that was blocked for more than a turn has to see each slot once, not each missed tick.
    if (until - this.#visited > SLOTS) this.#visited = until - SLOTS
    while (this.#visited < until) {
      this.#visited++
      this.#visit(this.#visited % SLOTS)
    }
    if (this.#linked === 0 && this.running !== null) {
      clearInterval(this.running)
      this.running = null
    }
  }

  #visit(slot: number): void {
    let timer = this.#slots[slot]!
    this.#slots[slot] = null
    // Detach the whole slot first: a fired timer may set itself, or remove another of this very slot.
    const due: Timer[] = []
    while (timer !== null) {
      const next: Timer | null = timer.next
      timer.next = null
      timer.previous = null
      timer.visit = 0
      this.#linked--
      due.push(timer)
      timer = next as Timer
    }
    for (const each of due) {
      if (each.visit !== 0 || each.deadline === Number.POSITIVE_INFINITY) continue
      if (each.deadline > this.now + TICK / 2) this.link(each)
      else {
        each.deadline = Number.POSITIVE_INFINITY
        each.fire()
      }
    }
  }
}

/** The process's one wheel. */
export const wheel = new Wheel()
