// Counters in this process: a hit is answered at once, memory is bounded, and idle keys leave without a sweep.
import { performance } from 'node:perf_hooks'
import { type Cell, createCell } from './cell.ts'
import { ownText, shortKey } from './key.ts'
import {
  type Counter,
  type CounterOptions,
  type CounterStore,
  countedBy,
  type Decider,
  type Limit,
  Tally,
} from './store.ts'

/** A map is rehashed as a whole when it grows: many small ones never hold the event loop for long. */
const SHARDS = 256

/** Milliseconds of a clock that only goes forward. */
export type Now = () => number

/** The clock of this process. */
export const monotonic: Now = () => performance.now()

/** See the head of this file. */
export class MemoryStore implements CounterStore {
  readonly name: string
  readonly #now: Now
  /** Tables in use, by what they count. */
  readonly #tables = new Map<string, CellTable>()

  constructor(name = 'memory', now: Now = monotonic) {
    this.name = name
    this.#now = now
  }

  counter(options: CounterOptions): MemoryCounter {
    const shape = countedBy(options)
    let table = this.#tables.get(shape)
    if (table === undefined) {
      table = new CellTable(options)
      this.#tables.set(shape, table)
    }
    const shared = table
    shared.open(options)
    return new MemoryCounter(shared, options.limits, this.#now, () => {
      if (shared.close(options.maxKeys) === 0) this.#tables.delete(shape)
    })
  }

  /** Nothing to let go of: counters own what they count. */
  close(): void {}
}

/** The counter of one set of limits, in memory. */
export class MemoryCounter implements Counter {
  readonly #table: CellTable
  readonly #given: readonly Limit[]
  #limits: readonly Limit[]
  #first: Limit
  readonly #single: boolean
  #share = 1
  #decider: Decider = 'store'
  readonly #now: Now
  #onClose: (() => void) | null

  constructor(table: CellTable, limits: readonly Limit[], now: Now, onClose: () => void) {
    this.#table = table
    this.#given = limits
    this.#limits = limits
    this.#first = limits[0]!
    this.#single = limits.length === 1
    this.#now = now
    this.#onClose = onClose
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#table.size
  }

  /** Count in place of a shared store: each limit divided among so many gateways, but never below 1. */
  standIn(gateways: number): void {
    this.#decider = 'local'
    if (gateways === this.#share) return
    this.#share = gateways
    this.#limits = this.#given.map(({ limit, window, burst }) => ({
      limit: Math.max(1, Math.floor(limit / gateways)),
      window,
      burst: Math.max(1, Math.floor(burst / gateways)),
    }))
    this.#first = this.#limits[0]!
  }

  hit(key: string, cost: number): Tally {
    const now = Math.floor(this.#now())
    const cell = this.#table.find(key, now)
    if (!this.#single) return this.#hitAll(cell, now, cost)
    const limit = this.#first
    const free = cell.available(now, limit)
    if (free < cost) {
      const wait = cell.wait(now, limit, cost)
      return new Tally(
        false,
        free,
        free === 0 ? cell.wait(now, limit, 1) : cell.reset(now, limit),
        wait,
        this.#decider,
        null,
      )
    }
    cell.charge(now, limit, cost)
    const left = free - cost
    const reset = left === 0 ? cell.wait(now, limit, 1) : cell.reset(now, limit)
    return new Tally(true, left, reset, 0, this.#decider, null)
  }

  #hitAll(first: Cell, now: number, cost: number): Tally {
    const limits = this.#limits
    let allowed = true
    let cell: Cell | null = first
    for (let i = 0; i < limits.length; i++) {
      // All are asked, for a tally of each, before any is charged.
      if (cell!.available(now, limits[i]!) < cost) allowed = false
      cell = cell!.next
    }
    return this.#tell(first, 0, now, allowed, cost)!
  }

  #tell(cell: Cell | null, i: number, now: number, allowed: boolean, cost: number): Tally | null {
    if (cell === null) return null
    const limit = this.#limits[i]!
    if (allowed) cell.charge(now, limit, cost)
    const left = cell.available(now, limit)
    const reset = left === 0 ? cell.wait(now, limit, 1) : cell.reset(now, limit)
    const wait = allowed ? 0 : cell.wait(now, limit, cost)
    return new Tally(allowed, left, reset, wait, this.#decider, this.#tell(cell.next, i + 1, now, allowed, cost))
  }

  close(): void {
    this.#onClose?.()
    this.#onClose = null
  }
}

/**
 * The cells of all keys, in two generations of one period each: what was not asked for during a whole period has decayed
 * to nothing, and leaves with the map that holds it. The period is the longest time after which a count is void.
 */
class CellTable {
  readonly #options: CounterOptions
  readonly #shards: Shard[]
  readonly #mask: number
  #period: number
  #maxKeys: number
  /** Keys in all shards. */
  size = 0
  /** `maxKeys` of each counter that is open. */
  readonly #asked: number[] = []
  /** The shard that gives up a key next. */
  #hand = 0

  constructor(options: CounterOptions) {
    this.#options = options
    const count = options.maxKeys < SHARDS * 4 ? 1 : SHARDS
    this.#mask = count - 1
    this.#shards = Array.from({ length: count }, () => new Shard())
    this.#period = 1
    this.#maxKeys = options.maxKeys
  }

  /** Take over the numbers of a counter that was opened anew. */
  open({ algorithm, limits, maxKeys }: CounterOptions): void {
    const lives = limits.map(({ limit, window, burst }) =>
      algorithm === 'token-bucket' ? Math.ceil((burst * window) / limit) : window,
    )
    // A period that shrinks could drop what still counts.
    const period = Math.max(this.#period, ...lives)
    if (period !== this.#period) for (const shard of this.#shards) shard.period = -1
    this.#period = period
    this.#asked.push(maxKeys)
    this.#bound()
  }

  /** Nobody hits a counter with this `maxKeys` any more; returns how many are open still. */
  close(maxKeys: number): number {
    this.#asked.splice(this.#asked.indexOf(maxKeys), 1)
    this.#bound()
    return this.#asked.length
  }

  /** The most that anybody asks for: a reload that is given up must have cost the others no keys. */
  #bound(): void {
    this.#maxKeys = Math.max(...this.#asked)
  }

  /** The cell of a key, made when there is none. */
  find(given: string, now: number): Cell {
    const key = shortKey(given)
    const shard = this.#shards[spread(key) & this.#mask]!
    const period = Math.floor(now / this.#period)
    if (period !== shard.period) this.size -= shard.turn(period)
    const known = shard.young.get(key)
    if (known !== undefined) return known
    let cell = shard.old.get(key)
    if (cell !== undefined) shard.old.delete(key)
    else {
      if (this.size >= this.#maxKeys) this.#evict(period)
      cell = this.#create()
      this.size++
    }
    shard.young.set(ownText(key), cell)
    return cell
  }

  #create(): Cell {
    const { algorithm, limits } = this.#options
    let cell: Cell | null = null
    for (let i = 0; i < limits.length; i++) {
      const made = createCell(algorithm)
      made.next = cell
      cell = made
    }
    return cell!
  }

  /** Make room for one: the hand goes round, a shard gives up what is void or the key it knows longest. */
  #evict(period: number): void {
    for (let steps = this.#shards.length; steps > 0 && this.size >= this.#maxKeys; steps--) {
      this.#hand = (this.#hand + 1) & this.#mask
      const shard = this.#shards[this.#hand]!
      this.size -= period === shard.period ? shard.evict() : shard.turn(period)
    }
  }
}

/** Cheap, and good enough to part addresses: only the size of the maps depends on it. */
function spread(key: string): number {
  const end = key.length
  if (end < 4) return end === 0 ? 0 : key.charCodeAt(end - 1)
  return (
    key.charCodeAt(end - 1) * 7 + key.charCodeAt(end - 2) * 61 + key.charCodeAt(end - 3) * 17 + key.charCodeAt(end - 4)
  )
}

class Shard {
  period = -1
  /** Keys asked for in this period, and those last asked for in the one before. */
  young = new Map<string, Cell>()
  old = new Map<string, Cell>()
  // Kept from one eviction to the next: a new iterator would pass all that was deleted before.
  #oldest: Iterator<string> | null = null

  /** Begin another period; returns how many keys left. */
  turn(period: number): number {
    // Periods are counted anew, by another length.
    if (this.period < 0) {
      this.period = period
      return 0
    }
    let gone = this.old.size
    if (period === this.period + 1) this.old = this.young
    else {
      gone += this.young.size
      this.old = new Map()
    }
    this.young = new Map()
    this.#oldest = null
    this.period = period
    return gone
  }

  /** Give up one key, an idle one before one in use; returns how many left. */
  evict(): number {
    const from = this.old.size > 0 ? this.old : this.young
    this.#oldest ??= from.keys()
    let next = this.#oldest.next()
    if (next.done === true) {
      this.#oldest = from.keys()
      next = this.#oldest.next()
    }
    if (next.done === true) return 0
    return from.delete(next.value) ? 1 : 0
  }
}
