// What is believed of a registry's answer: additions at once, but not that everything, or most of it, is suddenly gone.
import type { Instance } from './provider.ts'

/** Within this many milliseconds losses add up. */
const WINDOW = 30_000
/** Losing more than this share within the window is held. */
const LARGEST_LOSS = 0.5

/** How the guard was told to judge. */
export interface GuardOptions {
  readonly onEmpty: 'keep' | 'drop'
  /** Milliseconds. */
  readonly holdFor: number
}

/** An instance that the registry no longer tells of, and that is used on. */
interface Held {
  readonly instance: Instance
  readonly until: number
  /** The registry told of no instance at all. */
  readonly empty: boolean
}

/** What an instance is known by. */
export function identity({ host, port, ports }: Instance): string {
  return ports === undefined ? `${host} ${port}` : `${host} ${port} ${JSON.stringify(ports)}`
}

/** The instances of one service as they are believed. Times are milliseconds of any one monotonic clock. */
export class Guard {
  readonly #options: GuardOptions
  #told = new Map<string, Instance>()
  readonly #held = new Map<string, Held>()
  #losses: { readonly at: number; readonly count: number }[] = []

  constructor(options: GuardOptions) {
    this.#options = options
  }

  /** Instances to use, by identity: what the registry tells, and what is held. */
  get instances(): Instance[] {
    return [...this.#told.values(), ...Array.from(this.#held.values(), held => held.instance)]
  }

  /** Instances in use that the registry does not tell of. */
  get held(): Instance[] {
    return Array.from(this.#held.values(), held => held.instance)
  }

  /** Held instances that were lost among others: those that a probe may settle. */
  get doubtful(): Instance[] {
    return Array.from(this.#held.values())
      .filter(held => !held.empty)
      .map(held => held.instance)
  }

  /** When the first of what is held has to go; Infinity when nothing is held. */
  get nextEnd(): number {
    let least = Number.POSITIVE_INFINITY
    for (const { until } of this.#held.values()) least = Math.min(least, until)
    return least
  }

  /** A whole answer of the registry. */
  take(answer: readonly Instance[], now: number): void {
    const next = new Map(answer.map(instance => [identity(instance), instance]))
    this.expire(now)
    this.#losses = this.#losses.filter(({ at }) => now - at < WINDOW)
    const lostBefore = this.#losses.reduce((sum, { count }) => sum + count, 0)
    const before = this.#told.size + this.#held.size + lostBefore
    const gone = [...this.#told].filter(([id]) => !next.has(id))
    for (const id of next.keys()) this.#held.delete(id)
    this.#told = next
    if (next.size === 0) {
      if (this.#options.onEmpty === 'keep') this.#hold(gone, now, true)
      else this.#held.clear()
      return
    }
    // Whoever was held because nothing was told is judged anew, now that something is.
    for (const [id, held] of this.#held) {
      if (!held.empty) continue
      this.#held.delete(id)
      gone.push([id, held.instance])
    }
    if (gone.length === 0) return
    const lost = lostBefore + this.#held.size + gone.length
    if (lost > before * LARGEST_LOSS) this.#hold(gone, now, false)
    else this.#losses.push({ at: now, count: gone.length })
  }

  #hold(gone: readonly (readonly [string, Instance])[], now: number, empty: boolean): void {
    if (this.#options.holdFor === 0) return
    for (const [id, instance] of gone) this.#held.set(id, { instance, until: now + this.#options.holdFor, empty })
  }

  /** Let go of what was held long enough. True when something went. */
  expire(now: number): boolean {
    const before = this.#held.size
    for (const [id, { until }] of this.#held) if (until <= now) this.#held.delete(id)
    return this.#held.size < before
  }

  /** A probe confirmed that a held instance is gone. */
  confirmGone(instance: Instance): void {
    this.#held.delete(identity(instance))
  }
}
