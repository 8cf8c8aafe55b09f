// Consistent hashing with bounded load: a key stays with its endpoint while others come and go, but for one that is full.
import { avalanche, murmur3 } from '../../hash.ts'
import type { Endpoint } from '../endpoint.ts'
import type { Balancer } from './balancer.ts'

/** Arcs of the ring, one for each value of a key's upper 16 bits. */
const ARCS = 0x1_0000

/** An endpoint takes so many times its share of what is under way, then another is asked. */
const LOAD_FACTOR = 1.25

/** So many arcs are asked for room, the same for a key each time; then, for a key so hot, as many more as come. */
const JUMPS = 32
/** All that are asked. A fifth of the shares has room, whatever is under way: four times out of five fail at the most. */
const MAX_JUMPS = 96
const JUMP = 0x9e3779b9

/** Shares below this count as this: times are to stay within what a number can hold. */
const LEAST_SHARE = 1e-100

/** How many endpoints are counted at each pick. */
const COUNTED = 8

/**
 * Each endpoint throws its balls onto the arcs one after another, in an order made from its address alone, the faster the
 * larger its share; an arc belongs to whoever hit it first. So an arc's owner is settled between it and each other
 * endpoint alone: one that comes takes arcs and one that goes leaves arcs, by its share, and none moves between others
 * (weighted rendezvous hashing, Thaler and Ravishankar 1998, in the form of an exponential race). Points on a ring give
 * that only as long as their number does not depend on the set, and grow with it then; here the price is one however many
 * there are. The mapping is the same in every process; to change how it is made moves all keys of everybody.
 *
 * Bounded load as in Mirrokni, Thorup and Zadimoghaddam 2016; but a key whose endpoint is full goes on by jumps of its own,
 * and not to the neighbour, which would soon be full as well (Chen, Coleman and Shrivastava 2021).
 */
export class RingHash implements Balancer {
  readonly endpoints: readonly Endpoint[]
  readonly timed = false
  readonly #usable: readonly Endpoint[]
  readonly #shares: Float64Array
  /** Index of the owner by arc. */
  readonly #owners: Uint16Array | Uint32Array
  /** What each may have under way for every request that is under way at all. */
  readonly #allowance: Float64Array
  /** Requests under way at all of them, as of the last round of counting. */
  #load = 0
  /** The round that is being made. */
  #counted = 0
  #next = 0
  /** Where the next key goes on whose own jumps found no room. */
  #astray = 0

  /** With the set and the shares of `previous` its arcs are used again. */
  constructor(endpoints: readonly Endpoint[], previous: Balancer | null = null) {
    this.endpoints = endpoints
    const usable = endpoints.filter(endpoint => endpoint.share > 0)
    this.#usable = usable
    this.#shares = Float64Array.from(usable, endpoint => Math.max(endpoint.share, LEAST_SHARE))
    const sum = this.#shares.reduce((total, share) => total + share, 0)
    this.#allowance = this.#shares.map(share => (share / sum) * LOAD_FACTOR)
    this.#owners =
      previous instanceof RingHash && previous.#holds(usable) ? previous.#owners : race(usable, this.#shares, sum)
    for (const endpoint of usable) this.#load += endpoint.inFlight
  }

  #holds(usable: readonly Endpoint[]): boolean {
    return (
      usable.length === this.#usable.length &&
      usable.every((endpoint, i) => endpoint === this.#usable[i] && endpoint.share === this.#shares[i])
    )
  }

  pick(key: number, avoid: Endpoint | null): Endpoint | null {
    const usable = this.#usable
    if (usable.length < 2) return usable[0] ?? null
    this.#count()
    const owners = this.#owners
    const load = this.#load + 1
    let preferred: Endpoint | null = null
    let at = key
    for (let jumps = 0; jumps < MAX_JUMPS; jumps++) {
      const owner = owners[at >>> 16]!
      const endpoint = usable[owner]!
      if (endpoint !== avoid) {
        // The bound need not be rounded up: a whole number is below it if it is below the next whole number.
        if (endpoint.inFlight < load * this.#allowance[owner]!) return endpoint
        preferred ??= endpoint
      }
      if (jumps === JUMPS) at = this.#astray = (this.#astray + JUMP) | 0
      at = avalanche((at + JUMP) | 0)
    }
    return preferred ?? this.#anyBut(avoid, key)
  }

  /** The one to avoid holds nearly all arcs. */
  #anyBut(avoid: Endpoint | null, key: number): Endpoint | null {
    const usable = this.#usable
    const at = (key >>> 0) % usable.length
    const found = usable[at]!
    return found === avoid ? usable[(at + 1) % usable.length]! : found
  }

  /** A few at each pick: small sets are counted afresh, large ones once in as many picks as one of them can notice. */
  #count(): void {
    const usable = this.#usable
    for (let i = 0; i < COUNTED; i++) {
      this.#counted += usable[this.#next++]!.inFlight
      if (this.#next === usable.length) {
        this.#load = this.#counted
        this.#counted = 0
        this.#next = 0
        return
      }
    }
  }
}

/** The round of an arc that none has hit yet. So many are never made: one arc in e^254 would need them. */
const NEVER = 255

/** The owner of each arc: see the class. */
function race(endpoints: readonly Endpoint[], shares: Float64Array, sum: number): Uint16Array | Uint32Array {
  const n = endpoints.length
  const owners = n <= 0x1_0000 ? new Uint16Array(ARCS) : new Uint32Array(ARCS)
  if (n < 2) return owners
  /** When the owner's ball came, by arc. */
  const won = new Float64Array(ARCS)
  // Two hashes: with one alone, two of 10,000 endpoints are likely to throw alike, and one would come second everywhere.
  const start = Int32Array.from(endpoints, ({ address }) => murmur3(address, 0))
  const step = Int32Array.from(endpoints, ({ address }) => murmur3(address, 1) | 1)
  const thrown = new Int32Array(n)
  let free = ARCS
  // In rounds of one ball for each arc, so that what an earlier round hit is settled. After twelve hardly any is free.
  const hit = new Uint8Array(ARCS).fill(NEVER)
  for (let round = 0; free > 0; round++) {
    const until = ((round + 1) * ARCS) / sum
    for (let i = 0; i < n; i++) {
      const from = start[i]!
      const by = step[i]!
      const share = shares[i]!
      const offset = (by >>> 0) / 0x1_0000_0000
      const end = Math.ceil(until * share - offset) | 0
      let ball = thrown[i]!
      for (; ball < end; ball++) {
        const arc = avalanche((from + Math.imul(ball, by)) | 0) >>> 16
        const before = hit[arc]!
        if (before < round) continue
        const time = (ball + offset) / share
        if (before === NEVER) free--
        else if (time > won[arc]!) continue
        else if (time === won[arc]! && endpoints[owners[arc]!]!.address < endpoints[i]!.address) continue
        hit[arc] = round
        won[arc] = time
        owners[arc] = i
      }
      thrown[i] = ball
    }
  }
  return owners
}
