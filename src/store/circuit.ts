// Whether a shared store is asked at all: the requests that wait for it, their one timer, and the switch after three failures.

/** Failures in a row after which nobody waits any more. */
const FAILURES = 3

/** A question on its way to a store: settled exactly once, by its answer or by its circuit. */
export interface Asked {
  /** When its time is up, on the clock of `performance.now`. */
  deadline: number
  /** True once it is settled; whatever comes then is too late. */
  settled: boolean
  /** Settle it without the store. */
  giveUp(): void
}

/** What a circuit tells of. */
export interface CircuitOwner {
  /** Three failures in a row: nothing is asked until `probe` finds the store well. */
  opened(circuit: Circuit, reason: string): void
  closed(circuit: Circuit): void
}

/** One server's circuit. */
export class Circuit {
  readonly node: string
  readonly #owner: CircuitOwner
  readonly #budget: number
  #failures = 0
  /** True while the store is not asked. */
  open = false
  /** A tag whose keys live on this server, for the probe. */
  tag = ''
  /** In the order of their deadlines. */
  #waiting: Asked[] = []
  #head = 0
  #timer: NodeJS.Timeout | null = null

  constructor(node: string, budget: number, owner: CircuitOwner) {
    this.node = node
    this.#budget = budget
    this.#owner = owner
  }

  /** A question goes out. */
  begin(asked: Asked): void {
    asked.deadline = performance.now() + this.#budget
    this.#waiting.push(asked)
    if (this.#timer === null) this.#arm(this.#budget)
  }

  /** An answer came in time. */
  succeeded(): void {
    this.#failures = 0
    this.#forget()
    if (!this.open) return
    this.open = false
    this.#owner.closed(this)
  }

  /** A question failed, or could not be sent. */
  failed(reason: string): void {
    if (this.open || ++this.#failures < FAILURES) return
    this.open = true
    this.#owner.opened(this, reason)
    // Those that wait with the three that failed must not wait their own time out.
    this.giveUp()
  }

  /** Settle all that waits, without the store. */
  giveUp(): void {
    const waiting = this.#waiting.slice(this.#head)
    this.#waiting = []
    this.#head = 0
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    for (const asked of waiting) if (!asked.settled) asked.giveUp()
  }

  /** Leave those that are settled: whoever stays would keep a whole exchange alive until its time is up. */
  #forget(): void {
    while (this.#head < this.#waiting.length && this.#waiting[this.#head]!.settled) this.#head++
    if (this.#head < 64 && this.#head < this.#waiting.length) return
    this.#waiting.splice(0, this.#head)
    this.#head = 0
  }

  #arm(ms: number): void {
    // Answers that have arrived while the loop was busy are read before anybody is judged late.
    this.#timer = setTimeout(() => setImmediate(() => this.#judge()), Math.max(1, Math.ceil(ms)))
  }

  #judge(): void {
    this.#timer = null
    const now = performance.now()
    while (this.#head < this.#waiting.length) {
      const asked = this.#waiting[this.#head]!
      if (!asked.settled && asked.deadline > now) break
      this.#head++
      if (asked.settled) continue
      asked.giveUp()
      this.failed('no answer in time')
    }
    this.#forget()
    const next = this.#waiting[this.#head]
    if (this.#timer === null && next !== undefined) this.#arm(next.deadline - now)
  }
}
