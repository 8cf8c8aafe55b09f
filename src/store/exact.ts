// Counting in a shared store, one question a request: exact over all gateways.
import { type Decisions, Question, tallyOf } from './decision.ts'
import type { MemoryCounter } from './memory.ts'
import type { Counter, CounterOptions, Tally } from './store.ts'

/** See the head of this file. `local` counts where the store does not answer. */
export class ExactCounter implements Counter {
  readonly #store: Decisions
  readonly #question: Question
  readonly #local: MemoryCounter

  constructor(store: Decisions, options: CounterOptions, local: MemoryCounter) {
    this.#store = store
    this.#question = new Question(options)
    this.#local = local
  }

  hit(key: string, cost: number): Tally | Promise<Tally> {
    const store = this.#store
    const tag = store.tagOf(this.#question.id, key)
    if (!store.usable(tag)) return store.without(this.#local, key, cost)
    return new Promise(resolve => {
      store.decide(this.#question, tag, cost, cost, answer =>
        resolve(answer === null ? store.without(this.#local, key, cost) : tallyOf(answer)),
      )
    })
  }

  close(): void {
    this.#local.close()
  }
}
