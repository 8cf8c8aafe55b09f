// Smooth weighted round robin: the order of nginx's algorithm, played from a schedule that is made once per set of endpoints.
import { passing } from '../../discovery/same.ts'
import type { Endpoint } from '../endpoint.ts'
import type { Balancer } from './balancer.ts'

/**
 * Longest cycle that shares are rounded to: so many turns, or so many for each endpoint, whichever is more. Shares that
 * come to whole numbers may have a longer one, up to MAX_STEPS: 9999 to 1 is not to become 4096 to 1.
 */
const MAX_TURNS = 4096
const MAX_TURNS_EACH = 16

/** Most steps that nginx's loop over all endpoints for each turn may take: less than half a millisecond. */
const MAX_STEPS = 1 << 17

/** The fractions of its multiples are spread as evenly as can be, however many there are. */
const GOLDEN = (Math.sqrt(5) - 1) / 2

/**
 * The order in which nginx's smooth weighted round robin picks over one cycle, as indices: each turn every share is added
 * to its current value, the largest is picked and the sum taken off it. {5,1,1} gives a a b a c a a. Large sets are spread
 * instead, each endpoint's turns at even distances.
 */
export function smoothSchedule(shares: readonly number[]): Int32Array {
  const turns = turnsOf(shares)
  const total = turns.reduce((a, b) => a + b, 0)
  return total * turns.length <= MAX_STEPS ? nginxOrder(turns, total) : spread(turns, total)
}

/** How many turns of a cycle each gets. Shares of up to three decimals are kept exactly where the cycle allows. */
function turnsOf(shares: readonly number[]): Float64Array {
  const most = Math.max(MAX_TURNS, MAX_TURNS_EACH * shares.length)
  const exact = reduce(Float64Array.from(shares, share => Math.round(share * 1000)))
  const whole = shares.every(share => Math.abs(share * 1000 - Math.round(share * 1000)) <= share * 1e-9)
  const longest = Math.max(most, MAX_STEPS / shares.length)
  if (whole && exact.reduce((a, b) => a + b, 0) <= longest) return exact
  const sum = shares.reduce((a, b) => a + b, 0)
  return reduce(Float64Array.from(shares, share => (share === 0 ? 0 : Math.max(1, Math.round((share / sum) * most)))))
}

function reduce(counts: Float64Array): Float64Array {
  let divisor = 0
  for (const count of counts) {
    divisor = gcd(divisor, count)
    if (divisor === 1) return counts
  }
  return divisor > 0 ? counts.map(count => count / divisor) : counts
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b]
  return a
}

function nginxOrder(turns: Float64Array, total: number): Int32Array {
  const current = new Float64Array(turns.length)
  const order = new Int32Array(total)
  for (let turn = 0; turn < total; turn++) {
    let best = -1
    for (let i = 0; i < turns.length; i++) {
      const own = turns[i]!
      if (own === 0) continue
      current[i]! += own
      if (best < 0 || current[i]! > current[best]!) best = i
    }
    current[best]! -= total
    order[turn] = best
  }
  return order
}

/** Each endpoint's turns at even distances from a beginning of its own, sorted by counting. */
function spread(turns: Float64Array, total: number): Int32Array {
  const places = new Int32Array(total)
  /** How many turns come before each place, once all are counted. */
  const before = new Int32Array(total + 1)
  let at = 0
  for (let i = 0; i < turns.length; i++) {
    const own = turns[i]!
    const distance = total / own
    const begin = ((i + 0.5) * GOLDEN) % 1
    for (let turn = 0; turn < own; turn++) {
      // Rounding may reach the end.
      const place = Math.min(Math.floor((turn + begin) * distance), total - 1)
      places[at++] = place
      before[place + 1]!++
    }
  }
  for (let place = 0; place < total; place++) before[place + 1]! += before[place]!
  const order = new Int32Array(total)
  at = 0
  for (let i = 0; i < turns.length; i++) {
    for (const end = at + turns[i]!; at < end; at++) order[before[places[at]!]!++] = i
  }
  return order
}

/** See the head of this file. */
export class RoundRobin implements Balancer {
  readonly endpoints: readonly Endpoint[]
  readonly timed = false
  readonly #usable: readonly Endpoint[]
  /** Indices into `#usable` over one cycle; null for one after the other. */
  readonly #order: Int32Array | null
  /** Turns of one cycle. */
  readonly #length: number
  #at = 0

  constructor(endpoints: readonly Endpoint[], previous: Balancer | null = null) {
    this.endpoints = endpoints
    const usable = passing(endpoints, endpoint => endpoint.share > 0)
    this.#usable = usable
    const even = usable.every(endpoint => endpoint.share === usable[0]!.share)
    this.#order = even ? null : smoothSchedule(usable.map(endpoint => endpoint.share))
    this.#length = this.#order?.length ?? usable.length
    if (previous instanceof RoundRobin) this.#at = this.#placeAfter(previous)
  }

  /** Whose turn is the one with this number. */
  #turn(turn: number): number {
    return this.#order === null ? turn : this.#order[turn]!
  }

  /** Whose turn it was is next here too, at about the same place of the cycle; without it, who came after it there. */
  #placeAfter(previous: RoundRobin): number {
    const [before, length] = [previous.#length, this.#length]
    if (before === 0 || length === 0) return 0
    const place = Math.floor((previous.#at / before) * length) % length
    const next = this.#firstOf(previous)
    if (next < 0) return place
    for (let off = 0; off < length; off++) {
      const after = (place + off) % length
      if (this.#turn(after) === next) return after
      const earlier = (place - off + length) % length
      if (this.#turn(earlier) === next) return earlier
    }
    return place
  }

  /** Index of whoever comes first in the turns that are due there; -1 where all of those are gone. */
  #firstOf(previous: RoundRobin): number {
    const due = (turn: number) => previous.#usable[previous.#turn((previous.#at + turn) % previous.#length)]!
    const first = this.#usable.indexOf(due(0))
    if (first >= 0) return first
    const indices = new Map<Endpoint, number>()
    for (const [i, endpoint] of this.#usable.entries()) indices.set(endpoint, i)
    for (let turn = 1; turn < previous.#length; turn++) {
      const index = indices.get(due(turn))
      if (index !== undefined) return index
    }
    return -1
  }

  pick(_key: number, avoid: Endpoint | null): Endpoint | null {
    const length = this.#length
    for (let tries = 0; tries < length; tries++) {
      if (this.#at >= length) this.#at = 0
      const endpoint = this.#usable[this.#turn(this.#at++)]!
      if (endpoint !== avoid) return endpoint
    }
    return length === 0 ? null : avoid
  }
}
