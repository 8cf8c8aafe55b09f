// Plugins of one's own beside the YAML file: running the example, TypeScript and JavaScript, reloading, and faults of modules.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ChildGateway, sluice, startChild } from '../support/child-gateway.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { ROOT } from '../support/root.ts'
import { eventually } from '../support/within.ts'

const EXAMPLE = join(ROOT, 'config/examples/user-plugin')

/** A folder far from the repository: `sluice` and `zod` come from the gateway and no node_modules. */
function outside(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-example-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

t.test('the example runs as it stands', async t => {
  const upstream = await RawUpstream.start(t)
  const folder = outside(t)
  cpSync(EXAMPLE, folder, { recursive: true })
  const file = join(folder, 'gateway.yaml')
  const process = sluice(t, ['start', '-c', file], { PORT: '0', ORDERS: upstream.address }, folder)
  await process.printed('listener web')
  const gateway = new ChildGateway(process, file)
  const client = await RawClient.connect(t, gateway.port)
  const over = await client.head('GET /v1/orders/1 HTTP/1.1', 'Host: a').response()
  t.match(over, { status: 410, text: 'This API ended on 2024-06-30.\n' })
  t.match(over.get('sunset'), 'Sun, 30 Jun 2024 23:59:59 GMT')
  const exempt = await client.head('GET /v1/orders/1 HTTP/1.1', 'Host: a', 'X-Team: billing').response()
  t.match(exempt, { status: 200, text: 'ok' })
  await eventually(
    () => process.log.some(entry => entry.msg === 'called after its end' && entry['plugin'] === 'sunset'),
    () => process.err,
  )
  const now = await client.head('GET /v2/orders/1 HTTP/1.1', 'Host: a').response()
  t.match(now, { status: 200, text: 'ok' })
  t.equal(now.get('link'), '<https://example.com/moving-to-v3>; rel="sunset"')
  t.equal(upstream.requests.length, 2)
})

const config = (plugin: string) => `
listeners: [{ name: web, port: 0 }]
admin: { port: 0 }
routes: [{ name: all, match: { path: /* }, plugins: [${plugin}], respond: { status: 200, body: hi } }]
`

const plugin = (says: string, more = '') => `import { definePlugin, z } from 'sluice'
${more}
export default definePlugin({
  name: 'says',
  description: 'Says a word.',
  options: z.strictObject({ word: z.string().default('nothing') }),
  create({ word }, context) {
    return { onResponse(x) { x.setResponseHeader('x-says', ${says} + ' ' + word + ' ' + context.route) } }
  },
})
`

/** Modules odd0, odd1 and so on beside the gateway's file; what to list them as. */
function oddModules(gateway: ChildGateway, texts: readonly string[]): string {
  const names = texts.map((_, i) => `./odd${i}.mjs`)
  for (const [i, text] of texts.entries()) writeFileSync(join(gateway.file, '..', names[i]!), text)
  return names.join(', ')
}

t.test('what a module leaves in heads is looked at, whatever it says of itself', async t => {
  const upstream = await RawUpstream.start(t)
  const folder = outside(t)
  for (const [name, phases] of Object.entries({
    request: "onRequest(x) { x.head.headers.push('x-a', 'a\\r\\nb: c') }",
    path: "onRequest(x) { x.head.path = '/a b' }",
    attempt: "onAttempt(x) { x.head.headers.push('x-a', 'a\\r\\nb: c') }",
    response: "onResponse(x) { x.response.headers.push('x-a', 'a\\r\\nb: c') }",
  })) {
    const module = `import { z } from 'sluice'
export default { name: '${name}', description: '', options: z.strictObject({}), vouches: true, create: () => ({ ${phases} }) }
`
    writeFileSync(join(folder, `${name}.mjs`), module)
  }
  const file = join(folder, 'gateway.yaml')
  writeFileSync(
    file,
    `
listeners: [{ name: web, port: 0 }]
admin: { port: 0 }
upstreams: { u: { endpoints: ["${upstream.address}"] } }
routes:
${['request', 'path', 'attempt', 'response'].map(name => `  - { name: ${name}, match: { path: /${name} }, plugins: [request-id, ./${name}.mjs], upstream: u }`).join('\n')}
`,
  )
  const process = sluice(t, ['start', '-c', file], {}, folder)
  await process.printed('listener web')
  const gateway = new ChildGateway(process, file)
  for (const name of ['request', 'path', 'attempt', 'response']) {
    const client = await RawClient.connect(t, gateway.port)
    const response = await client.head(`GET /${name} HTTP/1.1`, 'Host: a').response()
    t.match(response, { status: 500, text: /SLUICE_PLUGIN_FAILED/ }, name)
    client.destroy()
  }
  t.equal(upstream.requests.length, 1, 'of the answer that was spoilt')
})

t.test('a module is read anew on a reload; a broken one is a fault, and the old one goes on', async t => {
  const gateway = await startChild(t, config('{ ./says.mjs: { off: true } }'))
  const module = join(gateway.file, '..', 'says.mjs')
  const says = async () => {
    const client = await RawClient.connect(t, gateway.port)
    const response = await client.head('GET / HTTP/1.1', 'Host: a').response()
    client.destroy()
    return response.get('x-says')
  }
  t.equal(await says(), '')
  writeFileSync(module, plugin("'one'"))
  t.match(await gateway.reload(config('./says.mjs')), { ok: true })
  t.equal(await says(), 'one nothing all')

  writeFileSync(module, plugin("'two'"))
  t.match(await gateway.reload(config('{ ./says.mjs: { word: loud } }')), { ok: true })
  t.equal(await says(), 'two loud all')
  // The other name that package.json offers.
  writeFileSync(module, plugin("'two'").replace("'sluice'", "'sluice/plugin-api'"))
  t.match(await gateway.reload(`${config('{ ./says.mjs: { word: loud } }')}# again\n`), { ok: true })
  t.equal(await says(), 'two loud all')

  const broken: readonly (readonly [text: string, fault: string])[] = [
    ['export default {\n  a: ]', 'does not load: Unexpected token at \\./odd0\\.mjs:2:6 \\('],
    ["\nthrow new Error('not today')", 'does not load: not today at \\./odd1\\.mjs:2 \\('],
    ['export default 1', 'has no plugin as its default export'],
    ['export default { create() {} }', 'has no `options`; for a plugin without any write `options: z\\.strictObject'],
    ['export default { create() {}, options: {} }', 'has `options` that are no zod schema'],
    ['export default { options: {} }', 'has no `create`'],
    ["import nothing from 'no-such-package'\nexport default nothing", 'does not load: .*no-such-package'],
  ]
  const names = oddModules(
    gateway,
    broken.map(([text]) => text),
  )
  const state = await gateway.reload(config(names))
  t.equal(state.ok, false)
  t.match(
    state.faults,
    broken.map(
      ([, fault], i) => new RegExp(`gateway\\.yaml:4:\\d+ routes\\[0\\]\\.plugins\\[${i}\\].*odd${i}\\.mjs ${fault}`),
    ),
  )
  t.equal(state.faults.length, broken.length)
  t.equal(await says(), 'two loud all')
  writeFileSync(module, plugin("'three'"))
  const wrong = await gateway.reload(config('{ ./says.mjs: { wrod: x } }'))
  t.match(wrong.faults, [
    /gateway\.yaml:4:\d+ routes\[0\]\.plugins\[0\]\["\.\/says\.mjs"\]\.wrod: .*did you mean "word"/,
  ])
})

t.test('what create must not return is told with its place', async t => {
  const gateway = await startChild(t, config(''))
  const cases = [
    ['null', 'null'],
    ['undefined', 'undefined'],
    ['() => {}', 'function'],
    ['Promise.reject(new Error())', 'a promise'],
    ['{ onReqest() {} }', '"onReqest", which is no phase; did you mean "onRequest"\\?'],
    ['{ onResponse: null }', 'null as onResponse; a function is due'],
    ['{ onAttempt: 5 }', 'a number as onAttempt; a function is due'],
    ['{ onrequest() {} }', '"onrequest", which is no phase; did you mean "onRequest"\\?'],
    ['new (class { onRequests() {} })()', '"onRequests", which is no phase; did you mean "onRequest"\\?'],
  ]
  const names = oddModules(
    gateway,
    cases.map(
      ([returned]) =>
        `export default { options: { safeParse: data => ({ success: true, data }), parse: data => data }, create: () => (${returned}) }`,
    ),
  )
  const { faults } = await gateway.reload(config(`request-id, ${names}`))
  t.match(
    faults,
    cases.map(
      ([, told], i) =>
        new RegExp(
          `gateway\\.yaml:4:\\d+ routes\\[0\\]\\.plugins\\[${i + 1}\\].*: odd${i} cannot be made: its create returned ${told}`,
        ),
    ),
  )
})

t.test('what create throws is told on one line, whatever it is', async t => {
  const gateway = await startChild(t, config(''))
  const cases = [
    ['null', 'null'],
    ['undefined', 'undefined'],
    ["'no luck'", 'no luck'],
    ["new Error('no luck\\nat all')", 'no luck'],
  ]
  const names = oddModules(
    gateway,
    cases.map(
      ([thrown], i) => `import { definePlugin, z } from 'sluice'
export default definePlugin({ name: 'odd${i}', description: 'O.', options: z.strictObject({}), create() { throw ${thrown} } })`,
    ),
  )
  const { faults } = await gateway.reload(config(names))
  t.match(
    faults,
    cases.map(
      ([, told], i) =>
        new RegExp(`gateway\\.yaml:4:\\d+ routes\\[0\\].*: odd${i} cannot be made: ${told} \\(SLUICE_[A-Z_]+\\)$`),
    ),
  )
})

t.test('a check that answers in a promise is a fault: what it says would come too late', async t => {
  const folder = outside(t)
  const late = plugin("'late'").replace('create(', "async check() { throw new Error('not so') },\n  create(")
  writeFileSync(join(folder, 'late.ts'), late)
  writeFileSync(join(folder, 'gateway.yaml'), config('./late.ts'))
  const check = sluice(t, ['check', '-c', join(folder, 'gateway.yaml')])
  t.same(await check.exit(30_000), { code: 1, signal: null })
  t.match(
    check.err,
    /gateway\.yaml:4:\d+ .*its `check` returned a promise; it has to answer at once \(SLUICE_CONFIG_PLUGIN\)$/m,
  )
})

t.test('faults of a module show no secret among its options, whatever it throws', async t => {
  const gateway = await startChild(t, config(''))
  const throws =
    "{ throw new Error('hunter22 of ' + options.user + ' with ' + options.list[0].token + ' will not do') }"
  for (const [phase, other] of [
    ['check', 'create() { return {} }'],
    ['create', ''],
  ]) {
    const module = `import { definePlugin, z } from 'sluice'
export default definePlugin({ name: 'odd', description: 'O.', options: z.any(), ${phase}(options) ${throws}, ${other} })`
    writeFileSync(join(gateway.file, '..', 'odd.mjs'), module)
    const options = '{ ./odd.mjs: { user: ann, password: hunter22, list: [{ token: 12345678 }] } }'
    const { faults } = await gateway.reload(`${config(options)}# ${phase}\n`)
    t.match(faults, [/: \[redacted\] of ann with \[redacted\] will not do \(/])
  }
})

t.test('what belongs in create is refused later: another plugin has that slot by then', async t => {
  const late = (ask: string) => `import { definePlugin, z } from 'sluice'
export default definePlugin({
  name: 'late',
  description: 'Asks late.',
  options: z.strictObject({}),
  create(_, context) {
    return { onRequest(x) { ${ask} } }
  },
})
`
  const slotted = plugin("context.slot === undefined ? '' : String(mine.get(x))").replace(
    'return {',
    "const mine = context.slot()\n    return { onRequest(x) { mine.set(x, 'own') },",
  )
  const asks = {
    slot: "context.slot().set(x, 'late')",
    store: "context.store('memory')",
    shared: 'context.shared({}, () => ({ close() {} }))',
  }
  for (const [what, ask] of Object.entries(asks)) {
    const gateway = await startChild(t, config(''))
    writeFileSync(join(gateway.file, '..', 'late.ts'), late(ask))
    writeFileSync(join(gateway.file, '..', 'slotted.ts'), slotted)
    const { ok } = await gateway.reload(`${config('./slotted.ts')}plugins: [./late.ts]\n`)
    t.ok(ok)
    const client = await RawClient.connect(t, gateway.port)
    t.match(await client.head('GET / HTTP/1.1', 'Host: a').response(), { status: 500 }, what)
    client.destroy()
    await eventually(
      () =>
        gateway.process.log.some(({ error }) =>
          /it asks for .* in a phase; that is for its create/.test(String(error)),
        ),
      () => gateway.process.err,
    )
  }
})

t.test('check knows them too', async t => {
  const folder = outside(t)
  const files = {
    'says.ts': plugin("'typed' as string", 'interface Unused { readonly a: number }'),
    'also.ts': plugin("'typed'").replace("'sluice'", "'sluice/plugin-api'"),
    'import.ts': "import { x } from './broken.ts'\nexport default x\n",
    'broken.ts': '\nexport const x = ;\n',
    'good.yaml': config('{ ./says.ts: { word: x } }, ./also.ts'),
    'bad.yaml': config('{ ./says.ts: { word: 1 } }, ./missing.ts, ./import.ts'),
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const good = sluice(t, ['check', '-c', join(folder, 'good.yaml')])
  t.same(await good.exit(30_000), { code: 0, signal: null }, good.err)
  const bad = sluice(t, ['check', '-c', join(folder, 'bad.yaml')])
  t.same(await bad.exit(30_000), { code: 1, signal: null })
  t.equal(bad.err.trimEnd().split('\n').length, 3, bad.err)
  t.match(
    bad.err,
    /bad\.yaml:4:\d+ .*word: .*\n.*there is no file \.\/missing\.ts.*\n.*does not load: .* at \.\/broken\.ts:2:18 /,
  )
})
