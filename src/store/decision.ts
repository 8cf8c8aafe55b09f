// How counters speak with a shared store: the question and the answer of one decision, and who takes it.
import { hash } from 'node:crypto'
import type { MemoryCounter } from './memory.ts'
import { type CounterOptions, countedBy, Tally } from './store.ts'

/** As `DECIDE` in script.ts describes it. */
export type Answer = readonly number[]

/** Called once, with an answer, or with null when there is none. */
export type Settle = (answer: Answer | null) => void

/** A shared store as its counters see it. */
export interface Decisions {
  readonly name: string
  /** The hash tag for a client's key under a counter of this `id`. */
  tagOf(id: string, key: string): string
  /** True while the server that has this tag may be asked. */
  usable(tag: string): boolean
  /** Ask for a decision on `need` units, up to `want`. Calls `settle` once, at the latest after the budget. */
  decide(question: Question, tag: string, need: number, want: number, settle: Settle): void
  /** What is done about a request that the store did not decide on. */
  without(local: MemoryCounter, key: string, cost: number): Tally
  /** Gateways that were alive when the store was last heard of, this one among them. */
  readonly gateways: number
}

/** What all questions of one counter have in common. */
export class Question {
  /** Stands in every key: short, and the same on every gateway for the same limits. */
  readonly id: string
  readonly algorithm: string
  readonly count: number
  /** Algorithm and numbers of each limit, as the script takes them. */
  readonly limits: string

  constructor(options: CounterOptions) {
    const { algorithm, limits } = options
    this.id = hash('sha1', countedBy(options)).slice(0, 12)
    this.algorithm = algorithm
    this.count = limits.length
    const numbers = limits.flatMap(({ limit, window, burst }) => [limit, window, burst])
    this.limits = `${algorithm} ${numbers.join(' ')}`
  }
}

/** The tallies of an answer. `spare` are units at hand beside those that are left in the store. */
export function tallyOf(answer: Answer, spare = 0): Tally {
  const allowed = answer[0]! > 0
  let tally: Tally | null = null
  for (let i = answer.length - 3; i > 0; i -= 3) {
    const wait = answer[i + 2]!
    const retryAfter = wait < 0 ? Number.POSITIVE_INFINITY : wait
    tally = new Tally(allowed, answer[i]! + spare, answer[i + 1]!, retryAfter, 'store', tally)
  }
  return tally!
}
