// A latency histogram in logarithmic buckets of one per cent, from 1 µs to a minute; autocannon's own counts whole milliseconds only.

const BASE = 1.01
const FIRST_MS = 0.001
const SCALE = 1 / Math.log(BASE)

/** Number of buckets: 0.001 ms … 60 s. */
export const BUCKETS = Math.ceil(Math.log(60_000 / FIRST_MS) * SCALE) + 1

/** Bucket of a latency in milliseconds. */
export function bucketOf(ms: number): number {
  if (!(ms > FIRST_MS)) return 0
  return Math.min(BUCKETS - 1, Math.floor(Math.log(ms / FIRST_MS) * SCALE))
}

/** Lowest latency in milliseconds that falls into a bucket. */
export function bucketFloor(bucket: number): number {
  return FIRST_MS * BASE ** bucket
}
