// The vectors of ../shared/corpora/balancer, where that folder is there.
import fs from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../../support/root.ts'

interface Reference {
  readonly smooth_weighted_round_robin: { readonly vectors: readonly { weights: number[]; sequence: string }[] }
  readonly weighted_canary: { readonly tests: readonly { weights: number[]; n: number }[] }
}

const file = join(ROOT, '../shared/corpora/balancer/balancer-reference.json')

/** Null without the folder. */
export const reference: Reference | null = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : null
