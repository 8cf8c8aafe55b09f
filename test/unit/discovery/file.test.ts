// Tests of a file as a registry: what is read of it, where it is broken, and real files that are written, renamed and removed.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { AnswerError } from '../../../src/discovery/ask.ts'
import { file, fileOptions } from '../../../src/discovery/file.ts'
import { parseFile } from '../../../src/discovery/file-parse.ts'
import type { DiscoveryProvider, Found } from '../../../src/discovery/provider.ts'
import { NO_CERTIFICATES } from '../../support/certificates.ts'
import { replaceFile } from '../../support/replace-file.ts'
import { temporaryFolder } from '../../support/server-process.ts'
import { eventually, pause, within } from '../../support/within.ts'

const never = () => new AbortController().signal
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

async function provider(t: Test, path: string, baseDir: string): Promise<DiscoveryProvider> {
  const context = { name: 'file', baseDir, certificates: NO_CERTIFICATES, log }
  const made = await file.create(fileOptions.parse({ path }), context)
  t.teardown(() => made.close!())
  return made
}

const addresses = ({ instances }: Found) => instances.map(({ host, port }) => `${host}:${port}`)

t.test('lists and maps, as YAML and as JSON', async t => {
  const expected = [
    { host: '10.0.0.1', port: 80, weight: 1, labels: {} },
    { host: '10.0.0.2', port: 81, weight: 2, labels: { version: 'v2' } },
    { host: '::1', port: 82, weight: 1, labels: {} },
  ]
  const list = ['10.0.0.1:80', { address: '10.0.0.2:81', weight: 2, labels: { version: 'v2' } }, '[::1]:82']
  t.same(parseFile(JSON.stringify(list), 'a'), expected)
  t.same(parseFile(JSON.stringify({ b: [], a: list }), 'a'), expected)
  const yaml = `# services
- 10.0.0.1:80
- address: 10.0.0.2:81
  weight: 2
  labels: { version: v2 }
- "[::1]:82"
`
  t.same(parseFile(yaml, 'a'), expected)
  t.same(parseFile(`a:\n${yaml.replace(/^/gm, '  ')}\nb: []\n`, 'a'), expected)
  t.same(parseFile('a: []', 'b'), [], 'a service that is not named')
  t.same(parseFile('[]', 'b'), [])
  t.same(parseFile('{"__proto__": ["10.0.0.1:80"]}', 'constructor'), [])
  t.same(parseFile('{"__proto__": ["10.0.0.1:80"]}', '__proto__').length, 1)
})

t.test('a broken file says where', async t => {
  const fails = (text: string, message: RegExp) =>
    t.throws(() => parseFile(text, 'a'), { name: 'AnswerError', message })
  fails('', /^1:1 the file is empty; write \[\] for no instance$/)
  fails('# nothing\n', /the file is empty/)
  fails('null', /the file is empty/)
  fails('text', /^1:1 the file is neither a list nor a map/)
  fails('[\n  "10.0.0.1:80",\n  "10.0.0.2', /^3:\d+ /)
  fails('- 10.0.0.1:80\n- { address: 10.0.0.2:81', /^2:\d+ /)
  fails('a:\n  - 10.0.0.1:80\n\t- x\n', /^3:\d+ /)
  fails('- 10.0.0.1:80\n- 10.0.0.2:99999\n', /^2:3 1 a port between 1 and 65535/)
  fails('{\n  "b": [],\n  "a": ["10.0.0.1:80",\n    {"address": 1}]\n}', /^4:5 a\.1 has no address$/)
  fails('a: 10.0.0.1:80', /^1:4 a is no list/)
  fails('- { address: 10.0.0.1:80, weight: -1 }', /^1:3 0 has a weight/)
  fails('- 10.0.0.1:80\n- { address: 10.0.0.2:80, wieght: 3 }', /^2:3 1 has an unknown key "wieght"; address, port/)
  fails('- { address: 10.0.0.1:80, labels: [x] }', /^1:3 0 has labels that are no map/)
  fails('- { address: 10.0.0.1:80, labels: { a: b, c: { d: e } } }', /^1:3 0 has a label c that is no text/)
  fails('- a: 1\n---\n- b: 1\n', /^2:1 /)
  const bomb = `a: &a [x, x, x, x, x, x, x, x, x]\n${'bcdefgh'.replace(/./g, (name, i) => {
    const before = 'abcdefgh'[i]
    return `${name}: &${name} [${Array(9).fill(`*${before}`)}]\n`
  })}`
  fails(bomb, /^1:1 .*alias/)
  fails('['.repeat(100_000), /./)
  fails(`- 10.0.0.1:80\n${'# much\n'.repeat(200_000)}`, /too large for YAML/)
  t.equal(parseFile(JSON.stringify(Array(50_000).fill('10.0.0.1:80')), 'a').length, 50_000, 'JSON may be large')
  fails(JSON.stringify({ a: Array(100_001).fill('10.0.0.1:80') }), /^a is a list of more than 100000 entries$/)
  const began = performance.now()
  const keys = Array.from({ length: 10_000 }, (_, i) => `k${i}: []`).join('\n')
  t.same(parseFile(keys, 'a'), [])
  t.ok(performance.now() - began < 3000, 'many keys take time in proportion')
})

t.test('whatever a file holds is read or refused with an AnswerError', async t => {
  const scalar = fc.oneof(fc.jsonValue(), fc.constantFrom('10.0.0.1:80', '[::1]:80', '10.0.0.1:0', '__proto__'))
  const entry = fc.oneof(
    scalar,
    fc.record({ address: scalar, port: scalar, weight: scalar, labels: scalar }, { requiredKeys: [] }),
  )
  const value = fc.oneof(fc.array(entry), fc.dictionary(fc.constantFrom('a', '__proto__', 'b'), fc.array(entry)), entry)
  const noise = fc.array(
    fc.constantFrom(
      '- ',
      'a',
      ': ',
      '\n',
      '  ',
      '"',
      '[',
      ']',
      '{',
      '&x ',
      '*x',
      '!!',
      '#',
      '\t',
      '10.0.0.1:80',
      '---\n',
      '? ',
    ),
  )
  const text = fc.oneof(
    value.map(one => JSON.stringify(one)),
    noise.map(parts => parts.join('')),
    fc.string(),
    fc.tuple(value, fc.nat(200)).map(([one, length]) => JSON.stringify(one).slice(0, length)),
  )
  const property = fc.property(text, fc.constantFrom('a', 'b', '__proto__', 'toString'), (text, service) => {
    try {
      return parseFile(text, service).every(
        ({ host, port, weight }) => host !== '' && port >= 1 && port <= 65535 && Number.isFinite(weight) && weight >= 0,
      )
    } catch (error) {
      if (error instanceof AnswerError) return true
      throw error
    }
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 3000 }))
})

/** A folder with a file that knows one instance, and the answer about it. */
async function begin(t: Test) {
  const folder = temporaryFolder(t, 'file')
  const path = join(folder, 'services.yaml')
  writeFileSync(path, '- 10.0.0.1:80\n')
  const asked = await provider(t, 'services.yaml', folder)
  const first = await asked.poll('a', null, never())
  t.same(addresses(first), ['10.0.0.1:80'])
  return { folder, path, asked, first }
}

/**
 * Writes over what stands there, which may not be longer: in one step. `writeFileSync` empties a file first, and where the
 * machine stands still just then, empty is what rests there.
 */
function overwrite(path: string, text: string): void {
  writeFileSync(path, text, { flag: 'r+' })
}

/** The answer after `change`, which has to come within a second of it. */
async function after(asked: DiscoveryProvider, found: Pick<Found, 'cursor'>, change: () => unknown): Promise<Found> {
  const next = asked.poll('a', found.cursor, never())
  next.catch(() => {})
  // The watch begins while the poll begins.
  await pause(20)
  await change()
  return within(1000, next, () => 'the change is not seen')
}

t.test('a file that is written, and one that is renamed over it', async t => {
  const { folder, path, asked, first } = await begin(t)
  const two = await after(asked, first, () => overwrite(path, '- 10.0.0.1:80\n- 10.0.0.2:80\n'))
  t.same(addresses(two), ['10.0.0.1:80', '10.0.0.2:80'])
  const beside = join(folder, '.services.tmp')
  const renamed = await after(asked, two, () => {
    writeFileSync(beside, '["10.0.0.3:80"]')
    renameSync(beside, path)
  })
  t.same(addresses(renamed), ['10.0.0.3:80'])
  // Of the same size, between two polls.
  overwrite(path, '["10.0.0.4:80"]')
  const late = await within(1000, asked.poll('a', renamed.cursor, never()), () => 'the past is not seen')
  t.same(addresses(late), ['10.0.0.4:80'])
  // As fast as it goes: no write may be missed.
  let found = late
  for (let i = 10; i < 20; i++) {
    found = await after(asked, found, () => {
      overwrite(path, `["10.0.0.${i}:80"]`)
    })
    t.same(addresses(found), [`10.0.0.${i}:80`])
  }
})

t.test('what leaves the content as it was ends no wait, nor do other files', async t => {
  const { folder, path, asked, first } = await begin(t)
  let over = false
  const next = asked.poll('a', first.cursor, never()).finally(() => {
    over = true
  })
  for (let i = 0; i < 5; i++) {
    overwrite(path, '- 10.0.0.1:80\n')
    writeFileSync(join(folder, 'other.yaml'), String(i))
    await pause(60)
  }
  t.equal(over, false)
  overwrite(path, '- 10.0.0.2:80\n')
  t.same(addresses(await within(1000, next, () => 'not seen')), ['10.0.0.2:80'])
})

t.test('what did not change is not read again, also after it was something else', async t => {
  const { path, asked, first } = await begin(t)
  writeFileSync(path, '- 10.0.0.1:80\n')
  t.equal((await asked.poll('a', null, never())).instances, first.instances)
  writeFileSync(path, '- nonsense\n')
  for (let i = 0; i < 2; i++) await t.rejects(asked.poll('a', null, never()), { message: /has no port/ })
  writeFileSync(path, '- 10.0.0.1:80\n')
  t.equal((await asked.poll('a', null, never())).instances, first.instances)
  writeFileSync(path, '{ a: ["10.0.0.2:80"], b: ["10.0.0.3:80"] }')
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.2:80'])
  t.same(addresses(await asked.poll('b', null, never())), ['10.0.0.3:80'], 'another service of the same file')
  writeFileSync(path, '- 10.0.0.1:80\n')
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.1:80'])
})

t.test('a file that is written in steps is read when it is whole', async t => {
  const { path, asked, first } = await begin(t)
  let found = first
  for (let port = 81, took = Number.POSITIVE_INFINITY; took > 50; port++) {
    const whole = after(asked, found, async () => {
      const began = performance.now()
      const lines = ['- 10.0.0.1:80\n', '- 10.0.0.2:80\n', `- address: 10.0.0.3:${port}\n`, '  weight: 3\n']
      for (let i = 0; i <= lines.length; i++) {
        writeFileSync(path, lines.slice(0, i).join(''))
        await pause(1)
      }
      took = performance.now() - began
    })
    await whole.catch(() => {})
    // What rests for longer is as it is meant, also where the machine made it rest: then once more.
    found = await (took > 50 ? asked.poll('a', null, never()) : whole)
  }
  t.same(found.instances.length, 3)
  t.equal(found.instances[2]!.weight, 3)
})

t.test('a file that stays half-written is refused with its place, and is read once it is whole', async t => {
  const { path, asked, first } = await begin(t)
  await t.rejects(
    after(asked, first, () => overwrite(path, '- 10.0.0.1:80\n- { address: "10.0')),
    { name: 'AnswerError', message: new RegExp(`^${path}:2:\\d+ `) },
  )
  await t.rejects(asked.poll('a', null, never()), { message: new RegExp(`^${path}:2:`) })
  writeFileSync(path, '- 10.0.0.2:80\n')
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.2:80'])
})

t.test('a file that cannot be used is watched until it can', async t => {
  const { folder, path, asked, first } = await begin(t)
  /** How the poll fails, and what comes of it once the file is mended. */
  const mended = async (poll: Promise<Found>, mend: () => unknown) => {
    const failure = await poll.then(
      () => t.fail('it does not fail'),
      (error: AnswerError) => error,
    )
    return { message: (failure as AnswerError).message, found: await after(asked, failure as AnswerError, mend) }
  }
  const broken = await mended(
    after(asked, first, () => replaceFile(path, '- nonsense\n')),
    () => overwrite(path, '- 10.0.0.2:80\n'),
  )
  t.match(broken.message, /has no port/)
  t.same(addresses(broken.found), ['10.0.0.2:80'])
  rmSync(path)
  const gone = await mended(asked.poll('a', null, never()), () => replaceFile(path, '- 10.0.0.3:80\n'))
  t.match(gone.message, /there is no file/)
  t.same(addresses(gone.found), ['10.0.0.3:80'])
  rmSync(path)
  mkdirSync(path)
  const folderThere = await mended(asked.poll('a', null, never()), () => {
    renameSync(path, join(folder, 'aside'))
    replaceFile(path, '- 10.0.0.4:80\n')
  })
  t.match(folderThere.message, /is no regular file/)
  t.same(addresses(folderThere.found), ['10.0.0.4:80'])
})

t.test('a file that is gone for a while, and one that never was', async t => {
  const { folder, path, asked, first } = await begin(t)
  const found = await after(asked, first, async () => {
    rmSync(path)
    await pause(200)
    replaceFile(path, '- 10.0.0.2:80\n')
  })
  t.same(addresses(found), ['10.0.0.2:80'])
  rmSync(path)
  await t.rejects(asked.poll('a', null, never()), { name: 'AnswerError', message: `there is no file ${path}` })
  await t.rejects((await provider(t, '.', folder)).poll('a', null, never()), /is no regular file/)
  await t.rejects((await provider(t, '/dev/zero', folder)).poll('a', null, never()), /is no regular file/)
  const fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  await t.rejects((await provider(t, 'fifo', folder)).poll('a', null, never()), /is no regular file/)
})

t.test('a folder that is replaced, and links that are swapped as Kubernetes does', async t => {
  const folder = temporaryFolder(t, 'file')
  const write = (name: string, text: string) => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'a.json'), text)
  }
  const mount = join(folder, 'mount')
  mkdirSync(mount)
  write('one', '["10.0.0.1:80"]')
  write('two', '["10.0.0.2:80"]')
  symlinkSync('../one', join(mount, '..data'))
  symlinkSync('..data/a.json', join(mount, 'a.json'))
  const asked = await provider(t, 'mount/{service}.json', folder)
  const first = await asked.poll('a', null, never())
  t.same(addresses(first), ['10.0.0.1:80'])
  const two = await after(asked, first, () => {
    symlinkSync('../two', join(mount, '..next'))
    renameSync(join(mount, '..next'), join(mount, '..data'))
  })
  t.same(addresses(two), ['10.0.0.2:80'])
  const next = asked.poll('a', two.cursor, never())
  await pause(20)
  renameSync(mount, join(folder, 'old'))
  mkdirSync(mount)
  replaceFile(join(mount, 'a.json'), '["10.0.0.3:80"]')
  t.same(addresses(await within(2500, next, () => 'not even by looking')), ['10.0.0.3:80'])
})

t.test('the name of the service stands in the path as it is', async t => {
  const folder = temporaryFolder(t, 'file')
  writeFileSync(join(folder, '$&-$1.json'), '["10.0.0.1:80"]')
  t.same(addresses(await (await provider(t, '{service}.json', folder)).poll('$&-$1', null, never())), ['10.0.0.1:80'])
  t.throws(() => fileOptions.parse({ path: '' }))
  t.throws(() => fileOptions.parse({ paths: 'a' }))
})

/** Folders that this process watches. What may end while they do is not among its active resources. */
function watches(): number {
  const infos = readdirSync('/proc/self/fdinfo').map(fd => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
    } catch {
      // The one that the folder was read by.
      return ''
    }
  })
  return infos.join('').split('\ninotify wd:').length - 1
}

t.test('the watch of a folder lasts from change to change, until the service is forgotten', async t => {
  const { path, asked, first } = await begin(t)
  let found = first
  for (let i = 2; i < 5; i++) {
    found = await after(asked, found, () => overwrite(path, `- 10.0.0.${i}:80\n`))
    t.equal(watches(), 1)
  }
  asked.forget!('a')
  await eventually(
    () => watches() === 0,
    () => `${watches()} watches are left`,
  )
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.4:80'], 'asked for again it is there')
})

t.test('after a wait that was given up the file is looked at anew, not what was told of it', async t => {
  const { path, asked, first } = await begin(t)
  const abort = new AbortController()
  const given = t.rejects(asked.poll('a', first.cursor, abort.signal), { name: 'AbortError' })
  await pause(20)
  abort.abort()
  await given
  writeFileSync(path, '- 10.0.0.2:80\n')
  const anew = await asked.poll('a', null, never())
  t.same(addresses(anew), ['10.0.0.2:80'])
  writeFileSync(path, '- 10.0.0.3:80\n')
  t.same(addresses(await asked.poll('a', null, never())), ['10.0.0.3:80'], 'nor what is told already')
})

t.test('an abort is heard at once, and once the service is forgotten nothing is left behind', async t => {
  const { asked, first } = await begin(t)
  const left = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length + watches()
  const abort = new AbortController()
  const waiting = Promise.all(
    Array.from({ length: 5 }, () => t.rejects(asked.poll('a', first.cursor, abort.signal), { name: 'AbortError' })),
  )
  await pause(50)
  abort.abort()
  await waiting
  asked.forget!('a')
  await eventually(
    () => left() === 0,
    () => `left behind: ${left()}`,
  )
  await t.rejects(asked.poll('a', null, AbortSignal.abort()), { name: 'AbortError' })
  await t.rejects(asked.poll('a', first.cursor, AbortSignal.abort()), { name: 'AbortError' })
})
