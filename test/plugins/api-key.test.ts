// api-key through a running gateway: who is known, what is refused, what goes on, and how keys are read.
import { createHash } from 'node:crypto'
import { appendFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { watchKeys } from '../../plugins/api-key/key-file.ts'
import { KeyTable, readKeyFile } from '../../plugins/api-key/key-table.ts'
import bundled from '../../plugins/bundled.ts'
import { formatFault } from '../../src/config/fault.ts'
import { loadText } from '../../src/config/load.ts'
import { Catalog } from '../../src/pipeline/catalog.ts'
import { startGateway } from '../support/gateway.ts'
import { RawUpstream, type SeenRequest } from '../support/raw-upstream.ts'
import { eventually } from '../support/within.ts'

const hashOf = (key: string | Buffer) => `sha256:${createHash('sha256').update(key).digest('hex')}`

async function start(t: Test, options: object, engine = 'native') {
  const up = await RawUpstream.start(t)
  const gateway = await startGateway(t, {
    listener: { engine },
    up: { endpoints: [up.address] },
    plugins: [{ 'api-key': options }, { headers: { request: { set: { 'x-consumer': '$' + '{consumer}' } } } }],
  })
  const client = await gateway.connect()
  const ask = (fields: readonly string[], target = '/a') =>
    client.head(`GET ${target} HTTP/1.1`, 'Host: h.test', ...fields).response()
  /** What the upstream saw, or null. */
  const seen = async (fields: readonly string[], target?: string): Promise<SeenRequest | null> => {
    const before = up.requests.length
    const { status } = await ask(fields, target)
    t.equal(status === 200, up.requests.length > before, 'what is refused does not go on')
    return status === 200 ? up.requests[before]! : null
  }
  return { up, gateway, ask, seen }
}

for (const engine of ['native', 'uws']) {
  t.test(`known and unknown keys on ${engine}`, async t => {
    const keys = {
      app: hashOf('k-app'),
      partner: [hashOf('k-old'), hashOf('k-new').toUpperCase().replace('SHA', 'sha')],
    }
    const { ask, seen } = await start(t, { keys }, engine)
    for (const [key, consumer] of [
      ['k-app', 'app'],
      ['k-old', 'partner'],
      ['k-new', 'partner'],
    ]) {
      const request = await seen([`X-Api-Key: ${key}`])
      t.equal(request?.get('x-consumer'), consumer)
      t.equal(request?.get('x-api-key'), key, 'kept')
    }
    for (const fields of [
      [],
      ['X-Api-Key: k-apq'],
      ['X-Api-Key: K-APP'],
      ['X-Api-Key:'],
      [`X-Api-Key: ${hashOf('k-app')}`],
      ['X-Api-Key: k-app', 'X-Api-Key: k-app'],
      ['X-Api-Key: bad', 'X-Api-Key: k-app'],
      ['x_api_key: k-app'],
      ['Authorization: Bearer k-app'],
      [`X-Api-Key: ${'k'.repeat(8000)}`],
    ]) {
      t.equal(await seen(fields), null, String(fields).slice(0, 40))
    }
    t.equal(await seen([], '/a?x-api-key=k-app'), null, 'nowhere else unless asked')
    const missing = await ask([])
    t.equal(missing.get('www-authenticate'), 'ApiKey realm="sluice"')
    t.equal(JSON.parse(missing.text).code, 'SLUICE_UNAUTHORIZED')
    t.equal((await ask(['X-Api-Key: x'])).get('www-authenticate'), 'ApiKey realm="sluice", error="invalid_key"')
  })
}

t.test('places, strip and optional', async t => {
  const keys = { app: hashOf('k'), 'zoë-less': hashOf(Buffer.from('kl\u00ef', 'utf8')) }
  const from = ['header.authorization', 'header.x-key', 'query.api_key']
  const bad = await loadFaults(t, { keys })
  t.match(bad, [/a consumer is named with/])
  const { seen } = await start(t, {
    keys: { app: keys.app, other: keys['zoë-less'] },
    from,
    forward: 'strip',
    optional: true,
  })
  const authorized = await seen(['Authorization: ApiKey k', 'x_key: 1', 'X-Key: 2', 'Accept: a'], '/a?api_key=3&b=%41')
  t.equal(authorized?.get('x-consumer'), 'app')
  t.same(
    ['authorization', 'x_key', 'x-key'].flatMap(name => authorized!.all(name)),
    [],
    'every place is emptied',
  )
  t.equal(authorized!.target, '/a?b=%41')
  t.equal((await seen([], '/a?api_key=k'))?.target, '/a')
  t.equal((await seen([], '/a?x&api%5Fkey=%6b'))?.target, '/a?x')
  t.equal(await seen([], '/a?api_key=k&api_key=k'), null)
  const empty = await seen(['X-Key:', 'x_key: 1', 'Accept: a'], '/a?b&api_key=')
  t.same([empty?.get('x-consumer'), empty?.target, empty?.all('x-key')], ['', '/a?b', []], 'an empty text is no key')
  t.same(empty?.all('x_key'), [])
  t.equal((await seen(['Authorization:', 'X-Key: k']))?.get('x-consumer'), 'app', 'the next place counts')
  t.equal((await seen([], '/a?api_key=kl%C3%AF'))?.get('x-consumer'), 'other', 'UTF-8 in a query')
  t.equal(
    (await seen([`X-Key: ${Buffer.from('kl\u00ef', 'utf8').toString('latin1')}`]))?.get('x-consumer'),
    'other',
    'and in a field',
  )
  const anonymous = await seen(['X-Consumer: app'])
  t.equal(anonymous?.get('x-consumer'), '', 'without a key nobody')
  t.equal(await seen(['X-Key: bad']), null, 'a bad key is refused all the same')
})

/** Faults of these options, as they are printed. */
async function loadFaults(t: Test, options: object, files: Record<string, string> = {}): Promise<string[]> {
  const folder = t.testdir(files)
  const text = `listeners: [{ name: web, port: 0 }]
routes: [{ name: all, match: { path: /* }, respond: { status: 204 } }]
plugins: [{ api-key: ${JSON.stringify(options)} }]
`
  const { faults } = await loadText(text, join(folder, 'g.yaml'), { env: {}, catalog: new Catalog(bundled) })
  return faults.map(formatFault)
}

t.test('faults', async t => {
  const fails = async (options: object, files: Record<string, string>, want: RegExp) => {
    const found = await loadFaults(t, options, files)
    t.equal(found.length, 1, String(want), { found })
    t.match(found[0], want)
    t.match(found[0], /g\.yaml:3:\d+ /)
    t.notMatch(found[0], /plain-key/, 'no key in it')
  }
  t.same(await loadFaults(t, { keys: { a: hashOf('a') } }), [])
  await fails({}, {}, /keys or file is due/)
  await fails({ keys: {} }, {}, /keys: no key is known/)
  t.same(await loadFaults(t, { keys: {}, file: 'k.yaml' }, { 'k.yaml': '' }), [])
  await fails({ keys: { a: 'plain-key' } }, {}, /keys\.a: .*not written plainly.*sha256sum/)
  await fails({ keys: { a: [hashOf('a'), 'plain-key'] } }, {}, /not written plainly.*sha256sum/)
  await fails({ keys: { a: hashOf('a').slice(0, -1) } }, {}, /64 hex digits/)
  await fails({ keys: { a: hashOf('a').replace('256', '512') } }, {}, /not written plainly/)
  await fails({ keys: { a: [] } }, {}, /keys\.a/)
  await fails({ keys: { a: hashOf('x'), b: [hashOf('y'), hashOf('x')] } }, {}, /keys\.b: .*already one of a/)
  await fails({ keys: { 'a b': hashOf('x') } }, {}, /a consumer is named with/)
  await fails({ keys: { a: hashOf('x') }, from: ['cookie.x'] }, {}, /header\.NAME or query\.NAME is due/)
  await fails({ keys: { a: hashOf('x') }, from: ['header.connection'] }, {}, /from\[0\]: .* is never there/)
  await fails({ file: 'k.yaml' }, {}, /k\.yaml: cannot be read: there is no such file/)
  await fails({ file: 'k.yaml' }, { 'k.yaml': `a: ${hashOf('x')}\nb: plain-key\n` }, /line 2: .*not written plainly/)
  await fails({ file: 'k.yaml' }, { 'k.yaml': 'plain-key\n' }, /line 1: /)
  await fails({ file: 'k.yaml' }, { 'k.yaml': `a: ${hashOf('x')}\nb: ${hashOf('x')}\n` }, /line 2: .*already one of a/)
  await fails({ keys: { z: hashOf('x') }, file: 'k.yaml' }, { 'k.yaml': `a: ${hashOf('x')}` }, /a key of a is already/)
})

t.test('a key file: bare, as YAML and as JSON would quote it', async t => {
  const table = readKeyFile(
    [
      '\ufeff--- ',
      '# keys of ours',
      '',
      `app: ${hashOf('1')}`,
      `app: ${hashOf('2')} # the next one`,
      `  "json" : "${hashOf('3')}"`,
      `'yaml': '${hashOf('4')}'\r`,
      `mail@a.test: ${hashOf('5')}`,
    ].join('\n'),
  )
  const of = (key: string) => table.consumer(Buffer.from(key))
  t.same(['1', '2', '3', '4', '5', '6', ''].map(of), ['app', 'app', 'json', 'yaml', 'mail@a.test', null, null])
  t.equal(table.size, 5)
  for (const line of [
    ': x',
    'a',
    `a ${hashOf('1')}`,
    `a: ${hashOf('1')} b`,
    `a:: ${hashOf('1')}`,
    `a: "${hashOf('1')}`,
    '{}',
  ]) {
    t.throws(() => readKeyFile(line), { message: /^line 1: / }, line)
  }
  t.equal(new KeyTable().consumer(Buffer.from('')), null)
})

t.test('a changed file counts without a reload, a faulty one does not', async t => {
  const folder = t.testdir({ keys: `a: ${hashOf('one')}\n` })
  const path = join(folder, 'keys')
  const events: string[] = []
  const stop = watchKeys(
    path,
    keys => events.push(`${keys.size} ${keys.consumer(Buffer.from('two'))}`),
    message => events.push(message),
    10,
  )
  t.teardown(stop)
  const told = (count: number) =>
    eventually(
      () => events.length >= count,
      () => `told of ${events.length} changes`,
    )
  writeFileSync(path, `a: ${hashOf('one')}\nb: ${hashOf('two')}\n`)
  await told(1)
  writeFileSync(`${path}.next`, `c: ${hashOf('two')}\n`)
  renameSync(`${path}.next`, path)
  await told(2)
  writeFileSync(path, 'half a li')
  await told(3)
  renameSync(path, `${path}.gone`)
  await told(4)
  t.same(events.slice(0, 2), ['2 b', '1 c'])
  t.match(events.slice(2), [/^line 1: /, 'cannot be read: there is no such file'])
})

t.test('a file that is being written is read once it rests', async t => {
  const path = join(t.testdir({ keys: `a: ${hashOf('one')}\n` }), 'keys')
  const sizes: number[] = []
  let wait = 0
  let next = () => {}
  const stop = watchKeys(
    path,
    keys => sizes.push(keys.size),
    message => t.fail(message),
    5000,
    (ms, run) => {
      wait = ms
      next = run
      return () => {
        next = () => t.fail('it was ended')
      }
    },
  )
  t.equal(wait, 5000)
  writeFileSync(path, `a: ${hashOf('one')}\n`)
  for (const key of ['two', 'three']) {
    appendFileSync(path, `b: ${hashOf(key)}\n`)
    next()
    t.same([sizes, wait], [[], 100], 'not all is there')
  }
  next()
  t.same([sizes, wait], [[3], 5000])
  next()
  t.same([sizes, wait], [[3], 5000], 'once')
  stop()
})

t.test('a file with other keys of the same length and time', async t => {
  const path = join(t.testdir({}), 'keys')
  // As `cp -p` and image builders leave it, and as it stays where only its rights were mended.
  const write = (key: string) => {
    writeFileSync(path, `a: ${hashOf(key)}\n`)
    utimesSync(path, 1, 1)
  }
  write('one')
  let keys: KeyTable | null = null
  const take = (found: KeyTable) => {
    keys = found
  }
  const stop = watchKeys(path, take, message => t.fail(message), 10)
  t.teardown(stop)
  const before = statSync(path).ctimeMs
  // Again and again: the clock of a file system may stand still for some milliseconds.
  do write('two')
  while (statSync(path).ctimeMs === before)
  await eventually(
    () => keys?.consumer(Buffer.from('two')) === 'a',
    () => 'the change was missed',
  )
  // The folder goes with the test, which would be told of.
  stop()
})

t.test('the file of a running gateway', async t => {
  const folder = t.testdir({ keys: `a: ${hashOf('one')}\n` })
  const { gateway, seen } = await start(t, { keys: { yaml: hashOf('zero') }, file: join(folder, 'keys') })
  t.equal((await seen(['X-Api-Key: one']))?.get('x-consumer'), 'a')
  t.equal((await seen(['X-Api-Key: zero']))?.get('x-consumer'), 'yaml')
  writeFileSync(join(folder, 'keys'), `b: ${hashOf('two')}\nb: ${hashOf('three')}\n`)
  await eventually(
    () => gateway.log.some(line => line.message === 'the key file was read again'),
    () => 'the file was not read again',
    8000,
  )
  t.equal(await seen(['X-Api-Key: one']), null, 'taken back')
  t.equal((await seen(['X-Api-Key: two']))?.get('x-consumer'), 'b')
  t.equal((await seen(['X-Api-Key: zero']))?.get('x-consumer'), 'yaml', 'those of the YAML stay')
})
