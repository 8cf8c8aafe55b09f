// The vectors of ../shared/corpora/balancer, where that folder is there.
import fs from 'node:fs'

interface Reference {
  readonly smooth_weighted_round_robin: { readonly vectors: readonly { weights: number[]; sequence: string }[] }
  readonly weighted_canary: { readonly tests: readonly { weights: number[]; n: number }[] }
}

const file = new URL('../../../../../shared/corpora/balancer/balancer-reference.json', import.meta.url)

/** Null without the folder. */
export const reference: Reference | null = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : null
