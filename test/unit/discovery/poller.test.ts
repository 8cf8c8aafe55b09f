// The poller over a registry that answers, fails, lies and waits, under a clock of its own.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import { AnswerError } from '../../../src/discovery/ask.ts'
import type { Instance } from '../../../src/discovery/provider.ts'
import { StateFile } from '../../../src/discovery/state.ts'
import { bench, instance, ports } from '../../support/scripted-poller.ts'
import { eventually } from '../../support/within.ts'

t.test('asks at its interval, publishes changes alone, in the order of addresses', async t => {
  const { script, pace, poller, view } = bench(t)
  const told: number[][] = []
  poller.subscribe({ labels: {} }, () => told.push(ports(view)))
  script.tell([instance(2), instance(1)])
  poller.start()
  await poller.ready
  t.same(told, [[1, 2]])
  const list = view.endpoints
  script.tell([instance(1), instance(2)])
  await pace.pass(10_000)
  t.equal(script.cursors.length, 2)
  t.equal(view.endpoints, list, 'the same list: nothing to swap')
  t.equal(told.length, 1)
  script.tell([instance(1), instance(2, { labels: { version: 'v2' } })])
  await pace.pass(10_000)
  t.equal(told.length, 2)
  script.tell([instance(1), instance(2, { labels: { version: 'v2' }, weight: 3 })])
  await pace.pass(10_000)
  t.equal(told.length, 3)
  t.ok(poller.age < 10_000)
})

t.test('a registry that waits is asked again at once, with its cursor', async t => {
  const { script, pace, poller, view } = bench(t)
  script.tell([instance(1)], 'one')
  poller.start()
  await poller.ready
  script.tell([instance(1), instance(2)], 'two')
  await pace.pass(100)
  t.same(script.cursors.slice(0, 3), [null, 'one', 'two'])
  t.same(ports(view), [1, 2])
})

t.test('a registry that should wait and does not is asked after the interval', async t => {
  const { script, pace, poller, view } = bench(t)
  script.tell([instance(1)], 'one')
  poller.start()
  await pace.pass(100)
  t.equal(script.cursors.length, 2)
  await pace.pass(9_900)
  t.equal(script.cursors.length, 3)
  script.tell([instance(1), instance(2)], 'one')
  await pace.pass(10_000)
  t.same(ports(view), [1, 2])
})

t.test('a registry whose news are nothing to us is asked once a second', async t => {
  const { script, pace, poller, view } = bench(t)
  let news = 0
  const tell = (...told: Instance[]) => {
    script.answer = async () => ({ instances: told, cursor: String(++news) })
  }
  tell(instance(1))
  poller.start()
  await pace.pass(20_000)
  t.ok(news >= 20 && news <= 25, `${news} answers`)
  tell(instance(1), instance(2))
  await pace.pass(1_000)
  t.same(ports(view), [1, 2], 'what is news to us is seen within that second')
  news = 0
  script.answer = async () => ({ instances: [instance(++news)], cursor: String(news) })
  await pace.pass(10_000)
  t.ok(news > 100, `${news} answers that each say something else`)
})

t.test('a TTL shortens the interval, to 5 s at least', async t => {
  const { script, pace, poller } = bench(t, { interval: 60_000 })
  script.tell([instance(1)], null, 1000)
  poller.start()
  await poller.ready
  await pace.pass(4_999)
  t.equal(script.cursors.length, 1)
  await pace.pass(1)
  t.equal(script.cursors.length, 2)
  script.tell([instance(1)], null, 20_000)
  await pace.pass(5_000)
  await pace.pass(18_999)
  t.equal(script.cursors.length, 3)
  await pace.pass(1)
  t.equal(script.cursors.length, 4, 'spread over the last tenth where there is room')
})

t.test('failures: the last good set stays, one line a change, backoff, a fresh start', async t => {
  const { script, pace, poller, view, lines } = bench(t, { interval: 1000 })
  script.tell([instance(1)], 'one')
  poller.start()
  await poller.ready
  script.answer = async () => {
    throw new Error('connect ECONNREFUSED')
  }
  await pace.pass(120_000)
  t.same(ports(view), [1])
  t.equal(poller.failure, 'connect ECONNREFUSED')
  t.equal(lines.filter(line => line.startsWith('warn discovery fails')).length, 1)
  t.ok(poller.age > 119_000, 'the age tells')
  const tries = script.cursors.length
  t.ok(tries > 8 && tries < 20, `${tries} tries in two minutes`)
  t.same(script.cursors.slice(2), new Array(tries - 2).fill(null), 'after a failure without a cursor')
  script.tell([instance(1), instance(2)])
  await pace.pass(15_000)
  t.same(ports(view), [1, 2])
  t.equal(poller.failure, null)
  t.equal(lines.filter(line => line.startsWith('info discovery answers again')).length, 1)
})

t.test('a list that is told again is looked at once, and counts as an answer all the same', async t => {
  const { script, pace, poller, view, lines } = bench(t, { interval: 1000, holdFor: 30_000 })
  let looks = 0
  const counted = {
    ...instance(1),
    get host() {
      looks++
      return '10.0.0.1'
    },
  }
  const list = [counted, instance(2), instance(3), instance(70_000)]
  script.tell(list)
  poller.start()
  await poller.ready
  const [first, endpoints] = [looks, view.endpoints]
  t.same(ports(view), [1, 2, 3])
  await pace.pass(10_000)
  t.ok(script.cursors.length > 10)
  t.ok(poller.age <= 1000)
  script.answer = async () => {
    throw new Error('reset')
  }
  await pace.pass(2_000)
  t.equal(poller.failure, 'reset')
  script.tell(list)
  await pace.pass(5_000)
  t.equal(poller.failure, null, 'a failure is over')
  t.ok(poller.age <= 1000)
  t.equal(looks, first)
  t.equal(view.endpoints, endpoints)
  t.equal(lines.filter(line => line.includes('cannot be used')).length, 1)
  // A loss that is told again and again is held for holdFor and no longer.
  script.tell([])
  await pace.pass(29_000)
  t.same(ports(view), [1, 2, 3])
  t.equal(poller.held, 3)
  await pace.pass(3_000)
  t.same(ports(view), [])
  script.tell(list)
  await pace.pass(1_000)
  t.same(ports(view), [1, 2, 3], 'what was told before the loss')
})

t.test('a registry that can tell when it is mended is asked again at once', async t => {
  const { script, pace, poller, lines } = bench(t)
  script.answer = () => Promise.reject(new AnswerError('broken', 0, 'there'))
  poller.start()
  await poller.ready
  script.answer = () => new Promise(() => {})
  await pace.pass(100)
  t.same(script.cursors, [null, 'there'])
  await pace.pass(34_000)
  t.equal(script.cursors.length, 2, 'it waits')
  t.equal(poller.failure, 'broken')
  t.equal(lines.length, 1)
})

t.test('a registry that waits is asked again at once, but only once in 50 ms', async t => {
  const { script, pace, poller } = bench(t)
  const asked: number[] = []
  let took = 0
  script.answer = async () => {
    asked.push(pace.now())
    if (asked.length > 6) return new Promise(() => {})
    if (took > 0) await pace.sleep(took, new AbortController().signal)
    return { instances: [instance(asked.length)], cursor: String(asked.length) }
  }
  poller.start()
  await poller.ready
  took = 10_000
  await pace.pass(20_000)
  took = 20
  await pace.pass(1_000)
  t.same(asked, [0, 50, 10_050, 20_050, 20_100, 20_150, 20_200])
})

t.test('full jitter: between almost nothing and the whole backoff', async t => {
  for (const [chance, most, least] of [
    [0, 2500, 100],
    [0.999, 9, 7],
  ] as const) {
    const { script, pace, poller } = bench(t)
    pace.chance = chance
    script.answer = () => Promise.reject(new Error('no'))
    poller.start()
    await pace.pass(120_000)
    t.ok(script.cursors.length <= most && script.cursors.length >= least, `${script.cursors.length} tries`)
  }
})

t.test('a poll that hangs is ended, and a poll that waits may wait', async t => {
  const { script, pace, poller } = bench(t)
  script.answer = () => new Promise(() => {})
  poller.start()
  await pace.pass(5_000)
  t.match(poller.failure, /no answer within 5000 ms/)
  t.ok(script.signals[0]!.aborted)
  script.answer = async () => {
    script.answer = () => new Promise(() => {})
    return { instances: [instance(1)], cursor: 'one' }
  }
  await pace.pass(32_000)
  t.equal(poller.failure, null, 'it waits for changes')
  t.ok(script.signals.length > 2)
  t.notOk(
    script.signals.slice(1).some(({ aborted }) => aborted),
    'polls after one that was ended',
  )
  await pace.pass(5_100)
  t.match(poller.failure, /no answer within 35000 ms/)
})

t.test('what must not be used is left out and told once', async t => {
  const { script, pace, poller, view, lines } = bench(t)
  const bad = [
    instance(1, { host: 'a b' }),
    instance(70_000),
    instance(1, { host: '169.254.169.254' }),
    instance(1, { host: 'fe80::1' }),
    instance(1, { weight: Number.NaN }),
    instance(1, { weight: -1 }),
    instance(1, { host: undefined as unknown as string }),
    instance(1, { host: '' }),
  ]
  script.tell([...bad, instance(7)])
  poller.start()
  await pace.pass(30_000)
  t.same(ports(view), [7])
  t.equal(lines.filter(line => line.includes('cannot be used')).length, 1)
})

t.test('an instance listed twice counts once', async t => {
  const { script, poller, view } = bench(t)
  script.tell([instance(1), instance(1)])
  poller.start()
  await poller.ready
  t.same(ports(view), [1])
})

t.test('an address that is told of twice, and not alike, is no change when the two come in another order', async t => {
  const { script, pace, poller, view } = bench(t)
  let published = 0
  poller.subscribe({ labels: {} }, () => published++)
  // As Nacos has it for two clusters, and Consul for a service that registered anew under another id.
  const light = instance(1, { labels: { cluster: 'a', zone: 'x' } })
  const heavy = instance(1, { weight: 5, labels: { cluster: 'b', zone: 'x' } })
  const other = instance(1, { labels: { zone: 'x', cluster: 'c' } })
  const orders = [
    [light, heavy, other],
    [other, heavy, light],
    [heavy, light, other],
    [heavy, instance(1, { labels: { cluster: 'c', zone: 'x' } }), light],
  ]
  script.tell(orders[0]!)
  poller.start()
  await poller.ready
  const { endpoints } = view
  for (const order of orders) {
    script.tell(order)
    await pace.pass(10_000)
    t.equal(view.endpoints, endpoints)
  }
  t.equal(script.cursors.length, 5)
  t.equal(published, 1)
  // Which of them counts is nothing but settled; another weight of that one is a change.
  script.tell([light, other, instance(1, { weight: 7, labels: heavy.labels })])
  await pace.pass(10_000)
  t.same([view.endpoints.map(({ weight }) => weight), published], [[7], 2])
})

t.test('a large loss is held while somebody listens there, and gone when nobody does', async t => {
  const server = createServer(socket => socket.destroy())
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const alive = instance(port, { host: '127.0.0.1' })
  const { script, pace, poller, view, lines } = bench(t)
  const warnings: string[] = []
  const warned = ({ message }: Error) => void warnings.push(message)
  process.on('warning', warned)
  t.teardown(() => process.off('warning', warned))
  // So many probes at once must not look like a leak of listeners.
  const dead = Array.from({ length: 20 }, (_, i) => instance(i < 2 ? i + 1 : i + 2, { host: '127.0.0.1' }))
  script.tell([alive, ...dead])
  poller.start()
  await poller.ready
  script.tell([instance(3, { host: '127.0.0.1' })])
  await pace.pass(10_000)
  t.ok(lines.some(line => line.includes('lost most instances')))
  // Real connections take real time.
  await eventually(
    async () => {
      await pace.pass(100)
      return poller.held === 1
    },
    () => `${poller.held} are held`,
  )
  t.same(ports(view), [3, port])
  t.same(warnings, [])
  await pace.pass(300_000)
  await eventually(
    async () => {
      await pace.pass(100)
      return poller.held === 0
    },
    () => 'it is held for ever',
  )
  t.same(ports(view), [3])
})

t.test('nothing at all is held for holdFor, without any further answer', async t => {
  const { script, pace, poller, view } = bench(t, { holdFor: 60_000 })
  script.tell([instance(1)], 'one')
  poller.start()
  await poller.ready
  script.tell([], 'two')
  await pace.pass(100)
  script.answer = () => new Promise(() => {})
  await pace.pass(20_000)
  t.same(ports(view), [1])
  await pace.pass(45_000)
  t.same(ports(view), [])
})

t.test('close ends the poll and the loop', async t => {
  const { script, pace, poller } = bench(t)
  script.answer = () => new Promise(() => {})
  poller.start()
  await pace.pass(0)
  poller.close()
  await pace.pass(100_000)
  t.ok(script.signals[0]!.aborted)
  t.equal(script.cursors.length, 1)
  t.equal(pace.sleeping, 0, 'no timer is left')
  await poller.ready
})

t.test('the last good set is kept on disk, and a cold start without the registry begins from it', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-state-'))
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 5 }))
  const state = () => new StateFile(folder, 'r', 's')
  const first = bench(t, {}, state())
  first.script.tell([instance(1, { ports: { http: 1 } }), instance(2, { labels: { a: 'b' } })])
  first.poller.start()
  await first.poller.ready
  await eventually(
    () => readdirSync(folder, { recursive: true }).some(name => String(name).endsWith('.json')),
    () => 'nothing was written',
  )
  first.poller.close()
  const kept = state()
  const second = bench(t, {}, kept)
  second.script.answer = () => Promise.reject(new Error('no registry'))
  second.poller.start()
  await second.poller.ready
  t.same(second.view.endpoints, first.view.endpoints)
  t.ok(second.poller.known && second.poller.fromState)
  t.ok(Number.isNaN(second.poller.age))
  // The registry comes back empty: what is known stays.
  second.script.tell([])
  await second.pace.pass(10_000)
  t.same(ports(second.view), [1, 2])
  t.notOk(second.poller.fromState)
  second.poller.close()
  // Writes come one after the other: its last has ended with this one.
  await kept.write(second.poller.inUse!)

  const file = kept.path
  for (const broken of [
    '',
    '{',
    '{"version":2}',
    '[]',
    readFileSync(file, 'utf8').replace('"service":"s"', '"service":"t"'),
  ]) {
    writeFileSync(file, broken)
    const third = bench(t, {}, state())
    third.script.answer = () => Promise.reject(new Error('no registry'))
    third.poller.start()
    await third.poller.ready
    t.same(ports(third.view), [], broken)
    await third.pace.pass(60_000)
    t.equal(third.lines.filter(line => line.includes('cannot be used')).length, 1, broken)
    third.poller.close()
  }
})

t.test('a start with an empty registry: what was known counts as lost', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-state-'))
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 5 }))
  const state = () => new StateFile(folder, 'r', 's')
  await state().write([instance(1), instance(2)])
  const kept = bench(t, { holdFor: 60_000 }, state())
  kept.poller.start()
  await kept.poller.ready
  t.same(ports(kept.view), [1, 2])
  t.equal(kept.poller.held, 2)
  t.notOk(kept.poller.fromState, 'the registry has answered')
  await kept.pace.pass(60_000)
  t.same(ports(kept.view), [])
  await eventually(
    async () => (await state().read())?.length === 0,
    () => 'the state is not written',
  )
  await state().write([instance(1)])
  for (const options of [{ onEmpty: 'drop' }, { holdFor: 0 }] as const) {
    const dropped = bench(t, options, state())
    dropped.poller.start()
    await dropped.poller.ready
    t.same(ports(dropped.view), [])
    dropped.poller.close()
  }
})

t.test('what was told under other options is used until the registry answers, and not after', async t => {
  const before = [instance(1), instance(2)]
  const down = bench(t, {}, null, { labels: {} }, before)
  down.script.answer = () => Promise.reject(new Error('no registry'))
  down.poller.start()
  await down.poller.ready
  t.same(ports(down.view), [1, 2])
  t.ok(down.poller.known && down.poller.fromState)
  t.same(down.poller.inUse, before)
  // A registry that was empty, such as another one where nobody has registered yet.
  const empty = bench(t, { holdFor: 60_000 }, null, { labels: {} }, before)
  empty.poller.start()
  await empty.poller.ready
  t.same(ports(empty.view), [1, 2])
  t.equal(empty.poller.held, 2)
  await empty.pace.pass(60_000)
  t.same(ports(empty.view), [])
  for (const [options, told] of [
    [{}, [instance(3)]],
    [{ onEmpty: 'drop' }, []],
  ] as const) {
    const answers = bench(t, options, null, { labels: {} }, before)
    answers.script.tell(told)
    answers.poller.start()
    await answers.poller.ready
    t.same(
      ports(answers.view),
      told.map(({ port }) => port),
      'what it says counts',
    )
  }
})

t.test('a state that cannot be written is told once, and turns nothing', async t => {
  // The system says of every folder there that it does not exist.
  const { script, pace, poller, lines } = bench(t, {}, new StateFile('/proc/none', 'r', 's'))
  script.tell([instance(1)])
  poller.start()
  const told = () => lines.filter(line => line.startsWith('warn discovery cannot keep its state'))
  await eventually(
    () => told().length === 1,
    () => 'nothing is told',
  )
  t.match(told()[0], /ENOENT/)
  script.tell([instance(1), instance(2)])
  await pace.pass(10_000)
  await t.rejects(new StateFile('/proc/none', 'r', 's').write([]), { code: 'ENOENT' })
  t.equal(told().length, 1)
})

t.test('a state that could not be written is written once it can', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-state-'))
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 5 }))
  const stateDir = join(folder, 'state')
  writeFileSync(stateDir, 'in its place')
  const state = new StateFile(stateDir, 'r', 's')
  const { script, pace, poller, lines } = bench(t, {}, state)
  script.tell([instance(1)])
  poller.start()
  await eventually(
    () => lines.some(line => line.includes('cannot keep its state')),
    () => 'nothing is told',
  )
  rmSync(stateDir)
  await pace.pass(10_000)
  await eventually(
    () => existsSync(state.path),
    () => 'it is not written',
  )
  t.match(await state.read(), [{ port: 1 }])
})

t.test('a state that could not be written leaves nothing beside its place', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-state-'))
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 5 }))
  const state = new StateFile(folder, 'r', 's')
  mkdirSync(state.path, { recursive: true })
  await t.rejects(state.write([instance(1)]))
  t.same(readdirSync(dirname(state.path)), [basename(state.path)])
})

t.test('instances that cannot be used are told once, in whatever order they come', async t => {
  const { script, pace, poller, lines } = bench(t)
  const bad = [1, 2, 3, 4, 5, 6].map(last => instance(80, { host: `169.254.0.${last}` }))
  script.tell(bad)
  poller.start()
  await poller.ready
  script.tell([...bad].reverse())
  await pace.pass(10_000)
  t.equal(script.cursors.length, 2)
  t.equal(lines.filter(line => line.includes('cannot be used')).length, 1)
})

t.test('what is still being read when it is closed is not written down: another may write there by now', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-state-'))
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 5 }))
  const state = new StateFile(folder, 'r', 's')
  const { script, poller } = bench(t, { maxInstances: 5_000 }, state)
  // So many are read in turns of the event loop of their own.
  const many = Array.from({ length: 2_000 }, (_, i) => instance(i + 1))
  const asked = new Promise<void>(resolve => {
    script.answer = async () => {
      resolve()
      return { instances: many, cursor: null }
    }
  })
  poller.start()
  await asked
  poller.close()
  for (let turn = 0; turn < 5; turn++) await new Promise(resolve => setImmediate(resolve))
  t.notOk(poller.known)
  t.same(readdirSync(folder), [])
})
