// Runs the soak for some minutes and says what it found: `npm run soak -- --minutes 60`; exit 1 where something is wrong.
import { parseArgs } from 'node:util'
import { soak } from '../test/support/soak/soak.ts'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } })
const minutes = Number(values.minutes)
if (!(minutes > 0)) {
  console.error('usage: npm run soak [-- --minutes N]')
  process.exit(2)
}

const last: (() => unknown)[] = []
const end = async () => {
  for (const step of last.splice(0).reverse()) await step()
}
let failed = true
try {
  const report = await soak({ teardown: step => void last.push(step) }, minutes * 60, line => console.log(line))
  failed = report.faults.length > 0
  console.log(JSON.stringify(report, null, 2))
} finally {
  await end()
}
console.log(failed ? 'the soak found faults' : 'nothing is wrong')
process.exit(failed ? 1 : 0)
