// Reloads under load, valid and broken ones: no request fails of them, and plugins keep what they know.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { lives } from '../support/counting-plugins.ts'
import { type Answer, HttpLoad } from '../support/http-load.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { eventually } from '../support/within.ts'

// `npm run soak` plays more.
t.setTimeout(240_000)

const RELOADS = 9
const REQUESTS = 10_000

async function upstreamPort(t: Test): Promise<number> {
  const server = createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1')
  server.keepAliveTimeout = 60_000
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

t.test(`${RELOADS} reloads, valid and broken, under load`, { timeout: 240_000 }, async t => {
  const from = lives.length
  const port = await upstreamPort(t)
  const text = (version: number) => `
listeners: [{ name: web, port: 0 }]
admin: off
upstreams: { up: { endpoints: ["127.0.0.1:${port}"] } }
plugins: [request-id, count-a, { headers: { response: { set: { x-version: "${version}" } } } }]
routes:
  - { name: v${version}, match: { path: /v${version}/* }, upstream: up }
  - { name: all, match: { path: /* }, upstream: up, plugins: [{ count-b: { label: "${version}" } }] }
`
  const broken = [
    (version: number) => `${text(version)}  - { name: all, match: { path: /twice } }\n`,
    (version: number) => text(version).replace('upstream: up', 'upstream: down'),
    (version: number) => text(version).slice(0, -30),
    (version: number) => text(version).replace('count-a', 'count-z'),
    () => '',
    (version: number) => text(version).replace('port: 0', 'port: 99999'),
  ]
  const g = await startReloading(t, text(0))
  let version = 0
  const judge = ({ status, headers, body }: Answer) => {
    const seen = Number(headers['x-version'])
    const right = status === 200 && body === 'ok' && (seen === version || seen === version - 1)
    return right ? null : `status ${status}, version ${seen} beside ${version}`
  }
  const load = new HttpLoad(g.port, 8, undefined, judge, 6)
  for (let i = 0; i < RELOADS; i++) {
    if (i % 4 === 0) {
      version++
      if (!(await g.reload(text(version)))) t.fail(`reload ${i}: ${g.faults.join()}`)
    } else {
      if (await g.reload(broken[(i - version) % broken.length]!(version + 1))) t.fail(`reload ${i} took a broken file`)
      if (g.faults.length === 0) t.fail(`reload ${i} told no fault`)
    }
  }
  await eventually(
    () => load.requests >= REQUESTS,
    () => `${load.requests} requests`,
    60_000,
  )
  await load.stop()
  t.same(load.failures.slice(0, 10), [], `${load.requests} requests, none failed`)
  t.equal(load.connections, 8, 'no connection was closed')
  const [everywhere, ...own] = lives.slice(from)
  t.match(everywhere, { label: '', closed: 0, requests: load.requests, open: 0 }, 'one instance saw every request')
  t.same(
    own.map(life => life.label),
    Array.from({ length: version + 1 }, (_, i) => `${i}`),
    'one for each change',
  )
  t.same(new Set(own.slice(0, -1).map(life => `${life.closed} ${life.openAtClose}`)), new Set(['1 0']))
  t.same(
    lives.slice(from).flatMap(life => life.faults),
    [],
  )
  t.equal(
    own.reduce((sum, life) => sum + life.requests, 0),
    load.requests,
  )
})
