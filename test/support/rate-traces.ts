// Arrival traces with their decisions, and naive counters that keep every admitted request, to hold the real ones to.
import type { Algorithm } from '../../src/store/store.ts'

/** Arrivals in milliseconds, and of each algorithm a letter an arrival: 1 admitted, 0 refused. */
export interface Trace {
  readonly id: string
  readonly limit: number
  readonly windowMs: number
  readonly times: readonly number[]
  readonly expected: {
    readonly sliding_log: string
    readonly sliding_counter: string
    readonly gcra_burst_eq_limit: string
  }
}

/** Worked out by hand. */
export const TRACES: readonly Trace[] = [
  {
    id: 'half decayed: est = 1 · 0.5 lets one pass',
    limit: 1,
    windowMs: 1000,
    times: [0, 999, 1000, 1499, 1500, 1501, 2000, 2500],
    // At 1000 the estimate is 1, later it is below; what passes at 1499 is a whole one again at 2000.
    expected: { sliding_log: '10100010', sliding_counter: '10010001', gcra_burst_eq_limit: '10100010' },
  },
  {
    id: 'a burst on both sides of a boundary',
    limit: 4,
    windowMs: 1000,
    times: [990, 991, 992, 993, 994, 1000, 1001, 1010, 1250, 1251, 1500, 1501],
    expected: { sliding_log: '111100000000', sliding_counter: '111100100101', gcra_burst_eq_limit: '111100001010' },
  },
]

/** Admits or refuses `cost` units at `now`. Times never go back. */
export type Naive = (now: number, cost: number) => boolean

/** Each algorithm as its definition says, slowly. */
export const naive: Readonly<Record<Algorithm, (limit: number, window: number, burst: number) => Naive>> = {
  'sliding-window': (limit, window) => {
    const admitted: [number, number][] = []
    const sum = (index: number) =>
      admitted.reduce((units, [time, cost]) => units + (Math.floor(time / window) === index ? cost : 0), 0)
    return (now, cost) => {
      const index = Math.floor(now / window)
      const elapsed = now - index * window
      const estimate = (sum(index - 1) * (window - elapsed)) / window + sum(index)
      if (Math.floor(estimate + 1e-9) + cost > limit) return false
      admitted.push([now, cost])
      return true
    }
  },
  'sliding-log': (limit, window) => {
    const admitted: [number, number][] = []
    return (now, cost) => {
      const units = admitted.reduce((sum, [time, each]) => sum + (time > now - window ? each : 0), 0)
      if (units + cost > limit) return false
      admitted.push([now, cost])
      return true
    }
  },
  // GCRA: a theoretical arrival time, in units of 1/limit milliseconds.
  'token-bucket': (limit, window, burst) => {
    let arrival = Number.NEGATIVE_INFINITY
    return (now, cost) => {
      const from = Math.max(arrival, now * limit)
      if (from - now * limit > window * (burst - cost)) return false
      arrival = from + window * cost
      return true
    }
  },
}
