// Questions that go to one server in one call: their keys and arguments, and who hears which part of the answer.
import type { Asked, Circuit } from './circuit.ts'
import type { Question } from './decision.ts'

/** Something that was asked and waits for its answer. */
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

  /** Its time begins to run. */
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

/**
 * A question for the script `DECIDE`, on `need` units and up to `want`. `head` begins each of its keys; `now` stands in
 * for the server's clock in tests.
 */
export class Decision extends Waiting {
  readonly question: Question
  readonly head: string
  readonly need: number
  readonly want: number
  readonly now: number | null

  constructor(
    circuit: Circuit,
    settle: (answer: unknown) => void,
    question: Question,
    head: string,
    need: number,
    want: number,
    now: number | null,
  ) {
    super(circuit, settle)
    this.question = question
    this.head = head
    this.need = need
    this.want = want
    this.now = now
  }
}

/** Questions for the script `DECIDE` (script.ts says what it takes and answers). */
export class Batch {
  #decisions: Decision[] = []
  /** Of these the time runs. */
  #begun = 0
  keys: string[] = []
  args: string[] = []

  get size(): number {
    return this.#decisions.length
  }

  add(decision: Decision): void {
    this.#decisions.push(decision)
  }

  /**
   * A turn of the loop is over: the time of what was asked in it begins to run. Not before, because what the loop did
   * meanwhile is not the store's doing.
   */
  begin(): void {
    while (this.#begun < this.#decisions.length) this.#decisions[this.#begun++]!.begin()
  }

  /**
   * Make `keys` and `args`. False when there is nothing left to ask: whose time was up before the call went out must
   * not be charged.
   */
  close(): boolean {
    this.#decisions = this.#decisions.filter(decision => !decision.settled)
    let questions = ''
    const limits: string[] = []
    for (const { question, head, need, want, now } of this.#decisions) {
      for (let i = 0; i < question.count; i++) this.keys.push(head + i)
      let name = limits.indexOf(question.limits) + 1
      if (name === 0) name = limits.push(question.limits)
      questions += `${need} ${want} ${now ?? '-'} ${name}\n`
    }
    this.args = [questions, ...limits]
    return this.#decisions.length > 0
  }

  /** The call is over. */
  answered(error: Error | null, answer: unknown): void {
    if (error !== null) {
      for (const decision of this.#decisions) decision.fail(error.message)
      return
    }
    const numbers = numbersIn(answer)
    let due = 0
    for (const { question } of this.#decisions) due += 1 + 3 * question.count
    if (numbers === null || numbers.length !== due) {
      for (const decision of this.#decisions) decision.fail('the answer is no decision')
      return
    }
    let at = 0
    for (const decision of this.#decisions) {
      const end = at + 1 + 3 * decision.question.count
      const part = numbers.slice(at, end)
      at = end
      if (part[0]! < 0) decision.fail('a key holds something that is not a count')
      else decision.succeed(part)
    }
  }
}

/** The numbers of a script's answer; null for what is no text of numbers: who knows what stands at that address. */
function numbersIn(answer: unknown): number[] | null {
  if (typeof answer !== 'string') return null
  const numbers: number[] = []
  for (const word of answer.split(' ')) {
    const number = word === '' ? Number.NaN : Number(word)
    if (!Number.isFinite(number)) return null
    numbers.push(number)
  }
  return numbers
}
