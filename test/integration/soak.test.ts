// Half a minute of the soak: `npm run soak` runs the same for as long as one likes.
import t from 'tap'
import { soak } from '../support/soak/soak.ts'

t.setTimeout(240_000)

t.test('good and bad clients, killed upstreams and reloads leave nothing behind', { timeout: 230_000 }, async t => {
  const report = await soak(t, 30)
  t.comment(JSON.stringify(report, null, 2))
  t.same(report.faults, [])
  t.ok(report.requests > 1000, `${report.requests} requests`)
  t.ok(report.reloads >= 2 && report.refused >= 1, `${report.reloads} reloads, ${report.refused} refused`)
  t.ok(report.kills > 5, `${report.kills} upstream processes killed`)
  t.ok((report.statuses['steady 200'] ?? 0) > 200)
  t.ok((report.statuses['shaky 200'] ?? 0) > 50)
  const [before, after] = report.descriptors
  t.ok(after <= before, `${after} descriptors, ${before} before`)
  // A leak of what half a minute moves would be hundreds of MiB; V8 keeps some of what it once took.
  t.ok(report.memory.at(-1)! < 400, `${report.memory} MiB`)
})
