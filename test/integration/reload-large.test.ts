// Reloads of a large configuration under load: nothing fails, and no request waits long for the work that a reload is.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startChild } from '../support/child-gateway.ts'
import { HttpLoad } from '../support/http-load.ts'
import { eventually } from '../support/within.ts'

const ROUTES = 10_000
const RELOADS = 2
/** Longest that one piece of a reload may hold requests up, in milliseconds of work: a busy machine makes more of them. */
const BOUND = 150

t.test(`${ROUTES} routes`, { timeout: 540_000 }, async t => {
  const upstream = createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  t.teardown(() => void upstream.close())
  const { port } = upstream.address() as AddressInfo
  const text = (version: number) => {
    const lines = [
      'listeners: [{ name: web, port: 0 }]',
      'admin: { port: 0 }',
      `upstreams: { up: { endpoints: ["127.0.0.1:${port}"] } }`,
      `plugins: [request-id, { headers: { response: { set: { x-version: "${version}" } } } }]`,
      'routes:',
    ]
    for (let i = 0; i < ROUTES; i++) {
      const own = i % 10 === 0 ? `, plugins: [{ headers: { request: { set: { x-route: "${version}-${i}" } } } }]` : ''
      lines.push(
        `  - { name: r${i}, match: { path: "/p${i % 100}/r${i}/*" }, upstream: up, timeout: ${10 + version}s${own} }`,
      )
    }
    return `${lines.join('\n')}\n`
  }
  const preload = new URL('../support/tell-held.ts', import.meta.url).href
  const gateway = await startChild(t, text(0), { NODE_OPTIONS: `--import=${preload}` })
  let version = 0
  const load = new HttpLoad(
    gateway.port,
    4,
    n => `/p${n % 100}/r${n % ROUTES}/x`,
    ({ status, headers }) => {
      const seen = Number(headers['x-version'])
      return status === 200 && (seen === version || seen === version - 1) ? null : `status ${status}, version ${seen}`
    },
    5,
  )
  const holds: number[] = []
  const found = () => [...gateway.process.err.matchAll(/^loop held (.*) ms$/gm)]
  const held = async () => {
    const before = found().length
    gateway.process.kill('SIGUSR2')
    await eventually(
      () => found().length > before,
      () => 'the process does not tell',
    )
    return Number(found().at(-1)![1])
  }
  await held()
  for (let i = 0; i < RELOADS; i++) {
    version++
    t.match(await gateway.reload(text(version)), { ok: true, faults: [] })
    holds.push(await held())
  }
  // What only the main thread finds: its place in the file is found by another.
  const taken = text(version).replace('port: 0 }', `port: 0 }, { name: taken, port: ${port} }`)
  const { ok, faults } = await gateway.reload(taken)
  t.equal(ok, false)
  t.match(faults, [/gateway\.yaml:1:\d+ listeners\[1\]\.port: .*in use/])
  const refused = await held()
  await load.stop()
  t.same(load.failures.slice(0, 10), [], `${load.requests} requests, none failed`)
  t.ok(load.requests > 1000, `${load.requests} requests`)
  t.equal(load.connections, 4, 'no connection was closed')
  const best = Math.min(...holds)
  t.comment(`longest hold of the event loop in each reload: ${holds.join(', ')} ms`)
  t.ok(best < BOUND, `held for ${best} ms`)
  t.ok(refused < BOUND, `held for ${refused} ms by a reload that was refused`)
})
