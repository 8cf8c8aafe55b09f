// The RateLimit fields of draft-ietf-httpapi-ratelimit-headers-11, as lists of RFC 9651: what each limit is, and how it stands.
import type { Tally } from '../../src/plugin-api.ts'
import type { Policy } from './options.ts'

/** RateLimit-Policy: quota, and window in seconds where it is a whole number of them. */
export function policyField(policies: readonly Policy[]): string {
  return policies
    .map(({ name, limit, window }) => `"${name}";q=${limit}${window % 1000 === 0 ? `;w=${window / 1000}` : ''}`)
    .join(', ')
}

/** What RateLimit says of each policy, up to the number that is left. */
export function standingHeads(policies: readonly Policy[]): string[] {
  return policies.map(({ name }, i) => `${i === 0 ? '' : ', '}"${name}";r=`)
}

/** RateLimit: what is left, and the seconds until there is more. */
export function standingField(heads: readonly string[], tally: Tally): string {
  let text = `${heads[0]! + tally.remaining};t=${Math.ceil(tally.reset / 1000)}`
  let next = tally.next
  for (let i = 1; next !== null; i++, next = next.next) {
    text += `${heads[i]! + next.remaining};t=${Math.ceil(next.reset / 1000)}`
  }
  return text
}

/** Retry-After in whole seconds, so that a request sent then passes; null when it never would. */
export function retryAfter(tally: Tally): string | null {
  let longest = 0
  for (let each: Tally | null = tally; each !== null; each = each.next) {
    if (each.retryAfter > longest) longest = each.retryAfter
  }
  return longest === Number.POSITIVE_INFINITY ? null : String(Math.max(1, Math.ceil(longest / 1000)))
}
