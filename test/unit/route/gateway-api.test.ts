// The Kubernetes Gateway API's conformance cases for HTTPRoute, translated to our routes and played in-process.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { conflicts } from '../../../src/route/entry.ts'
import type { MatchOptions } from '../../../src/route/match.ts'
import { PathRewrite } from '../../../src/route/rewrite.ts'
import { type RouteTable, RouteTableBuilder } from '../../../src/route/table.ts'
import { requestHead } from '../../support/request-head.ts'
import { ROOT } from '../../support/root.ts'

interface HttpMatch {
  path?: { type: 'Exact' | 'PathPrefix'; value: string }
  method?: string
  headers?: { name: string; value: string }[]
}
interface Rule {
  matches?: HttpMatch[]
  filters?: {
    type: string
    urlRewrite?: { path: { type: string; replaceFullPath?: string; replacePrefixMatch?: string } }
  }[]
  backendRefs: { name: string }[]
}
interface Manifest {
  metadata: { name: string }
  spec: { parentRefs: { name: string }[]; hostnames?: string[]; rules: Rule[] }
}
interface Case {
  id: string
  manifest: Manifest[]
  /** A list for each Gateway: the routes of that one refer to it by name, in the same order. */
  listeners: { hostname?: string }[][]
  requests: {
    path: string | null
    host: string | null
    method: string | null
    headers: Record<string, string> | null
    backend: string | null
    status: number | null
  }[]
}
interface Target {
  backends: string[]
  rewrite: string | null
}

/** PathPrefix ignores a slash at its end. */
function pathOf(match: HttpMatch): string {
  const { type, value } = match.path ?? { type: 'PathPrefix', value: '/' }
  return type === 'Exact' ? value : `${value.replace(/\/$/, '')}/*`
}

function rewriteOf(rule: Rule): string | null {
  const path = rule.filters?.find(filter => filter.type === 'URLRewrite')?.urlRewrite?.path
  if (path === undefined) return null
  return path.type === 'ReplaceFullPath' ? path.replaceFullPath! : `${path.replacePrefixMatch!.replace(/\/$/, '')}/*`
}

/** What a route's hostnames leave of a listener's: the narrower of each pair that fits. */
function intersect(route: readonly string[] | undefined, listeners: readonly { hostname?: string }[]): string[] {
  const names = new Set<string>()
  for (const { hostname } of listeners) {
    for (const name of route ?? ['*']) {
      if (hostname === undefined) names.add(name)
      else if (name === '*' || name === hostname || covers(name, hostname)) names.add(hostname)
      else if (covers(hostname, name)) names.add(name)
    }
  }
  return [...names]
}

function covers(wildcard: string, name: string): boolean {
  return wildcard.startsWith('*.') && name.endsWith(wildcard.slice(1))
}

/** One table for each Gateway, for each has its own listeners. */
function tablesOf(manifests: readonly Manifest[], listeners: Case['listeners']): RouteTable<Target>[] {
  const gateways = [...new Set(manifests.map(manifest => manifest.spec.parentRefs[0]!.name))]
  return gateways.map((gateway, nth) => {
    const builder = new RouteTableBuilder<Target>()
    const all: { match: MatchOptions; index: number }[] = []
    for (const { spec } of manifests) {
      if (spec.parentRefs[0]!.name !== gateway) continue
      const host = intersect(spec.hostnames, listeners[nth] ?? [{}])
      for (const rule of spec.rules) {
        for (const match of rule.matches ?? [{}]) {
          const headers = Object.fromEntries((match.headers ?? []).map(({ name, value }) => [name, value]))
          const methods = match.method === undefined ? undefined : [match.method]
          const options = { host, path: [pathOf(match)], methods, headers }
          all.push({ match: options, index: all.length })
          const target = { backends: rule.backendRefs.map(ref => ref.name), rewrite: rewriteOf(rule) }
          builder.add(options, target, all.length)
        }
      }
    }
    t.same(conflicts(all), [], `${gateway}: no two routes are taken for the same`)
    return builder.build()
  })
}

/** Where a request goes: a backend and the path it gets there; or 404 or 405. */
function play(
  table: RouteTable<Target>,
  method: string,
  host: string,
  path: string,
  headers: Record<string, string> = {},
) {
  const fields = Object.entries(headers).flatMap(([name, value]) => [name.toLowerCase(), value])
  const head = requestHead(method, host, path, fields)
  const entry = table.findEntry(head)
  if (entry === null) return { status: table.allow(head) === null ? 404 : 405, backends: [], path }
  const { rewrite, backends } = entry.route
  return { status: 200, backends, path: rewrite === null ? path : new PathRewrite(rewrite, entry.pattern).apply(path) }
}

const FILE = join(ROOT, '../shared/corpora/routing/gateway-api.json')

/** Our `*.` is exactly one label more; the Gateway API's is one or more. docs/configuration.md says so. */
const OTHER_LAW = new Set(['foo.bar.anotherwildcard.io'])

if (!existsSync(FILE)) {
  t.comment(
    '../shared/corpora/routing/gateway-api.json is absent: its cases are not played; those below cover the same rules',
  )
} else {
  for (const { id, manifest, listeners, requests } of JSON.parse(readFileSync(FILE, 'utf8')) as Case[]) {
    const tables = tablesOf(manifest, listeners)
    let incomplete = 0
    for (let i = 0; i < requests.length; i++) {
      const { path, method, headers, backend, status } = requests[i]!
      if (path === null) {
        // The record has lost path and method of these; the second half of this file plays them whole.
        incomplete++
        continue
      }
      const host = requests[i]!.host ?? 'gateway.test'
      const answers = tables.map(table => play(table, method ?? 'GET', host, path, headers ?? {}))
      const answer = answers.find(({ status }) => status === 200) ?? answers[0]!
      const said = `${id}: ${method ?? 'GET'} ${host}${path}`
      if (OTHER_LAW.has(host)) {
        t.equal(answer.status, 404, `${said} is two labels more and finds nothing`)
      } else if (status === 404) {
        t.ok(answer.status === 404 || answer.status === 405, `${said} finds nothing (${answer.status})`)
      } else if (backend === null && status === null) {
        // A rewrite: the next record is what the backend must see.
        const seen = requests[++i]!
        t.same([answer.backends, answer.path], [[seen.backend], seen.path], `${said} arrives as ${seen.path}`)
      } else if (backend === null) {
        t.equal(answer.status, status, said)
      } else {
        t.same(answer.backends, [backend], `${said} goes to ${backend}`)
      }
    }
    if (incomplete > 0) t.comment(`${id}: ${incomplete} records without a path were left to the own cases`)
  }
}

/** Own cases of the same rules. */
function own(hosts: string[], rules: [backend: string, match: HttpMatch][], listener?: string): RouteTable<Target> {
  const manifest: Manifest = {
    metadata: { name: 'own' },
    spec: {
      parentRefs: [{ name: 'own' }],
      hostnames: hosts,
      rules: rules.map(([name, match]) => ({ matches: [match], backendRefs: [{ name }] })),
    },
  }
  return tablesOf([manifest], [[listener === undefined ? {} : { hostname: listener }]])[0]!
}

t.test('own: path, then method, then headers decide', async t => {
  const version = (value: string) => [{ name: 'Version', value }]
  const prefix = (value: string) => ({ type: 'PathPrefix' as const, value })
  const table = own(
    ['*'],
    [
      ['posts', { method: 'POST' }],
      ['gets', { method: 'GET' }],
      ['put-one', { method: 'PUT', headers: version('one') }],
      ['post-two', { method: 'POST', path: prefix('/second'), headers: version('two') }],
      ['delete-three', { method: 'DELETE', path: prefix('/third/'), headers: version('three') }],
      ['fourth', { path: prefix('/fourth') }],
      ['patches', { method: 'PATCH' }],
      ['header-four', { headers: version('four') }],
      ['exact', { path: { type: 'Exact', value: '/fourth/exact' } }],
    ],
  )
  const cases: [method: string, path: string, version: string, result: string | number][] = [
    ['PUT', '/', 'one', 'put-one'],
    ['POST', '/second', 'two', 'post-two'],
    ['POST', '/second', '', 'posts'],
    ['DELETE', '/third', 'three', 'delete-three'],
    ['DELETE', '/third/', 'three', 'delete-three'],
    ['DELETE', '/third', '', 405],
    ['PATCH', '/fourth', '', 'fourth'],
    ['PATCH', '/fourth/exact', '', 'exact'],
    ['PATCH', '/fourth/exact/', '', 'fourth'],
    ['PATCH', '/fourthly', '', 'patches'],
    ['PATCH', '/', 'four', 'patches'],
    ['TRACE', '/', 'four', 'header-four'],
    ['HEAD', '/', '', 405],
  ]
  for (const [method, path, version, result] of cases) {
    const answer = play(table, method, 'h', path, version === '' ? {} : { version })
    t.equal(answer.backends[0] ?? answer.status, result, `${method} ${path} version ${version || 'none'}`)
  }
})

t.test("own: what is left of a route's hosts on a listener", async t => {
  const all: [string, HttpMatch][] = [['it', {}]]
  const status = (hosts: string[], listener: string, host: string) =>
    play(own(hosts, all, listener), 'GET', host, '/').status
  t.equal(status(['*.test', 'other.example'], 'a.test', 'a.test:99'), 200)
  t.equal(status(['*.test', 'other.example'], 'a.test', 'b.test'), 404)
  t.equal(status(['a.test', 'test'], '*.test', 'a.test'), 200)
  t.equal(status(['a.test', 'test'], '*.test', 'test'), 404)
  t.equal(status(['*.test'], '*.test', 'b.test'), 200)
})
