// Loading in a thread of its own: the same answer as in this one, requests that do not wait, and no crash for any reason.
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Worker } from 'node:worker_threads'
import t from 'tap'
import { loadFile } from '../../../src/config/load.ts'
import { type CheckOptions, FileChecker } from '../../../src/config/off-thread.ts'
import { Catalog } from '../../../src/pipeline/catalog.ts'
import { HeldLoop } from '../../support/held-loop.ts'
import { eventually } from '../../support/within.ts'

// Each of these starts threads that read the whole source, on a machine that does other things too.
t.setTimeout(240_000)

const MINIMAL = 'listeners: [{ name: web, port: 0 }]\nupstreams: { a: { endpoints: ["127.0.0.1:1"] } }\n'

/** One file in a thread that ends with it. */
async function loadInWorker(file: string, options: CheckOptions & { env: Record<string, string> }) {
  const checker = new FileChecker(options)
  const loading = checker.load(file, options.env)
  checker.close()
  return loading
}

/** A folder with a list of bundled plugins in plain JavaScript, and the files of the test. */
function folder(t: { testdir(files: Record<string, string>): string }, files: Record<string, string>) {
  const dir = t.testdir({ 'bundled.mjs': 'export default []\n', ...files })
  return { dir, file: join(dir, 'g.yaml'), bundled: pathToFileURL(join(dir, 'bundled.mjs')).href }
}

t.test('the same as in this thread, faults and configuration', async t => {
  const { dir, file, bundled } = folder(t, {
    'g.yaml': `${MINIMAL}routes: [{ name: r, upstream: a, match: { host: "\${H}" }, timeout: none }]\n`,
    'bad.yaml': `${MINIMAL}routes: [{ name: r, upstream: b }, { name: r }]\nplugins: [x]\nx: 1\n`,
  })
  const env = { H: 'example.com' }
  const context = { env, catalog: new Catalog([]) }
  const good = await loadInWorker(file, { env, bundled })
  t.same(good, await loadFile(file, context))
  t.same(good.faults, [])
  t.throws(() => Object.assign(good.config!.routes[0]!, { name: 'x' }), TypeError, 'frozen')
  t.throws(() => Object.assign(good.config!.shutdown, { grace: 0 }), TypeError, 'frozen')
  const bad = await loadInWorker(join(dir, 'bad.yaml'), { env, bundled })
  t.same(bad, await loadFile(join(dir, 'bad.yaml'), context))
  t.equal(bad.faults.length, 6)
  t.match(await loadInWorker(join(dir, 'gone.yaml'), { env, bundled }), {
    faults: [{ message: 'there is no such file' }],
  })
  symlinkSync('circle.yaml', join(dir, 'circle.yaml'))
  t.match(await loadInWorker(join(dir, 'circle.yaml'), { env, bundled }), {
    faults: [{ message: 'the symbolic links go in a circle' }],
  })
})

t.test('plugins of a user are loaded in the thread, with the modules that they are given', async t => {
  const { file, bundled, dir } = folder(t, {
    'g.yaml': `${MINIMAL}plugins: [./good.ts, ./bad.ts]\n`,
    'good.ts': `import { answer } from 'sluice'\nif (answer !== 42) throw new Error('no door')\nexport default { name: 'good', description: '', options: { safeParse: (data: unknown) => ({ success: true, data }) }, create: () => ({}) }\n`,
    'bad.ts': 'throw new Error("broken")\n',
    'door.mjs': 'export const answer = 42\n',
  })
  const modules = { sluice: pathToFileURL(join(dir, 'door.mjs')).href }
  const { faults } = await loadInWorker(file, { env: {}, bundled, modules })
  t.match(faults, [{ line: 3, column: 22, code: 'SLUICE_CONFIG_PLUGIN', message: './bad.ts does not load: broken' }])
  t.equal(faults.length, 1)
})

t.test('a thread that ends, hangs or runs out of memory is a fault', async t => {
  const { file, bundled } = folder(t, { 'g.yaml': `${MINIMAL}plugins: [./p.mjs]\n`, 'p.mjs': '' })
  const plugin = join(file, '..', 'p.mjs')
  const told = async (source: string, time?: number) => {
    writeFileSync(plugin, source)
    return (await loadInWorker(file, { env: {}, bundled, ...(time === undefined ? {} : { time }) })).faults.map(
      ({ message }) => message,
    )
  }
  t.match(await told('process.exit(0)'), ['the check ended without an answer'])
  t.match(await told('while (true) {}', 3_000), ['the check took longer than 3 s'])
  t.match(await told('setTimeout(() => { throw new Error("late") })\nawait new Promise(() => {})'), [
    'the check failed: late',
  ])
  t.match(await told('setTimeout(() => { throw "late" })\nawait new Promise(() => {})'), ['the check failed: late'])
  t.match(await told('const all = []; while (true) all.push(new Array(1e5).fill({}))', 180_000), [
    /the check failed: .*memory/,
  ])
  t.match((await loadInWorker(file, { env: {}, bundled: 'file:///gone.mjs' })).faults, [
    { code: 'SLUICE_CONFIG_FILE', message: /the check failed: Cannot find module/ },
  ])
})

t.test('a thread serves one file after the other, and ends when none comes', async t => {
  const { file, bundled, dir } = folder(t, {
    'g.yaml': MINIMAL,
    'bad.yaml': `${MINIMAL}x: 1\n`,
    'own.yaml': `${MINIMAL}plugins: [./own.mjs]\n`,
    'own.mjs':
      'export default { description: "", options: { safeParse: data => ({ success: true, data }) }, create: () => ({}) }\n',
    'large.yaml': `${MINIMAL}# ${'x'.repeat(300_000)}\n`,
  })
  const started: Worker[] = []
  const onWorker = (worker: Worker) => void started.push(worker)
  process.on('worker', onWorker)
  t.teardown(() => process.off('worker', onWorker))
  const alive = () => started.filter(({ threadId }) => threadId !== -1).length
  const checker = new FileChecker({ bundled, linger: 2_000 })
  t.same((await checker.load(file, {})).faults, [])
  t.match((await checker.load(join(dir, 'bad.yaml'), {})).faults, [{ line: 3, path: 'x' }])
  writeFileSync(file, `${MINIMAL}plugins: [gone]\n`)
  t.match((await checker.load(file, {})).faults, [{ line: 3, path: 'plugins[0]' }])
  t.equal(started.length, 1, 'one thread for three files')
  t.same((await checker.load(join(dir, 'own.yaml'), {})).faults, [])
  t.equal(started.length, 1)
  t.same((await checker.load(join(dir, 'large.yaml'), {})).faults, [])
  t.equal(started.length, 2, 'none after a module of a user')
  t.same((await checker.load(join(dir, 'own.yaml'), {})).faults, [])
  t.equal(started.length, 3, 'none after a large file')
  await Promise.all([checker.load(join(dir, 'bad.yaml'), {}), checker.load(join(dir, 'bad.yaml'), {})])
  t.equal(started.length, 5, 'two at once have one each')
  await eventually(
    () => alive() === 0,
    () => `${alive()} threads go on`,
  )
  checker.close()
  const lasting = new FileChecker({ bundled, linger: 600_000 })
  t.same((await lasting.load(join(dir, 'bad.yaml'), {})).faults.length, 1)
  lasting.close()
  await eventually(
    () => alive() === 0,
    () => 'the thread outlives its checker',
  )
})

t.test('ten thousand routes come over without the loop being held', async t => {
  const routes = Array.from(
    { length: 10_000 },
    (_, i) =>
      `  - name: r${i}\n    match: { host: h${i % 100}.example.com, path: /a${i}/*, methods: [GET] }\n    upstream: a\n    timeout: 30s\n`,
  )
  const { file, bundled } = folder(t, { 'g.yaml': `${MINIMAL}routes:\n${routes.join('')}` })
  // Starting a thread, and the first of everything, are not what is measured.
  writeFileSync(join(file, '..', 'small.yaml'), MINIMAL)
  await loadInWorker(join(file, '..', 'small.yaml'), { env: {}, bundled })
  const loop = new HeldLoop()
  t.teardown(() => loop.stop())
  const before = performance.now()
  const { config, faults } = await loadInWorker(file, { env: {}, bundled })
  const held = loop.take()
  t.same(faults, [])
  t.equal(config!.routes.length, 10_000)
  t.equal(config!.routes[9_999]!.name, 'r9999')
  t.comment(`10,000 routes in ${Math.round(performance.now() - before)} ms; held for ${held.toFixed(1)} ms`)
  t.ok(held < 100, `the loop was held for ${held.toFixed(1)} ms`)
})
