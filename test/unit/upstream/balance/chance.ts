// What chance allows: chi-square of counted picks against the shares they were due.
import type { Balancer } from '../../../../src/upstream/balance/balancer.ts'
import type { Endpoint } from '../../../../src/upstream/endpoint.ts'

/** Chi-square at p = 0.001 by degrees of freedom. */
const CRITICAL = [0, 10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877]

/** The value that chance stays below 999 times of 1,000; past the table by Wilson and Hilferty's approximation. */
function critical(degrees: number): number {
  const ninth = 2 / (9 * degrees)
  return CRITICAL[degrees] ?? degrees * (1 - ninth + 3.0902 * Math.sqrt(ninth)) ** 3
}

/** How often each was picked in so many picks; nothing is ever under way. Fails when none is picked. */
export function countPicks(balancer: Balancer, picks: number, avoid: Endpoint | null = null): Map<Endpoint, number> {
  const counts = new Map(balancer.endpoints.map(endpoint => [endpoint, 0]))
  for (let i = 0; i < picks; i++) {
    const endpoint = balancer.pick(0, avoid)!
    counts.set(endpoint, counts.get(endpoint)! + 1)
  }
  return counts
}

/** What is wrong with counts that are due to be by `weights`, in the same order; '' when chance may have made them. */
export function offChance(counts: readonly number[], weights: readonly number[]): string {
  const picks = counts.reduce((a, b) => a + b, 0)
  const sum = weights.reduce((a, b) => a + b, 0)
  let chi = 0
  let degrees = -1
  for (const [i, weight] of weights.entries()) {
    if (weight === 0) {
      if (counts[i] !== 0) return `no. ${i} has weight 0 and was picked ${counts[i]} times`
      continue
    }
    degrees++
    const due = (weight * picks) / sum
    chi += (counts[i]! - due) ** 2 / due
  }
  return degrees < 1 || chi < critical(degrees) ? '' : `chi-square ${chi.toFixed(2)} with ${degrees} degrees`
}
