// Compiling over several reloads: slots never clash in a plan, and what is carried over is the same object in its old slot.
import { deepEqual, equal, ok } from 'node:assert/strict'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { type Config, document } from '../../../src/config/document.ts'
import { Catalog } from '../../../src/pipeline/catalog.ts'
import { definePlugin, type Plugin, type PluginDefinition, type Slot, z } from '../../../src/plugin-api.ts'
import { fingerprint, type PluginSite } from '../../../src/snapshot/carry.ts'
import { CompileError, compile } from '../../../src/snapshot/compile.ts'
import type { Snapshot } from '../../../src/snapshot/snapshot.ts'
import type { Upstream } from '../../../src/upstream/upstream.ts'
import { makeCertificates } from '../../support/certificates.ts'
import { eventually } from '../../support/within.ts'

/** What became of an instance. */
interface Fate {
  closed: number
}

const fates = new Map<Plugin, Fate>()

/** What instances have in common, and how often it was closed. */
const commons = new Map<unknown, Fate>()

const kind = (name: string, slotted: boolean) =>
  definePlugin({
    name,
    description: 'A test.',
    options: z.strictObject({ v: z.number().default(0), fail: z.boolean().default(false) }),
    create({ v, fail }, { slot, shared }) {
      if (slotted)
        shared({ v }, () => {
          const fate: Fate = { closed: 0 }
          const made = { close: () => void fate.closed++ }
          commons.set(made, fate)
          return made
        })
      if (fail) throw new Error('it was told to')
      const mine: Slot<unknown> | null = slotted ? slot() : null
      const fate: Fate = { closed: 0 }
      const plugin: Plugin = {
        onRequest(x) {
          mine?.set(x, plugin)
        },
        close() {
          fate.closed++
        },
      }
      fates.set(plugin, fate)
      return plugin
    },
  }) as PluginDefinition

const KINDS = ['a', 'b', 'c', 'd']
const definitions = [...KINDS.map(name => kind(name, true)), kind('plain', false)]
const log = { debug() {}, info() {}, warn() {}, error() {} }
/** Nobody stops it. */
const { signal: stop } = new AbortController()

interface Entry {
  readonly name: string
  readonly v: number
  readonly off: boolean
}

interface Shape {
  readonly everywhere: readonly Entry[]
  readonly routes: readonly { readonly name: string; readonly plugins: readonly Entry[] }[]
}

function config({ everywhere, routes }: Shape, more: Record<string, unknown> = {}): Config {
  const entries = (list: readonly Entry[]) => list.map(({ name, v, off }) => ({ [name]: { v, off } }))
  return document.parse({
    listeners: [{ name: 'web', port: 0 }],
    plugins: entries(everywhere),
    routes: routes.map(({ name, plugins }) => ({
      name,
      match: { path: `/${name}` },
      plugins: entries(plugins),
      respond: { status: 204 },
    })),
    ...more,
  })
}

const entry = fc.record({
  name: fc.constantFrom(...KINDS, 'plain'),
  v: fc.nat({ max: 2 }),
  off: fc.boolean().map(off => off && true),
})
const list = fc.array(entry, { maxLength: 5 })
const shape: fc.Arbitrary<Shape> = fc.record({
  everywhere: list,
  routes: fc.uniqueArray(fc.record({ name: fc.constantFrom('r', 's', 't'), plugins: list }), {
    selector: route => route.name,
    maxLength: 3,
  }),
})

/** The sites of one route's plan. */
function planOf(snapshot: Snapshot, route: string): PluginSite[] {
  return [...snapshot.sites.values()].filter(site => site.route === null || site.route === route)
}

t.test('any lists of plugins over any reloads', async t => {
  await t.resolves(
    fc.assert(
      fc.asyncProperty(fc.array(shape, { minLength: 2, maxLength: 6 }), async shapes => {
        fates.clear()
        commons.clear()
        let previous: Snapshot | null = null
        for (const each of shapes) {
          const compiled = await compile(config(each), previous, {
            catalog: new Catalog(definitions),
            log,
            file: '/gateway.yaml',
            stop,
          })
          const next: Snapshot = compiled.snapshot
          compiled.commit()
          for (const { name } of each.routes) {
            const slots = planOf(next, name).flatMap(site => (site.slot === null ? [] : [site.slot.index]))
            equal(new Set(slots).size, slots.length, `slots of ${name}: ${slots}`)
            const shared = planOf(next, name).flatMap(site => site.shared ?? [])
            equal(new Set(shared).size, shared.length, `${name} has nothing in common with itself`)
            // As few as there could be, or a plan that many reloads have changed would grow without end.
            ok(Math.max(-1, ...slots) < 40)
          }
          if (previous !== null) {
            for (const [key, site] of next.sites) {
              const before: PluginSite | undefined = previous.sites.get(key)
              const same: boolean = before !== undefined && before.fingerprint === site.fingerprint
              equal(same, before === site, `${key} is carried exactly where it did not change`)
            }
          }
          const live = new Set([...next.sites.values()].map(site => site.plugin))
          for (const [plugin, fate] of fates) equal(fate.closed, live.has(plugin) ? 0 : 1)
          const held = new Set([...next.sites.values()].map(site => site.shared?.value))
          for (const [common, fate] of commons) equal(fate.closed, held.has(common as never) ? 0 : 1)
          // A plan has its plugins in the order written, gateway-wide first, without those that are off.
          for (const { route } of next.table.listing()) {
            const own = each.routes.find(given => given.name === route.name)!.plugins
            deepEqual(
              route.plan.steps.map(step => step.name),
              [...each.everywhere, ...own].filter(given => !given.off).map(given => given.name),
            )
          }
          previous = next
        }
      }),
      { numRuns: 150 },
    ),
  )
})

t.test('what instances on routes have in common: by options, over reloads, until the last has gone', async t => {
  commons.clear()
  const context = { catalog: new Catalog(definitions), log, file: '/gateway.yaml', stop }
  const a = (v: number) => ({ name: 'a', v, off: false })
  const next = async (previous: Snapshot | null, everywhere: Entry[], routes: Record<string, Entry[]>) => {
    const shape = { everywhere, routes: Object.entries(routes).map(([name, plugins]) => ({ name, plugins })) }
    const compiled = await compile(config(shape), previous, context)
    compiled.commit()
    const { sites } = compiled.snapshot
    const of = (route: string | null) =>
      [...sites.values()].filter(site => site.route === route).map(site => site.shared)
    return { snapshot: compiled.snapshot, of }
  }
  const closed = () => [...commons.values()].map(fate => fate.closed)
  const first = await next(null, [a(0)], { r: [a(0), a(0)], s: [a(0)], t: [a(1)] })
  const [[wide], [one, other], [same], [apart]] = [null, 'r', 's', 't'].map(first.of)
  t.equal(one, same)
  t.equal(new Set([wide, one, other, apart]).size, 4)
  const second = await next(first.snapshot, [], { s: [a(1)], t: [a(1)], u: [a(0)] })
  t.same([second.of('u')[0] === one, second.of('s')[0] === apart], [true, true], 'handed from one to the other')
  t.same(closed(), [1, 0, 1, 0])
  const gone = await next(second.snapshot, [], { s: [], t: [], u: [] })
  t.same(closed(), [1, 1, 1, 1])
  const again = await next(gone.snapshot, [], { s: [a(1)] })
  t.not(again.of('s')[0], apart, 'another')
  const elsewhere = await next(null, [], { s: [a(1)] })
  t.not(elsewhere.of('s')[0], again.of('s')[0], 'another gateway')
})

/** What a compile that must fail found. */
async function problemsOf(compiled: Promise<unknown>): Promise<CompileError['problems']> {
  const error = await compiled.then(
    () => null,
    (error: unknown) => error,
  )
  if (!(error instanceof CompileError)) throw new Error('it did not fail', { cause: error })
  return error.problems
}

t.test('a compile that fails or is not used closes what it made, and nothing else', async t => {
  fates.clear()
  commons.clear()
  const context = { catalog: new Catalog(definitions), log, file: '/gateway.yaml', stop }
  const all = [{ name: 'a', v: 0, off: false }]
  const first = await compile(config({ everywhere: all, routes: [] }), null, context)
  first.commit()
  const [a] = fates.keys()
  const more = { plugins: [{ a: { v: 0 } }, 'b', { c: { fail: true } }] }
  await t.rejects(compile(config({ everywhere: [], routes: [] }, more), first.snapshot, context), {
    name: 'CompileError',
    problems: [{ path: ['plugins', 2, 'c'], message: 'c cannot be made: it was told to' }],
  })
  const unused = await compile(
    config({ everywhere: [...all, { name: 'd', v: 0, off: false }], routes: [] }),
    first.snapshot,
    context,
  )
  unused.discard()
  t.same(
    [...fates.values()].map(fate => fate.closed),
    [0, 1, 1],
    'a lives; b and d are closed',
  )
  t.equal(fates.get(a!)!.closed, 0)
  t.same(
    [...commons.values()].map(fate => fate.closed),
    [0, 1, 1, 1],
    'and what they have in common; c had something already',
  )
})

t.test('everything that only compiling finds is told at once', async t => {
  const { at } = makeCertificates(t, {})
  const context = { catalog: new Catalog(definitions), log, file: at('gateway.yaml'), stop }
  const https = (ca: string) => ({ endpoints: ['127.0.0.1:1'], scheme: 'https', tls: { ca } })
  const faulty = config(
    { everywhere: [], routes: [] },
    {
      discovery: { cluster: { kind: 'kubernetes', namespace: 'a', caFile: 'gone.pem' } },
      upstreams: {
        found: { discover: { from: 'cluster', service: 'a' } },
        one: https('gone.pem'),
        two: https('gone.pem'),
        good: { endpoints: ['127.0.0.1:1'] },
      },
      plugins: [{ a: { v: 0 } }, { c: { fail: true } }],
      routes: ['/r', '/s'].map(path => ({
        name: path.slice(1),
        match: { path },
        upstream: 'good',
        plugins: [{ b: { fail: true } }, { d: { fail: true } }],
      })),
    },
  )
  t.same(
    (await problemsOf(compile(faulty, null, context))).map(({ path }) => path.join('.')),
    [
      'discovery.cluster',
      'upstreams.one.tls',
      'upstreams.two.tls',
      'plugins.1.c',
      'routes.0.plugins.0.b',
      'routes.0.plugins.1.d',
      'routes.1.plugins.0.b',
      'routes.1.plugins.1.d',
    ],
  )
})

t.test('an upstream is the same while its options and its certificates are', async t => {
  const { at, read } = makeCertificates(t, { other: 'DNS:other.test' })
  const context = { catalog: new Catalog(definitions), log, file: at('gateway.yaml'), stop }
  const next = async (previous: Snapshot | null, tls: Record<string, unknown> = { ca: 'ca.pem' }) => {
    const upstreams = { up: { endpoints: ['127.0.0.1:1'], scheme: 'https', tls } }
    const compiled = await compile(config({ everywhere: [], routes: [] }, { upstreams }), previous, context)
    compiled.commit()
    return compiled.snapshot
  }
  const first = await next(null)
  const second = await next(first)
  t.equal(second.upstreams.get('up'), first.upstreams.get('up'))
  writeFileSync(at('ca.pem'), read('other.pem'))
  const renewed = await next(second)
  t.not(renewed.upstreams.get('up'), first.upstreams.get('up'), 'a renewed certificate is used')
  const other = await next(renewed, { ca: 'ca.pem', servername: 'a.example' })
  t.not(other.upstreams.get('up'), renewed.upstreams.get('up'))
  writeFileSync(at('ca.pem'), '')
  await t.rejects(next(other, { ca: 'ca.pem' }), {
    name: 'CompileError',
    problems: [
      {
        path: ['upstreams', 'up', 'tls', 'ca'],
        message: 'a certificate file cannot be used: its file holds no certificate',
      },
    ],
  })
  rmSync(at('ca.pem'))
  await t.rejects(next(other, { ca: 'ca.pem', servername: 'a.example' }), {
    name: 'CompileError',
    message: /a certificate file cannot be used: ENOENT/,
    problems: [{ path: ['upstreams', 'up', 'tls'] }],
  })
})

t.test('a registry is the same while its options and its certificates are', async t => {
  const { at, read } = makeCertificates(t, { other: 'DNS:other.test' })
  const context = { catalog: new Catalog(definitions), log, file: at('gateway.yaml'), stop }
  const kinds = {
    consul: { kind: 'consul', address: 'https://127.0.0.1:1', tls: { ca: 'ca.pem' } },
    cluster: { kind: 'kubernetes', namespace: 'a', caFile: 'ca.pem' },
    file: { kind: 'file', path: 'a.yaml' },
  }
  const next = async (previous: Snapshot | null, discovery: object = kinds) => {
    const compiled = await compile(config({ everywhere: [], routes: [] }, { discovery }), previous, context)
    compiled.commit()
    return compiled.snapshot
  }
  const registries = (snapshot: Snapshot) => Array.from(snapshot.registries.values(), ({ registry }) => registry)
  const first = await next(null)
  const second = await next(first)
  t.strictSame(registries(second), registries(first))
  writeFileSync(at('ca.pem'), read('other.pem'))
  const renewed = await next(second)
  const [consul, cluster, file] = registries(second)
  t.not(registries(renewed)[0], consul, 'a renewed certificate is used')
  t.not(registries(renewed)[1], cluster)
  t.equal(registries(renewed)[2], file)
  // Taken as it is, an empty text would mean the usual authorities.
  writeFileSync(at('ca.pem'), '')
  for (const [name, path] of [
    ['consul', ['tls', 'ca']],
    ['cluster', ['caFile']],
  ] as const) {
    await t.rejects(next(renewed, { [name]: kinds[name] }), {
      name: 'CompileError',
      problems: [
        { path: ['discovery', name, ...path], message: 'the registry cannot be used: its file holds no certificate' },
      ],
    })
  }
  rmSync(at('ca.pem'))
  t.match(await problemsOf(next(renewed)), [
    { path: ['discovery', 'consul'], message: /the registry cannot be used: ENOENT/ },
    { path: ['discovery', 'cluster'], message: /the registry cannot be used: ENOENT/ },
  ])
  for (const registry of registries(renewed)) registry.close()
})

t.test('a registry that does not answer when it is asked with other options: what it told goes on', async t => {
  const folder = t.testdir({ 'services.yaml': '{ orders: ["127.0.0.1:1", "127.0.0.1:2"] }' })
  const context = { catalog: new Catalog(definitions), log, file: join(folder, 'gateway.yaml'), stop }
  let last: Snapshot | null = null
  const next = async (interval: string, more: object = {}) => {
    const discovery = { here: { kind: 'file', path: 'services.yaml', interval } }
    const upstreams = { up: { discover: { from: 'here', service: 'orders' } } }
    const compiled = await compile(
      config({ everywhere: [], routes: [] }, { discovery, upstreams, ...more }),
      last,
      context,
    )
    compiled.commit()
    last = compiled.snapshot
    return last.upstreams.get('up')!
  }
  const addresses = ({ endpoints }: Upstream) => endpoints.map(({ address }) => address)
  const first = await next('10s')
  t.same(addresses(first), ['127.0.0.1:1', '127.0.0.1:2'])
  rmSync(join(folder, 'services.yaml'))
  const second = await next('11s')
  t.not(second.poller, first.poller)
  t.same(addresses(second), addresses(first))
  t.same(addresses(await next('11s', { stateDir: 'state' })), addresses(first), 'and again')
  const kept = join(folder, 'state', 'discovery')
  await eventually(
    () => existsSync(kept) && readdirSync(kept).some(name => name.endsWith('.json')),
    () => 'it is not kept in the new folder',
  )
  last!.registries.get('here')!.registry.close()
})

t.test('a fingerprint is the same for the same meaning, and for no other', async t => {
  t.equal(fingerprint({ a: 1, b: { c: [1, { d: 2, e: 3 }] } }), fingerprint({ b: { c: [1, { e: 3, d: 2 }] }, a: 1 }))
  t.not(fingerprint({ a: [1, 2] }), fingerprint({ a: [2, 1] }))
  t.not(fingerprint({ a: '1' }), fingerprint({ a: 1 }))
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const sorted = (value: unknown): unknown =>
          Array.isArray(value)
            ? value.map(sorted)
            : typeof value === 'object' && value !== null
              ? Object.entries(value)
                  .map(([key, inner]) => [key, sorted(inner)])
                  .sort(([x], [y]) => (x! < y! ? -1 : 1))
                  .concat([['object']])
              : value
        return (fingerprint(a) === fingerprint(b)) === (JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)))
      }),
    ),
  )
})
