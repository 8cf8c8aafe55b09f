// Runs a soak for some minutes and says what it found: `npm run soak -- --minutes 60`, or that of discovery, with a thousand
// services that change: `npm run soak -- discovery --minutes 10`. Exit 1 where something is wrong.
import { parseArgs } from 'node:util'
import { soakDiscovery } from '../test/support/soak/discovery.ts'
import { soak } from '../test/support/soak/soak.ts'

const { values, positionals } = parseArgs({
  options: { minutes: { type: 'string', default: '10' } },
  allowPositionals: true,
})
const minutes = Number(values.minutes)
const kinds = { all: soak, discovery: soakDiscovery }
const run = kinds[(positionals[0] ?? 'all') as keyof typeof kinds]
if (!(minutes > 0) || run === undefined || positionals.length > 1) {
  console.error('usage: npm run soak [-- [discovery] --minutes N]')
  process.exit(2)
}

const last: (() => unknown)[] = []
const end = async () => {
  for (const step of last.splice(0).reverse()) await step()
}
let failed = true
try {
  const report = await run({ teardown: step => void last.push(step) }, minutes * 60, line => console.log(line))
  failed = report.faults.length > 0
  console.log(JSON.stringify(report, null, 2))
} finally {
  await end()
}
console.log(failed ? 'the soak found faults' : 'nothing is wrong')
process.exit(failed ? 1 : 0)
