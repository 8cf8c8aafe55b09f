// Fuzzes the HTTP/1.1 codec and the path rules: seeded cases, read in pieces, and held against Node's llhttp.
//
// npm run fuzz -- [--cases 1000000] [--seed N] [--target requests|answers|paths]. Ends with 1 where there is a bug;
// the same seed and number make the same cases.
import { parseArgs } from 'node:util'
import { play, TARGETS, type Target } from '../test/support/fuzz/campaign.ts'

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000000' },
    seed: { type: 'string' },
    target: { type: 'string' },
  },
})
const cases = Number(values.cases)
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
if (
  !(cases > 0) ||
  !Number.isInteger(seed) ||
  !(values.target === undefined || TARGETS.includes(values.target as Target))
) {
  console.error(`npm run fuzz -- [--cases N] [--seed N] [--target ${TARGETS.join('|')}]`)
  process.exit(2)
}
console.log(`seed ${seed}, llhttp ${process.versions['llhttp']}, Node ${process.versions.node}`)
// Shares of the cases: requests are where an attacker is.
const SHARES: Record<Target, number> = { requests: 0.6, answers: 0.25, paths: 0.15 }
let bugs = 0
for (const target of TARGETS) {
  if (values.target !== undefined && values.target !== target) continue
  const started = performance.now()
  const share = values.target === undefined ? SHARES[target] : 1
  const report = play(target, seed, Math.ceil(cases * share))
  const seconds = (performance.now() - started) / 1000
  console.log(`\n${target}: ${report.cases} cases in ${seconds.toFixed(0)} s, something accepted in ${report.accepted}`)
  for (const [name, count] of [...report.differences].sort((a, b) => b[1] - a[1])) console.log(`  ${count} ${name}`)
  console.log(`  ${report.bugCount} bugs`)
  for (const what of report.bugs) console.log(`\n${what}`)
  bugs += report.bugCount
}
process.exit(bugs === 0 ? 0 : 1)
