// A thousand changes of the file in ten seconds: few reloads, and the last content wins.
import { renameSync, utimesSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { startChild } from '../support/child-gateway.ts'
import { eventually, pause } from '../support/within.ts'

t.test(
  'a thousand changes in ten seconds: few reloads, no descriptor left, the last content wins',
  { timeout: 240_000 },
  async t => {
    const text = (version: number) => `
listeners: [{ name: web, port: 0 }]
admin: { port: 0 }
routes: [{ name: all, match: { path: /* }, respond: { status: 200, body: "version ${version}" } }]
`
    const gateway = await startChild(t, text(0))
    await gateway.reload(text(1))
    const descriptors = gateway.process.descriptors
    const began = performance.now()
    for (let i = 2; i <= 1000; i++) {
      if (i % 3 === 0) utimesSync(gateway.file, new Date(), new Date())
      else if (i % 3 === 1) gateway.write(text(i))
      else {
        writeFileSync(`${gateway.file}~`, text(i))
        renameSync(`${gateway.file}~`, gateway.file)
      }
      await pause(Math.max(0, began + i * 10 - performance.now()))
    }
    gateway.write(text(1001))
    const ask = async () => (await fetch(gateway.url, { headers: { connection: 'close' } })).text()
    let body = ''
    for (let i = 0; i < 600 && body !== 'version 1001'; i++) {
      await pause(100)
      body = await ask()
    }
    t.equal(body, 'version 1001')
    const reloads = gateway.process.log.filter(entry => entry.msg === 'configuration reloaded').length
    t.ok(reloads < 100, `${reloads} reloads`)
    // A check may meet a file that is being written in place; the end of that write is a change again.
    t.match(await gateway.lastReload(), { ok: true, faults: [] })
    await eventually(
      () => gateway.process.descriptors <= descriptors,
      () => `${gateway.process.descriptors} descriptors, ${descriptors} before`,
      10_000,
    )
    t.pass('as many descriptors as before')
  },
)
