// Questions that go to one server in one call: their keys and arguments, and who hears which part of the answer.
import type { Asked, Circuit } from './circuit.ts'
import type { Question } from './decision.ts'
import type { Now } from './memory.ts'

/** One question on its way. */
export class Waiting implements Asked {
  deadline = 0
  settled = false
  readonly #circuit: Circuit
  readonly #settle: (answer: unknown) => void

  /** `settle` is called once: with the answer, or with null where none comes in time. */
  constructor(circuit: Circuit, settle: (answer: unknown) => void) {
    this.#circuit = circuit
    this.#settle = settle
  }

  /** It goes out: only now its time runs, because what the loop does before that is not the store's doing. */
  begin(): void {
    if (this.#circuit.open) this.giveUp()
    else this.#circuit.begin(this)
  }

  giveUp(): void {
    this.settled = true
    this.#settle(null)
  }

  succeed(answer: unknown): void {
    if (this.settled) return
    this.settled = true
    this.#circuit.succeeded()
    this.#settle(answer)
  }

  fail(reason: string): void {
    if (this.settled) return
    this.#circuit.failed(reason)
    // Its circuit may have given it up just now.
    if (!this.settled) this.giveUp()
  }
}

/** Questions for the script `DECIDE` (script.ts says what it takes and answers). */
export class Batch {
  readonly keys: string[] = []
  /** A line for each. */
  text = ''
  readonly #waiting: Waiting[] = []
  readonly #lengths: number[] = []

  get size(): number {
    return this.#waiting.length
  }

  /** `head` begins each of its keys; `now` stands in for the server's clock in tests. */
  add({ count, limits }: Question, head: string, need: number, want: number, now: Now | null, waiting: Waiting): void {
    for (let i = 0; i < count; i++) this.keys.push(head + i)
    this.text += `${need} ${want} ${now === null ? '-' : Math.floor(now())} ${limits}\n`
    this.#waiting.push(waiting)
    this.#lengths.push(1 + 3 * count)
  }

  /** The call goes out. */
  begin(): void {
    for (const waiting of this.#waiting) waiting.begin()
  }

  /** The call is over. */
  answered(error: Error | null, answer: unknown): void {
    if (error !== null) {
      for (const waiting of this.#waiting) waiting.fail(error.message)
      return
    }
    const numbers = (answer as string).split(' ')
    let at = 0
    for (let i = 0; i < this.#waiting.length; i++) {
      const waiting = this.#waiting[i]!
      const end = at + this.#lengths[i]!
      const part: number[] = []
      for (let k = at; k < end; k++) part.push(Number(numbers[k]))
      if (part[0]! < 0) waiting.fail('a key holds something that is not a count')
      else waiting.succeed(part)
      at = end
    }
  }
}
