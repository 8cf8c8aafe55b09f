// The rebinding of uWebSockets.js: on the real file, in processes of their own, because what is loaded stays loaded.
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { REBINDABLE, rebind } from '../../../src/listener/uws-rebind.ts'
import { ROOT } from '../../support/root.ts'

const run = promisify(execFile)
const library = dirname(createRequire(import.meta.url).resolve('uWebSockets.js'))
const fileOf = (abi: string) => join(library, `uws_linux_x64_${abi}.node`)
const NEWER = /GLIBC_2\.38/

/** What a fresh process prints; its environment takes `env` on top. */
async function say(code: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const args = ['--input-type=module', '-e', code]
  const { stdout } = await run(process.execPath, args, { cwd: ROOT, env: { ...process.env, ...env } })
  return stdout.trim()
}

/** The runtime's glibc as a number such as 2.36, NaN elsewhere. */
function glibc(): number {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return Number(header.glibcVersionRuntime)
}

t.test('every file on the list is rebound, and only its dynamic section changes', async t => {
  t.same([...REBINDABLE.values()], ['115', '127', '137', '141'])
  for (const abi of REBINDABLE.values()) {
    const before = readFileSync(fileOf(abi))
    const kept = Buffer.from(before)
    const after = rebind(before)
    t.ok(before.equals(kept), `${abi}: the argument stays as it is`)
    t.equal(after.length, before.length)
    let changed = 0
    for (let i = 0; i < before.length; i++) if (before[i] !== after[i]) changed++
    // Three names of one or two bytes, three version indices and one entry's hash and name.
    t.ok(changed >= 9 && changed <= 20, `${abi}: ${changed} bytes differ`)
  }
})

t.test('a file that is not on the list is refused, however little it differs', async t => {
  const image = readFileSync(fileOf('115'))
  const last = image.length - 1
  image[last] = image[last]! ^ 1
  t.throws(() => rebind(image), { message: /SHA-256 [0-9a-f]{64} is not on the list/ })
  t.throws(() => rebind(Buffer.alloc(0)), { message: /not on the list/ })
  t.throws(() => rebind(rebind(readFileSync(fileOf('115')))), { message: /not on the list/ })
})

t.test('SECURITY.md lists the same files', async t => {
  const text = readFileSync(join(ROOT, 'SECURITY.md'), 'utf8')
  const listed = [...text.matchAll(/`uws_linux_x64_(\d+)\.node`.*`([0-9a-f]{64})`/g)].map(row => [row[2], row[1]])
  t.same(listed, [...REBINDABLE])
})

t.test('the loader asks nothing of glibc 2.38 for any of them', async t => {
  const load = (path: string) =>
    run(process.execPath, ['-e', 'process.dlopen({ exports: {} }, process.argv[1])', path]).then(
      () => '',
      error => String(error.stderr),
    )
  for (const abi of REBINDABLE.values()) {
    const copy = join(t.testdir(), 'rebound.node')
    writeFileSync(copy, rebind(readFileSync(fileOf(abi))))
    const [before, after] = await Promise.all([load(fileOf(abi)), load(copy)])
    if (glibc() < 2.38) t.match(before, NEWER, `${abi} as it is`)
    t.notMatch(after, NEWER, `${abi} rebound`)
    // Those of other Node versions are stopped later, by Node.
    if (abi === process.versions.modules) t.equal(after, '')
  }
})

t.test('the library loads on this machine, and the line says how', async t => {
  const code = `
    import { readdirSync } from 'node:fs'
    import { tmpdir } from 'node:os'
    import { headRoom, loadUws } from './dist/src/listener/uws-load.js'
    const loaded = loadUws()
    console.log(JSON.stringify({ how: loaded.how, limit: headRoom(), same: loadUws() === loaded,
      app: typeof loaded.uws.App, left: readdirSync(tmpdir()).filter(name => name.startsWith('sluice')) }))`
  const temporary = t.testdir()
  const { how, limit, same, app, left } = JSON.parse(await say(code, { TMPDIR: temporary }))
  const plain = await run(process.execPath, ['-e', 'require("uWebSockets.js")'], { cwd: ROOT }).then(
    () => true,
    error => {
      t.match(error.stderr, NEWER, 'the untouched file does not load, for want of glibc 2.38')
      return false
    },
  )
  if (glibc() >= 2.38) t.equal(plain, true)
  t.match(how, plain ? /^\S+ \d+\.\d+\.\d+$/ : /^\S+ \d+\.\d+\.\d+, rebound to this glibc$/)
  t.equal(limit, 65_536)
  t.equal(same, true)
  t.equal(app, 'function')
  t.same(left, [], 'no copy is left behind')
})

t.test('what the operator has set as the limit of a head stands', async t => {
  const code = `
    import { headRoom, loadUws } from './dist/src/listener/uws-load.js'
    loadUws()
    console.log(headRoom())`
  t.equal(await say(code, { UWS_HTTP_MAX_HEADERS_SIZE: '8192' }), '8192')
})

t.test('where it cannot be loaded, the fault says what was tried and what helps', async t => {
  const code = `
    import Module from 'node:module'
    const resolve = Module._resolveFilename
    Module._resolveFilename = function (name, ...rest) {
      if (name === 'uWebSockets.js') throw Object.assign(new Error('gone'), { code: 'MODULE_NOT_FOUND' })
      return resolve.call(this, name, ...rest)
    }
    const { loadUws } = await import('./dist/src/listener/uws-load.js')
    try { loadUws() } catch (error) { console.log(error.code + ' ' + error.message) }`
  const text = await say(code)
  t.match(text, /^ERR_UWS_UNAVAILABLE /)
  t.match(text, 'not installed')
  t.match(text, 'npm install uWebSockets.js@npm:@btc-vision/uwebsockets.js@20.57.0')
  t.match(text, '`engine: native` needs nothing')
})
