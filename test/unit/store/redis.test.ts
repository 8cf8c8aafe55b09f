// Counters in a real Redis: the same decisions as in memory, several gateways on one server, every way in which it fails, a cluster, leases.
// Over 300 lines because each fault is a story of its own on one kind of server.
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Log } from '../../../src/log.ts'
import { registry } from '../../../src/metrics.ts'
import { storeOptions } from '../../../src/store/kinds.ts'
import { MemoryStore } from '../../../src/store/memory.ts'
import { RedisStore } from '../../../src/store/redis.ts'
import type { Algorithm, CounterOptions, Limit, Tally } from '../../../src/store/store.ts'
import { TRACES, type Trace } from '../../support/rate-traces.ts'
import { type RedisServer, startRedis, startRedisCluster } from '../../support/redis-server.ts'
import { ROOT } from '../../support/root.ts'
import { eventually, pause, stopwatch } from '../../support/within.ts'

// Each fault has a second until it is probed, and there are many.
t.setTimeout(240_000)

const HOUR = 3_600_000
let ids = 0

/** By default of an hour: where one ends in the middle of a test, less is counted. */
function options(
  algorithm: Algorithm,
  lease: number,
  ...limits: readonly (Partial<Limit> & { limit: number })[]
): CounterOptions {
  return {
    id: `test ${++ids}`,
    algorithm,
    limits: limits.map(({ limit, window = HOUR, burst = limit }) => ({ limit, window, burst })),
    maxKeys: 1000,
    lease,
  }
}

/** What stores logged, and the fields of that. */
const lines: string[] = []
const told: unknown[] = []
const note = (message: string, fields: unknown) => {
  lines.push(message)
  told.push(fields)
}
const log: Log = { debug: note, info: note, warn: note, error: note }

async function open(t: Test, url: string, more: Record<string, unknown> = {}, now: (() => number) | null = null) {
  const store = new RedisStore('shared', storeOptions.parse({ kind: 'redis', url, budget: '10s', ...more }), log, now)
  t.teardown(() => store.close())
  await store.ready
  return store
}

const admitted = (tallies: readonly Tally[]) => tallies.filter(tally => tally.allowed).length
const ALGORITHMS: readonly Algorithm[] = ['sliding-window', 'sliding-log', 'token-bucket']

t.test('on one server', async t => {
  const redis = await startRedis(t)

  t.test('a loop that is busy after the question is not the fault of Redis', async t => {
    const store = await open(t, redis.url, { budget: '300ms' })
    const counter = store.counter(options('sliding-window', 0, { limit: 20 }))
    const asked = Array.from({ length: 60 }, () => counter.hit('k', 1))
    // The questions have not left yet: they go out together at the end of this turn.
    const until = performance.now() + 500
    while (performance.now() < until);
    const tallies = await Promise.all(asked)
    t.ok(tallies.every(({ decider }) => decider === 'store'))
    t.equal(admitted(tallies), 20)
  })

  t.test('what is asked while a call is under way goes out together, after it', async t => {
    const store = await open(t, redis.url, { budget: '10s' }, () => 0)
    const counter = store.counter({ ...options('sliding-window', 0, { limit: 20 }), id: 'together' })
    await counter.hit('k', 1)
    const before = await calls()
    await redis.send('CLIENT', 'PAUSE', '60000', 'WRITE')
    const asked = []
    for (let i = 0; i < 12; i++) {
      asked.push(counter.hit('k', 1))
      await new Promise(setImmediate)
    }
    await redis.send('CLIENT', 'UNPAUSE')
    const tallies = await Promise.all(asked)
    t.same(
      tallies.map(({ remaining }) => remaining),
      [18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7],
      'in the order asked',
    )
    t.equal((await calls()) - before, 2)

    async function calls(): Promise<number> {
      const told = String(await redis.send('INFO', 'commandstats'))
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(told)![1])
    }
  })

  t.test('a user of an ACL needs no more than the page of rate-limit says', async t => {
    const page = readFileSync(join(ROOT, 'plugins/rate-limit/README.md'), 'utf8')
    const said = /The user of an ACL needs ([^)]*?) \(and/s.exec(page)![1]!
    const commands = said.split(/[`\s]+/).filter(word => word.startsWith('+'))
    t.ok(commands.length > 5)
    await redis.send('ACL', 'SETUSER', 'gate', 'on', '>secret', 'resetkeys', '~sluice:*', '-@all', ...commands)
    await redis.send('ACL', 'LOG', 'RESET')
    await redis.send('SCRIPT', 'FLUSH')
    const store = await open(t, redis.url.replace('//', '//gate:secret@'))
    for (const algorithm of ALGORITHMS) {
      const counter = store.counter(options(algorithm, 0, { limit: 1 }))
      const tallies = [await counter.hit('k', 1), await counter.hit('k', 1)]
      t.same(
        tallies.map(({ allowed, decider }) => [allowed, decider]),
        [
          [true, 'store'],
          [false, 'store'],
        ],
        algorithm,
      )
    }
    store.close()
    await eventually(
      async () => (await redis.send('ZCARD', 'sluice:{gateways}:alive')) === 0,
      () => 'it has not said goodbye',
    )
    t.same(await redis.send('ACL', 'LOG'), [])
  })

  t.test('what is given up before it went out is not charged', async t => {
    // While time stands still: a window that ends before the last question would count less.
    const store = await open(t, redis.url, { budget: '700ms' }, () => 0)
    const counter = store.counter({ ...options('sliding-window', 0, { limit: 20 }), id: 'given-up' })
    await counter.hit('k', 1)
    await redis.send('CLIENT', 'PAUSE', '60000', 'WRITE')
    const first = counter.hit('k', 1)
    await new Promise(setImmediate)
    const second = counter.hit('k', 1)
    t.equal((await first).decider, 'local', 'is under way, and counted when Redis comes to it')
    t.equal((await second).decider, 'local', 'would have been next')
    await redis.send('CLIENT', 'UNPAUSE')
    t.equal((await counter.hit('k', 1)).remaining, 17)
  })

  t.test('traces, letter by letter', async t => {
    const clock = { now: 0 }
    const store = await open(t, redis.url, {}, () => clock.now)
    const file = join(ROOT, '../shared/corpora/ratelimit/traces.jsonl')
    const more: Trace[] = existsSync(file)
      ? readFileSync(file, 'utf8')
          .trim()
          .split('\n')
          .map(line => JSON.parse(line))
      : []
    // 0 is the sign for Redis's own clock.
    const start = 1_000_000
    for (const { id, limit, windowMs, times, expected } of [...TRACES, ...more]) {
      for (const [algorithm, name] of [
        ['sliding-window', 'sliding_counter'],
        ['sliding-log', 'sliding_log'],
        ['token-bucket', 'gcra_burst_eq_limit'],
      ] as const) {
        const counter = store.counter(options(algorithm, 0, { limit, window: windowMs }))
        const hits = times.map(time => {
          clock.now = start + time
          return counter.hit('k', 1)
        })
        const decided = (await Promise.all(hits)).map(({ allowed }) => (allowed ? '1' : '0')).join('')
        if (decided !== expected[name]) t.equal(decided, expected[name], `${id} ${algorithm}`)
      }
      t.pass(id)
    }
  })

  t.test('the same answers as in memory, to the last number', async t => {
    const clock = { now: 0 }
    const store = await open(t, redis.url, {}, () => clock.now)
    const memory = new MemoryStore('memory', () => clock.now)
    const arrivals = fc.array(
      fc.record({ gap: fc.oneof(fc.nat(20), fc.nat(400), fc.nat(3000)), cost: fc.constantFrom(1, 1, 1, 2, 5, 20) }),
      { minLength: 1, maxLength: 60 },
    )
    for (const algorithm of ALGORITHMS) {
      t.comment(algorithm)
      await fc.assert(
        fc.asyncProperty(
          arrivals,
          fc.integer({ min: 1, max: 12 }),
          fc.integer({ min: 1, max: 900 }),
          async (all, limit, window) => {
            const given = options(
              algorithm,
              0,
              { limit, window, burst: limit + 2 },
              { limit: limit * 2, window: window * 3 },
            )
            const [there, here] = [store.counter(given), memory.counter(given)]
            clock.now = 1_000_000
            const answers = all.map(({ gap, cost }) => {
              clock.now += gap
              return [there.hit('k', cost), here.hit('k', cost)] as const
            })
            for (const [theirs, ours] of answers) if (!isDeepStrictEqual(await theirs, ours)) return false
            return true
          },
        ),
        { numRuns: 40 },
      )
    }
  })

  t.test('an exact log, on its own clock, by several gateways at once', async t => {
    const stores = await Promise.all([1, 2, 3].map(() => open(t, redis.url, { prefix: 'log' })))
    const given = options('sliding-log', 0, { limit: 20, window: 300 })
    const counters = stores.map(store => store.counter(given))
    let refused = 0
    const end = performance.now() + 1200
    while (performance.now() < end || refused <= 100) {
      const tallies = await Promise.all(counters.flatMap(counter => [counter.hit('k', 1), counter.hit('k', 1)]))
      refused += tallies.length - admitted(tallies)
      // What the log holds is what was admitted: never more than the limit in any window.
      const [key] = (await redis.send('KEYS', 'log:*:0')) as string[]
      // It has expired where that took longer than the window.
      const held = key === undefined ? 0 : ((await redis.send('ZCARD', key)) as number)
      if (held > 20) t.fail(`${held} admitted within one window`)
    }
    t.ok(refused > 100, `${refused} refused`)
  })

  t.test('concurrent hits admit exactly the limit', async t => {
    for (const algorithm of ALGORITHMS) {
      const stores = await Promise.all([1, 2, 3].map(() => open(t, redis.url)))
      const given = options(algorithm, 0, { limit: 50, window: HOUR })
      const hits = stores.flatMap(store => {
        const counter = store.counter(given)
        return Array.from({ length: 200 }, () => counter.hit('k', 1))
      })
      const tallies = await Promise.all(hits)
      t.equal(admitted(tallies), 50, algorithm)
      t.ok(tallies.every(({ decider }) => decider === 'store'))
    }
  })

  t.test('keys: one tag a counter, hashed where they are odd, all of them expire', async t => {
    await redis.send('FLUSHALL')
    const store = await open(t, redis.url, { prefix: 'edge' })
    const counter = store.counter(options('sliding-window', 0, { limit: 5 }, { limit: 5, window: 2 * HOUR }))
    const log = store.counter(options('sliding-log', 0, { limit: 5 }))
    const bucket = store.counter(options('token-bucket', 0, { limit: 5 }))
    for (const key of ['10.0.0.1', '2001:db8::/64', '{x}', 'a\r\nb\0', 'z'.repeat(65_536), '']) {
      for (const each of [counter, log, bucket]) t.ok((await each.hit(key, 1)).allowed)
    }
    const keys = ((await redis.send('KEYS', '*')) as string[]).filter(key => !key.endsWith(':alive'))
    t.equal(keys.length, 24)
    for (const key of keys) {
      t.match(key, /^edge:\{[0-9a-f]{12}:(?:[A-Za-z0-9.:/_-]{1,64}|#[0-9a-f]{40})\}:[01]$/)
      // -1 would be for ever.
      const left = (await redis.send('PTTL', key)) as number
      t.ok(left > 0 && left <= 4 * HOUR + 1_000, `${left} ms are left`)
    }
  })

  t.test('gateways know of each other, and of those that left', async t => {
    const stores = await Promise.all([1, 2, 3].map(() => open(t, redis.url, { prefix: 'roll' })))
    await eventually(
      () => stores.every(store => store.gateways === 3),
      () => `${stores.map(store => store.gateways)}`,
    )
    stores[2]!.close()
    await eventually(
      () => stores[0]!.gateways === 2,
      () => `${stores[0]!.gateways}`,
    )
  })

  t.test('a key that holds something else fails its own question alone', async t => {
    const store = await open(t, redis.url, { prefix: 'spoilt' })
    const counter = store.counter(options('sliding-window', 0, { limit: 10 }))
    await counter.hit('bad', 1)
    const [key] = (await redis.send('KEYS', 'spoilt:*bad*')) as [string]
    await redis.send('DEL', key)
    await redis.send('LPUSH', key, 'x')
    // Asked in one turn of the loop, so that they go out together.
    const tallies = await Promise.all(['a', 'bad', 'b'].map(each => counter.hit(each, 1)))
    t.same(
      tallies.map(({ decider, remaining }) => [decider, remaining]),
      [
        ['store', 9],
        ['local', 9],
        ['store', 9],
      ],
    )
  })

  t.test('strings stay quick: ioredis leaves their methods in the slow form', async t => {
    await open(t, redis.url)
    setFlagsFromString('--allow-natives-syntax')
    t.ok(new Function('return %HasFastProperties(String.prototype)')())
  })

  t.test('SCRIPT FLUSH fails no request', async t => {
    const store = await open(t, redis.url)
    const counter = store.counter(options('sliding-window', 0, { limit: 1000 }))
    for (let i = 0; i < 5; i++) {
      await redis.send('SCRIPT', 'FLUSH')
      const tallies = await Promise.all(Array.from({ length: 20 }, () => counter.hit('k', 1)))
      t.ok(tallies.every(({ decider, allowed }) => decider === 'store' && allowed))
    }
    t.equal((await counter.hit('k', 1)).remaining, 1000 - 101, 'each was counted once')
  })

  t.test('a lease: bounded beyond the limit, and seldom a question', async t => {
    const stores = await Promise.all([1, 2, 3].map(() => open(t, redis.url, { prefix: 'lease' })))
    await eventually(
      () => stores.every(store => store.gateways === 3),
      () => 'three gateways',
    )
    const given = options('sliding-window', 0.05, { limit: 200, window: 500 })
    const counters = stores.map(store => store.counter(given))
    const byWindow = new Map<number, number>()
    let hits = 0
    const end = performance.now() + 1600
    // Enough to pass the limit in some window, however slow the machine is.
    while (performance.now() < end || hits <= 600) {
      for (const counter of counters) {
        hits++
        const tally = await counter.hit('k', 1)
        if (!tally.allowed) continue
        const [seconds, micros] = (await redis.send('TIME')) as string[]
        const window = Math.floor((Number(seconds) * 1000 + Number(micros) / 1000) / 500)
        byWindow.set(window, (byWindow.get(window) ?? 0) + 1)
      }
    }
    // A lease is 10 units, and there are three gateways.
    for (const count of byWindow.values()) t.ok(count <= 230, `${count} in one window`)
    const one = stores[0]!.counter(options('sliding-window', 0.05, { limit: 1000, window: HOUR }))
    const asked = await redis.info('total_commands_processed')
    let atOnce = 0
    const tallies: Tally[] = []
    for (let i = 0; i < 1500; i++) {
      const tally = one.hit('k', 1)
      if (!(tally instanceof Promise)) atOnce++
      tallies.push(await tally)
      if (i % 20 === 0) await pause(1)
    }
    t.equal(admitted(tallies), 1000, 'alone, all of the limit and no more')
    t.ok(atOnce > 1400, `${atOnce} of 1500 waited for nobody`)
    const questions = (await redis.info('total_commands_processed')) - asked
    t.ok(questions < 400, `${questions} commands`)
    const refused = tallies.at(-1)!
    t.ok(refused.retryAfter > 0 && refused.retryAfter <= 2 * 3_600_000)
  })

  t.test('what a lease refuses without asking stands as the store said, limit by limit', async t => {
    const store = await open(t, redis.url)
    for (const algorithm of ALGORITHMS) {
      const hour = { window: HOUR, burst: 3 }
      const counter = store.counter(options(algorithm, 0.05, { limit: 5, ...hour }, { limit: 50, ...hour }))
      const least = algorithm === 'token-bucket' ? 3 : 5
      for (let i = 0; i < least; i++) t.ok((await counter.hit('k', 1)).allowed)
      const asked = await counter.hit('k', 1)
      const unasked = counter.hit('k', 1)
      t.ok(!(unasked instanceof Promise), 'nobody was asked')
      const standing = ({ allowed, remaining, next }: Tally): unknown[] =>
        next === null ? [allowed, remaining] : [allowed, remaining, ...standing(next)]
      t.same(standing(unasked as Tally), standing(asked), algorithm)
      t.same(standing(asked), [false, 0, false, algorithm === 'token-bucket' ? 0 : 45])
      const never = counter.hit('k', 4) as Tally
      t.equal(never.retryAfter === Number.POSITIVE_INFINITY, algorithm === 'token-bucket', 'a bucket of 3 never has 4')
    }
  })
})

/** Hits one after the other: what came of each, how long it took, and whether it was made to wait at all. */
async function timed(
  count: number,
  hit: (i: number) => Tally | Promise<Tally>,
): Promise<{ tally: Tally; ms: number; waited: boolean }[]> {
  const found = []
  for (let i = 0; i < count; i++) {
    const began = performance.now()
    const answer = hit(i)
    const tally = await answer
    found.push({ tally, ms: performance.now() - began, waited: answer instanceof Promise })
  }
  return found
}

/** How many waited for a server that did not decide. */
const inVain = (answers: readonly { tally: Tally; waited: boolean }[]) =>
  answers.filter(({ tally, waited }) => waited && tally.decider === 'local').length

const faults: readonly [
  name: string,
  breakIt: (redis: RedisServer) => Promise<unknown>,
  mend: (redis: RedisServer) => Promise<unknown>,
][] = [
  ['killed', redis => redis.kill(), redis => redis.start()],
  ['stopped', redis => redis.freeze(), async redis => redis.thaw()],
  ['paused', redis => redis.send('CLIENT', 'PAUSE', '60000', 'WRITE'), redis => redis.send('CLIENT', 'UNPAUSE')],
  [
    'READONLY',
    redis =>
      redis
        .send('REPLICAOF', '127.0.0.1', '1')
        .then(() => redis.send('CONFIG', 'SET', 'replica-serve-stale-data', 'yes')),
    redis => redis.send('REPLICAOF', 'NO', 'ONE'),
  ],
  [
    'OOM',
    redis => redis.send('CONFIG', 'SET', 'maxmemory', '1'),
    redis => redis.send('CONFIG', 'SET', 'maxmemory', '0'),
  ],
]

t.test('faults', async t => {
  for (const [name, breakIt, mend] of faults) {
    for (const mode of ['exact', 'lease']) {
      t.test(`${name}, ${mode}`, async t => {
        const redis = await startRedis(t)
        const budget = 250
        const store = await open(t, redis.url, { budget: `${budget}ms` })
        const counter = store.counter(options('sliding-window', mode === 'lease' ? 0.01 : 0, { limit: 100 }))
        await eventually(
          async () => (await counter.hit('before', 1)).decider === 'store',
          () => 'it does not decide',
        )
        await counter.hit('k', 1)
        lines.length = 0
        await breakIt(redis)
        const answers = await timed(120, () => counter.hit('k', 1))
        t.ok(inVain(answers) <= 3, `${inVain(answers)} waited`)
        t.ok(
          answers.every(({ ms }) => ms < budget + 1_000),
          `the longest ${Math.max(...answers.map(({ ms }) => ms))} ms`,
        )
        t.ok(answers.slice(4).every(({ tally }) => tally.decider === 'local'))
        const passed = admitted(answers.map(({ tally }) => tally))
        t.ok(passed >= 99 && passed <= 104, `${passed} passed`)
        t.same(lines, ['a store does not answer'], 'one line')
        await mend(redis)
        await eventually(
          () => lines.length > 1,
          () => 'it does not come back',
          10_000,
        )
        t.same(lines, ['a store does not answer', 'a store answers again'])
        await eventually(
          async () => (await counter.hit('another', 1)).decider === 'store',
          () => 'it does not decide',
        )
      })
    }
  }
})

t.test('what is done without an answer', async t => {
  const redis = await startRedis(t)
  const stores = await Promise.all([1, 2, 3, 4].map(() => open(t, redis.url, { prefix: 'x' })))
  await eventually(
    () => stores[0]!.gateways === 4,
    () => 'four gateways',
  )
  const [allow, deny] = [
    await open(t, redis.url, { onFailure: 'allow' }),
    await open(t, redis.url, { onFailure: 'deny' }),
  ]
  const given = options('sliding-window', 0, { limit: 20 })
  await redis.kill()
  const local = stores[0]!.counter(given)
  const shares = await timed(30, () => local.hit('k', 1))
  t.equal(admitted(shares.map(({ tally }) => tally)), 5, 'a quarter of 20')
  for (const [store, allowed] of [
    [allow, true],
    [deny, false],
  ] as const) {
    const counter = store.counter(given)
    for (let i = 0; i < 30; i++) t.match(await counter.hit('k', 1), { allowed, decider: 'nobody' })
  }
})

t.test('Redis is down at the start, and comes later', async t => {
  const redis = await startRedis(t)
  await redis.kill()
  const took = stopwatch()
  const store = await open(t, redis.url)
  t.ok(took() < 5_000, 'a start does not hang')
  const counter = store.counter(options('sliding-window', 0, { limit: 5 }))
  t.equal((await counter.hit('k', 1)).decider, 'local')
  await redis.start()
  await eventually(
    async () => (await counter.hit('other', 1)).decider === 'store',
    () => 'it does not come',
    10_000,
  )
})

t.test('what answers at the address may be no Redis at all', async t => {
  for (const answer of [':1', '$-1', '*1\r\n:1', '+hello', '$0\r\n', '+1', '+1 x 2 3', '+1 2 3', '+1 2 3 4 5']) {
    const port = await impostor(t, answer)
    const store = await open(t, `redis://127.0.0.1:${port}`)
    const counter = store.counter(options('sliding-window', 0, { limit: 5 }))
    t.match(await counter.hit('k', 1), { decider: 'local', allowed: true, remaining: 4 }, answer)
    store.close()
  }
  const port = await impostor(t, '+1 4 60000 0')
  const store = await open(t, `redis://127.0.0.1:${port}`)
  const counter = store.counter(options('sliding-window', 0, { limit: 5 }))
  t.match(await counter.hit('k', 1), { decider: 'store', remaining: 4 }, 'the impostor would do')
})

/** Answers every script with the same. */
async function impostor(t: Test, answer: string): Promise<number> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => {
    sockets.add(socket)
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('data', (text: string) => {
      for (const [, name] of text.matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) {
        if (name!.toLowerCase() === 'info') socket.write('$21\r\nredis_version:7.2.0\r\n\r\n')
        else socket.write(name!.toLowerCase() === 'evalsha' ? `${answer}\r\n` : '+OK\r\n')
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

t.test('why there is no connection is said, and no other database is counted in', async t => {
  const redis = await startRedis(t, '--databases', '2')
  await redis.send('CONFIG', 'SET', 'requirepass', 'hunter2')
  const to = (credentials: string, database: string) => `redis://${credentials}127.0.0.1:${redis.port}${database}`
  for (const [url, reason] of [
    [to('', ''), /NOAUTH/],
    [to(':hunter3@', ''), /WRONGPASS/],
    [to(':hunter2@', '/2'), /DB index/],
    ['redis://127.0.0.1:1', /ECONNREFUSED/],
  ] as const) {
    told.length = 0
    const store = await open(t, url)
    const counter = store.counter(options('sliding-window', 0, { limit: 5 }))
    for (let i = 0; i < 3; i++) t.equal((await counter.hit('k', 1)).decider, 'local')
    t.match(told, [{ reason }], url)
    t.notMatch(JSON.stringify(told), 'hunter')
  }
  const store = await open(t, to(':hunter2@', '/1'))
  t.equal((await store.counter(options('sliding-window', 0, { limit: 5 })).hit('k', 1)).decider, 'store')
})

t.test('a costly request on a long log is no call for each unit', async t => {
  const redis = await startRedis(t)
  const store = await open(t, redis.url)
  const counter = store.counter(options('sliding-log', 0, { limit: 10_000 }))
  t.match(await counter.hit('k', 4_321), { allowed: true, remaining: 5_679 })
  t.match(await counter.hit('k', 5_680), { allowed: false })
  t.match(await counter.hit('k', 5_679), { allowed: true, remaining: 0 })
  const text = String(await redis.send('INFO', 'commandstats'))
  const calls = Number(/cmdstat_zadd:calls=(\d+)/.exec(text)?.[1])
  // The roll of gateways takes one a second.
  t.ok(calls >= 9 + 12 + 1 && calls < 9 + 12 + 100, `${calls} calls`)
})

t.test('the gauges of a store stay when an older one of its name goes', async t => {
  const redis = await startRedis(t)
  const [older, newer] = [await open(t, redis.url), await open(t, redis.url)]
  const shown = async () => /^sluice_store_up\{store="shared"\} (.)$/m.exec(await registry.metrics())?.[1]
  older.close()
  t.equal(await shown(), '1')
  newer.close()
  t.equal(await shown(), undefined)
})

t.test('a cluster of three nodes', async t => {
  const nodes = await startRedisCluster(t)
  const store = await open(t, nodes.map(({ url }) => url).join(','), { cluster: true, budget: '700ms' })
  const given = options('sliding-window', 0, { limit: 3 }, { limit: 10, window: HOUR })
  const counter = store.counter(given)
  for (let i = 0; i < 60; i++) {
    const tallies = await Promise.all([1, 2, 3, 4, 5].map(() => counter.hit(`k${i}`, 1)))
    if (admitted(tallies) !== 3 || tallies.some(({ decider }) => decider !== 'store'))
      t.fail(`k${i}: ${JSON.stringify(tallies)}`)
  }
  const sizes = await Promise.all(nodes.map(node => node.send('DBSIZE')))
  t.ok(
    sizes.every(size => Number(size) > 10),
    `keys on each node: ${sizes}`,
  )

  lines.length = 0
  await nodes[0]!.freeze()
  const answers = await timed(200, i => counter.hit(`m${i}`, 1))
  t.ok(inVain(answers) <= 3, `${inVain(answers)} waited`)
  const there = answers.filter(({ tally }) => tally.decider === 'store')
  t.ok(there.length > 100 && there.length < 180, `the other nodes decided ${there.length} of 200`)
  nodes[0]!.thaw()
  await eventually(
    () => lines.includes('a store answers again'),
    () => `no word of it: ${lines}`,
    20_000,
  )
})
