// Counting on credit: units are taken from a shared store a few at a time and spent here, so that most requests wait for nobody.
import { leaseBound } from '../metrics.ts'
import { type Answer, type Decisions, Question, tallyOf } from './decision.ts'
import { ownText, shortKey } from './key.ts'
import type { MemoryCounter, Now } from './memory.ts'
import { type Counter, type CounterOptions, type Limit, Tally } from './store.ts'

/** A request that waits for units. */
interface Waiter {
  readonly cost: number
  readonly resolve: (tally: Tally) => void
}

const noWait = () => 0

/** What is at hand for one key. */
class Purse {
  left = 0
  /** When what is left is given up: units that were taken in one window must not pile up for a later one. */
  expires = 0
  /** Until then `refusedCost` units and more are refused without asking: nobody gives units back. */
  refusedUntil = 0
  refusedCost = 0
  /** The last answer, for its numbers. */
  answer: Answer | null = null
  answeredAt = 0
  asking = false
  readonly waiting: Waiter[] = []
}

/**
 * See the head of this file. A gateway never has more than `size` units of one key at hand (or the cost of one request,
 * where that is more), so that gateways together admit at most gateways × size beyond the limit; and what they do not
 * spend is lost to the others until the window has passed.
 */
export class LeasedCounter implements Counter {
  readonly #store: Decisions
  readonly #question: Question
  readonly #local: MemoryCounter
  readonly #now: Now
  readonly #limits: CounterOptions['limits']
  readonly #maxKeys: number
  /** Units taken at a time. */
  readonly size: number
  /** Milliseconds that they may be spent in: the shortest window. */
  readonly #life: number
  /** Purses used in this life and in the one before. */
  #young = new Map<string, Purse>()
  #old = new Map<string, Purse>()
  #turn = 0
  readonly #closeBound: () => void

  constructor(store: Decisions, options: CounterOptions, local: MemoryCounter, now: Now) {
    this.#store = store
    this.#question = new Question(options)
    this.#local = local
    this.#now = now
    this.#limits = options.limits
    this.#maxKeys = options.maxKeys
    const least = Math.min(...options.limits.map(({ limit }) => limit))
    this.size = Math.max(1, Math.floor(least * options.lease))
    this.#life = Math.min(...options.limits.map(({ window }) => window))
    this.#closeBound = leaseBound(store.name, options.id, () => store.gateways * this.size)
  }

  hit(key: string, cost: number): Tally | Promise<Tally> {
    const now = Math.floor(this.#now())
    const purse = this.#purse(key, now)
    if (now >= purse.expires) purse.left = 0
    // In turn: one that asks for less must not pass those that wait.
    if (purse.waiting.length === 0) {
      if (purse.left >= cost) {
        purse.left -= cost
        const tally = this.#tell(purse, now)
        if (purse.left * 4 < this.size && !purse.asking && now >= purse.refusedUntil) this.#ask(key, purse, 1)
        return tally
      }
      if (now < purse.refusedUntil && cost >= purse.refusedCost) return this.#refuse(purse, now, cost)
    }
    if (!this.#store.usable(this.#store.tagOf(this.#question.id, key)))
      return this.#store.without(this.#local, key, cost)
    return new Promise(resolve => {
      purse.waiting.push({ cost, resolve })
      if (!purse.asking) this.#ask(key, purse, cost - purse.left)
    })
  }

  /** Fill the purse up; at least `need` units are due. */
  #ask(key: string, purse: Purse, need: number): void {
    purse.asking = true
    const tag = this.#store.tagOf(this.#question.id, key)
    const want = Math.max(need, this.size - purse.left)
    this.#store.decide(this.#question, tag, need, want, answer => {
      purse.asking = false
      if (answer === null) this.#serveWithout(key, purse)
      else this.#serve(key, purse, answer, need)
    })
  }

  #serve(key: string, purse: Purse, answer: Answer, need: number): void {
    const now = Math.floor(this.#now())
    purse.answer = answer
    purse.answeredAt = now
    const granted = answer[0]!
    if (granted > 0) {
      purse.left += granted
      purse.expires = now + this.#life
    } else {
      const wait = this.#wait(answer)
      // What cannot pass at all says nothing about when others would.
      if (wait !== Number.POSITIVE_INFINITY) {
        purse.refusedUntil = now + wait
        purse.refusedCost = need + purse.left
      }
      const first = purse.waiting.shift()
      first?.resolve(tallyOf(answer, purse.left))
    }
    while (purse.waiting.length > 0) {
      const { cost, resolve } = purse.waiting[0]!
      if (purse.left >= cost) {
        purse.left -= cost
        purse.waiting.shift()
        resolve(this.#tell(purse, now))
      } else if (now < purse.refusedUntil && cost >= purse.refusedCost) {
        purse.waiting.shift()
        resolve(this.#refuse(purse, now, cost))
      } else {
        this.#ask(key, purse, cost - purse.left)
        return
      }
    }
  }

  #serveWithout(key: string, purse: Purse): void {
    for (const { cost, resolve } of purse.waiting.splice(0)) resolve(this.#store.without(this.#local, key, cost))
  }

  #wait(answer: Answer): number {
    let longest = 0
    for (let i = 3; i < answer.length; i += 3) {
      if (answer[i]! < 0) return Number.POSITIVE_INFINITY
      longest = Math.max(longest, answer[i]!)
    }
    return longest
  }

  /** Admitted out of the purse. */
  #tell(purse: Purse, now: number): Tally {
    return this.#tally(purse, now, true, noWait)
  }

  /** Refused without asking. */
  #refuse(purse: Purse, now: number, cost: number): Tally {
    const bucket = this.#question.algorithm === 'token-bucket'
    const wait = purse.refusedUntil - now
    return this.#tally(purse, now, false, ({ limit, burst }) =>
      cost > (bucket ? burst : limit) ? Number.POSITIVE_INFINITY : wait,
    )
  }

  /** The last answer's numbers, as far as they still tell. */
  #tally(purse: Purse, now: number, allowed: boolean, waitOf: (limit: Limit) => number): Tally {
    const answer = purse.answer!
    const past = now - purse.answeredAt
    let tally: Tally | null = null
    for (let i = this.#limits.length - 1; i >= 0; i--) {
      const left = answer[3 * i + 1]! + purse.left
      const reset = Math.max(0, answer[3 * i + 2]! - past)
      tally = new Tally(allowed, left, reset, waitOf(this.#limits[i]!), 'store', tally)
    }
    return tally!
  }

  #purse(given: string, now: number): Purse {
    const key = shortKey(given)
    const turn = Math.floor(now / this.#life)
    if (turn !== this.#turn) {
      // A purse that is waited for is served all the same: its question knows it.
      this.#old = turn === this.#turn + 1 ? this.#young : new Map()
      this.#young = new Map()
      this.#turn = turn
    }
    let purse = this.#young.get(key)
    if (purse !== undefined) return purse
    purse = this.#old.get(key)
    if (purse === undefined) {
      purse = new Purse()
      if (this.#young.size >= this.#maxKeys) {
        this.#old = this.#young
        this.#young = new Map()
      }
    } else this.#old.delete(key)
    this.#young.set(ownText(key), purse)
    return purse
  }

  close(): void {
    this.#closeBound()
    this.#local.close()
  }
}
