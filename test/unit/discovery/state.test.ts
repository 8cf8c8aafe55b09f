// Tests of the state on disk when several write the same: pollers over a reload, and gateways that share a folder.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { StateFile } from '../../../src/discovery/state.ts'
import { startReloading } from '../../support/reloading-gateway.ts'
import { instance } from '../../support/scripted-poller.ts'
import { eventually } from '../../support/within.ts'

const ROUNDS = 50
const LONG = Array.from({ length: 2_000 }, (_, i) => instance(i + 1))
// Of another service.
const ID = '0123456789abcdef01234567'
const SHORT = [instance(1)]
type Pair = [StateFile, StateFile]

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'sluice-state-'))
  t.teardown(() => rmSync(path, { recursive: true, maxRetries: 5 }))
  return path
}

t.test('two pollers of one service, as over a reload: what was said last stands there', async t => {
  const stateDir = folder(t)
  const older = new StateFile(stateDir, 'r', 's')
  const newer = new StateFile(stateDir, 'r', 's')
  for (let round = 0; round < ROUNDS; round++) {
    const first = older.write(LONG)
    await Promise.all([first, newer.write(SHORT)])
    if ((await newer.read())!.length !== 1) return t.fail(`the older one wrote last, in round ${round}`)
  }
  t.same(readdirSync(dirname(older.path)), [basename(older.path)])
})

t.test('two gateways on one folder, whose processes have the same id, as in containers: it is whole', async t => {
  const stateDir = folder(t)
  // A module of its own counts for itself, as another process does.
  const module = new URL('../../../src/discovery/state.ts', import.meta.url)
  const load = (): Promise<typeof import('../../../src/discovery/state.ts')> => import(`${module}?${randomUUID()}`)
  const [one, two] = [await load(), await load()].map(({ StateFile }) => new StateFile(stateDir, 'r', 's')) as Pair
  for (let round = 0; round < ROUNDS; round++) {
    await Promise.all([one.write(LONG), two.write(SHORT)])
    const { length } = (await one.read())!
    if (length !== 1 && length !== LONG.length) return t.fail(`${length} instances in round ${round}`)
  }
  t.same(readdirSync(dirname(one.path)), [basename(one.path)])
})

t.test('what a process that was killed left half written is cleared away, and nothing else', async t => {
  const stateDir = folder(t)
  const state = new StateFile(stateDir, 'r', 's')
  mkdirSync(dirname(state.path))
  const names = [`${ID}.json.old.tmp`, `${ID}.json.new.tmp`, `${ID}.json`, 'of-somebody-else.tmp'].map(name =>
    join(dirname(state.path), name),
  )
  for (const name of names) writeFileSync(name, '{')
  const hourAgo = new Date(Date.now() - 3_600_000)
  for (const name of names) if (!name.includes('new')) utimesSync(name, hourAgo, hourAgo)
  await state.write(SHORT)
  const left = [basename(state.path), `${ID}.json`, `${ID}.json.new.tmp`, 'of-somebody-else.tmp']
  t.same(readdirSync(dirname(state.path)).sort(), left.sort(), 'another gateway may be writing the new one')
  writeFileSync(names[0]!, '{')
  utimesSync(names[0]!, hourAgo, hourAgo)
  await state.write(LONG)
  t.ok(existsSync(names[0]!), 'once a process')
})

t.test(
  'the state is of the registry that is in use: a reload that comes to nothing leaves none of its own',
  async t => {
    const state = new StateFile(join(folder(t), 'state'), 'here', 's')
    const inUse = folder(t)
    for (const port of [1, 2]) writeFileSync(join(inUse, `${port}.json`), `["10.0.0.1:${port}"]`)
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    t.teardown(() => void taken.close())
    const config = (file: number, port = 0) => `
listeners: [{ name: a, port: 0 }, { name: b, port: ${port} }]
admin: off
stateDir: ${dirname(dirname(state.path))}
discovery: { here: { kind: file, path: ${join(inUse, `${file}.json`)} } }
upstreams: { up: { discover: { from: here, service: s } } }
routes: [{ name: r, upstream: up }]
`
    const gateway = await startReloading(t, config(1))
    const holds = (port: number) =>
      eventually(
        async () => (await state.read())?.[0]?.port === port,
        () => `it is not that of ${port}`,
      )
    await holds(1)
    t.notOk(await gateway.reload(config(2, (taken.address() as AddressInfo).port)), 'the port is in use')
    await holds(1)
    t.ok(await gateway.reload(config(2)), gateway.faults.join())
    await holds(2)
  },
)
