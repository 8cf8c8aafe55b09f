// What may be used of the answers of a registry about one service: checked, in order, and the objects of the last answer where they mean the same.
import type { Log } from '../log.ts'
import { AnswerError } from './ask.ts'
import { firstFaults } from './entry.ts'
import type { Instance } from './provider.ts'
import { finder, reuse, sameInstance } from './same.ts'
import { type Candidate, checkInstance, inOrder } from './select.ts'

/** What answers are checked by. */
export interface CheckerOptions {
  /** Most of one service. */
  readonly maxInstances: number
  readonly linkLocal: boolean
}

/** See the head of this file. */
export class Checker {
  readonly #registry: string
  readonly #service: string
  readonly #options: CheckerOptions
  readonly #log: Log
  /** The list that was looked at last: neither it nor an instance of it is looked at again. */
  #list: readonly Instance[] = []
  /** What was found of each. */
  #found: readonly (Candidate | string)[] = []
  #usable: readonly Candidate[] = []
  /** What was logged last. */
  #leftOut = ''

  constructor(registry: string, service: string, options: CheckerOptions, log: Log) {
    this.#registry = registry
    this.#service = service
    this.#options = options
    this.#log = log
  }

  /** Without what must not be used, in the order of addresses. Throws when there are too many. */
  check(told: readonly Instance[]): readonly Candidate[] {
    if (told === this.#list) return this.#usable
    const { maxInstances, linkLocal } = this.#options
    if (told.length > maxInstances)
      throw new AnswerError(`${told.length} instances are more than \`maxInstances\` (${maxInstances})`)
    const find = finder(this.#list, Object.is)
    const found = told.map(instance => this.#found[find(instance)] ?? checkInstance(instance, linkLocal))
    const good = found.filter(checked => typeof checked !== 'string')
    this.#tell(told, found, found.length - good.length)
    this.#usable = reuse(this.#usable, inOrder(good), (a, b) => sameInstance(a.instance, b.instance))
    this.#list = told
    this.#found = found
    return this.#usable
  }

  /** Say what was left out, where it is not what was left out before. */
  #tell(told: readonly Instance[], found: readonly (Candidate | string)[], count: number): void {
    const faults: string[] = []
    if (count > 0)
      for (const [i, { host, port }] of told.entries())
        if (typeof found[i] === 'string') faults.push(`${String(host).slice(0, 100)}:${port} ${found[i]}`)
    const leftOut = firstFaults(faults)
    if (leftOut !== '' && leftOut !== this.#leftOut) {
      const fields = { registry: this.#registry, service: this.#service, count, leftOut }
      this.#log.warn('discovery told instances that cannot be used', fields)
    }
    this.#leftOut = leftOut
  }
}
