// Who gets which version: 10,000 buckets dealt out by weight, so that growing a share moves users only towards it.
import { avalanche, murmur3 } from '../../src/plugin-api.ts'

/** Buckets in all: a share is kept to 0.01 %. */
export const BUCKETS = 10_000
/** Half a millionth of a bucket: what arithmetic may lose without a share losing a bucket. */
const SLACK = 1e-6

/** Buckets of each weight, the first taking what rounding leaves. Weights are finite, not negative, and not all zero. */
export function bucketCounts(weights: readonly number[]): number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0)
  const counts = weights.map(weight => Math.floor((weight / sum) * BUCKETS + SLACK))
  const taker = weights.findIndex(weight => weight > 0)
  counts[taker]! += BUCKETS - counts.reduce((total, count) => total + count, 0)
  return counts
}

/** Where the n-th after the first begins: at the left end, the right end, then halves, quarters, … (van der Corput). */
function startOf(n: number): number {
  if (n < 3) return (n - 1) * BUCKETS
  let place = 0
  let step = BUCKETS / 2
  for (let i = n - 2; i > 0; i >>= 1, step /= 2) if (i & 1) place += step
  return Math.floor(place)
}

/**
 * Bucket to place in `weights`. Each target after the first takes, in their order, the free buckets nearest to its own
 * start; the first has the rest. So the nearer bucket is never given up before the farther one:
 * - nobody leaves a target whose share alone grows, however many there are;
 * - what grows at the first one's cost takes from the first alone, as long as the targets do not grow into one another:
 *   with one or two beside the first never.
 */
export function dealBuckets(weights: readonly number[]): Uint8Array {
  const table = new Uint8Array(BUCKETS)
  const counts = bucketCounts(weights)
  for (let target = 1; target < counts.length; target++) {
    const start = startOf(target)
    let left = counts[target]!
    for (let distance = 0; left > 0; distance++) {
      for (const bucket of [start + distance, start - 1 - distance]) {
        if (left === 0 || bucket < 0 || bucket >= BUCKETS || table[bucket] !== 0) continue
        table[bucket] = target
        left--
      }
    }
  }
  return table
}

/** The bucket of a text: what is stable for a user, under one seed. */
export function bucketOf(text: string, seed: number): number {
  return Math.floor((murmur3(text, seed) / 0x1_0000_0000) * BUCKETS)
}

/** The buckets in another order for each seed (Fisher and Yates), so that tickets are dealt anew and every share holds. */
export function shuffledBuckets(seed: number): Uint16Array {
  const order = Uint16Array.from({ length: BUCKETS }, (_, i) => i)
  for (let i = BUCKETS - 1; i > 0; i--) {
    const other = Math.floor((avalanche(seed + Math.imul(i, 0x9e3779b9)) / 0x1_0000_0000) * (i + 1))
    const kept = order[i]!
    order[i] = order[other]!
    order[other] = kept
  }
  return order
}

/** Compiled shares. What it gives is a place in the list of weights; no call allocates. */
export class Split {
  readonly #seed: number
  readonly #byBucket: Uint8Array
  readonly #byTicket: Uint8Array

  /** At most 256 weights. */
  constructor(weights: readonly number[], seed: string) {
    this.#seed = murmur3(seed, 0)
    this.#byBucket = dealBuckets(weights)
    this.#byTicket = Uint8Array.from(shuffledBuckets(this.#seed), bucket => this.#byBucket[bucket]!)
  }

  /** The same for the same text, in every process. */
  ofText(text: string): number {
    return this.#byBucket[bucketOf(text, this.#seed)]!
  }

  /** Of a number below BUCKETS that was drawn at random once and is kept by the client. */
  ofTicket(ticket: number): number {
    return this.#byTicket[ticket]!
  }
}
