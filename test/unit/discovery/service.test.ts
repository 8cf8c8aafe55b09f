// What upstreams get of a service that a registry loses, relabels, renumbers or tells in a way that they cannot use.
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import type { Instance } from '../../../src/discovery/provider.ts'
import { type Bench, bench, instance, ports } from '../../support/scripted-poller.ts'
import { eventually } from '../../support/within.ts'

/** A port of loopback where somebody listens. */
async function listening(t: Test): Promise<number> {
  const server = createServer(socket => socket.destroy())
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return (server.address() as { port: number }).port
}

/** Tell `instances`, and let the poller ask for them. */
async function tell({ script, pace }: Bench, ...instances: Instance[]): Promise<void> {
  script.tell(instances)
  await pace.pass(10_000)
}

/** Let probes, which are real connections, come to what `met` waits for. */
function probed({ pace }: Bench, met: () => boolean): Promise<void> {
  return eventually(
    async () => {
      await pace.pass(100)
      return met()
    },
    () => 'probes do not settle it',
  )
}

const addresses = ({ view }: Bench) => view.endpoints.map(({ address }) => address)

t.test('what is lost is probed where the upstream would go, not where the registry points', async t => {
  const open = await listening(t)
  const hosts = ['127.0.0.1', '127.0.0.2', '127.0.0.3']
  const own = hosts.map(host => instance(1, { host }))
  const fixed = bench(t, {}, null, { labels: {}, port: open })
  fixed.script.tell(own)
  fixed.poller.start()
  await fixed.poller.ready
  await tell(fixed, own[2]!)
  t.equal(fixed.poller.held, 2)
  // Somebody listens at 127.0.0.1 alone, and at port 1 of none.
  await probed(fixed, () => fixed.poller.held === 1)
  t.same(addresses(fixed), [`127.0.0.1:${open}`, `127.0.0.3:${open}`])

  const without = bench(t, {}, null, { labels: {}, port: 1 })
  without.script.tell(hosts.map(host => instance(0, { host })))
  without.poller.start()
  await without.poller.ready
  await tell(without, instance(0, { host: hosts[2]! }))
  await probed(without, () => without.poller.held === 0)
  t.same(addresses(without), ['127.0.0.3:1'], 'where the registry knows no port')

  const named = bench(t, {}, null, { labels: {}, port: 'http' })
  const pod = (host: string) => instance(1, { host, ports: { grpc: 1, http: open } })
  named.script.tell(hosts.map(pod))
  named.poller.start()
  await named.poller.ready
  await tell(named, pod(hosts[2]!))
  await probed(named, () => named.poller.held === 1)
  t.same(addresses(named), [`127.0.0.1:${open}`, `127.0.0.3:${open}`])
})

t.test('each time that most are lost at once is told', async t => {
  const moving = bench(t)
  // Nobody listens there: what is lost is soon known to be gone.
  const at = (...ports: number[]) => ports.map(port => instance(port, { host: '127.0.0.1' }))
  moving.script.tell(at(1, 2))
  moving.poller.start()
  await moving.poller.ready
  // Two deployments, each of which takes the place of all instances before.
  for (const next of [at(3, 4), at(5, 6)]) {
    await tell(moving, ...next)
    await probed(moving, () => moving.poller.held === 0)
  }
  t.equal(moving.lines.filter(line => line.includes('lost most instances')).length, 2)
})

t.test('an upstream that takes some keeps them when they all vanish beside others', async t => {
  const v1 = bench(t, { holdFor: 60_000 }, null, { labels: { version: 'v1' } })
  const told = (port: number, version: string) => instance(port, { labels: { version } })
  const { view: all } = v1.poller.subscribe({ labels: {} }, () => {})
  const { view: v2 } = v1.poller.subscribe({ labels: { version: 'v2' } }, () => {})
  v1.script.tell([told(1, 'v1'), told(2, 'v2'), told(3, 'v2')])
  v1.poller.start()
  await v1.poller.ready
  await tell(v1, told(2, 'v2'), told(3, 'v2'))
  t.same(ports(v1.view), [1], 'held')
  t.same(ports(all), [2, 3], 'one of three is a small loss')
  t.equal(v1.poller.held, 1)
  await v1.pace.pass(60_000)
  t.same(ports(v1.view), [])
  // Whoever is told of with another label was not lost.
  await tell(v1, told(2, 'v1'), told(3, 'v1'))
  t.same([ports(v1.view), ports(v2), ports(all)], [[2, 3], [], [2, 3]])
  t.equal(v1.poller.held, 0)

  const drop = bench(t, { onEmpty: 'drop' }, null, { labels: { version: 'v1' } })
  drop.script.tell([told(1, 'v1'), told(2, 'v2')])
  drop.poller.start()
  await drop.poller.ready
  await tell(drop, told(2, 'v2'))
  t.same(ports(drop.view), [])
})

t.test('another upstream for the same service gets what is held', async t => {
  const first = bench(t)
  first.script.tell([instance(1), instance(2)])
  first.poller.start()
  await first.poller.ready
  await tell(first)
  const late = first.poller.subscribe({ labels: {}, port: 8080 }, () => {})
  t.same(
    late.view.endpoints.map(({ address }) => address),
    ['10.0.0.1:8080'],
  )
  t.equal(first.poller.held, 2, 'instances, however many addresses they have')
  const same = first.poller.subscribe({ labels: {} }, () => {})
  t.equal(same.view, first.view, 'who wants the same shares')
  for (const { end } of [late, same]) end()
  t.notOk(first.poller.idle)
})

t.test('a port that a service gets beside others is no loss, and no instance counts twice', async t => {
  const hosts = ['10.0.0.1', '10.0.0.2', '10.0.0.3']
  const before = (host: string) => instance(80, { host, ports: { http: 80 } })
  const after = (host: string) => instance(90, { host, ports: { grpc: 90, http: 80 } })
  const renumbered = (host: string) => instance(91, { host, ports: { grpc: 91, http: 81 } })
  for (const [port, ...expected] of [
    [undefined, 80, 90, 91],
    ['http', 80, 80, 81],
    [8080, 8080, 8080, 8080],
  ] as const) {
    const made = bench(t, {}, null, { labels: {}, port })
    made.script.tell(hosts.map(before))
    made.poller.start()
    await made.poller.ready
    t.same(ports(made.view), Array(3).fill(expected[0]))
    await tell(made, ...hosts.map(after))
    t.same(ports(made.view), Array(3).fill(expected[1]), `added, where the upstream says ${port}`)
    await tell(made, ...hosts.map(renumbered))
    t.same(ports(made.view), Array(3).fill(expected[2]), `changed, where the upstream says ${port}`)
    t.equal(made.poller.held, 0)
    // Several instances at one host stay several.
    await tell(made, before('10.0.0.1'), instance(81, { host: '10.0.0.1', ports: { http: 81 } }))
    t.equal(made.view.endpoints.length, port === 8080 ? 1 + made.poller.held : 2 + made.poller.held)
  }
})

t.test('an upstream that takes nothing of what is told says so once', async t => {
  for (const [wanted, why] of [
    [{ labels: { version: 'v9' } }, /none of 2 instances has the labels wanted \(version\)/],
    [{ labels: {}, port: 'constructor' }, /none of 2 instances has a port named "constructor"/],
    [{ labels: {} }, /none of 2 instances has a port: `discover.port` has to say it/],
  ] as const) {
    const made = bench(t, {}, null, wanted)
    const lines = () => made.lines.filter(line => line.startsWith('warn an upstream takes nothing'))
    const nameless = (port: number) => instance(0, { host: `10.0.0.${port}`, ports: { http: 80 } })
    made.script.tell([nameless(1), nameless(2)])
    made.poller.start()
    await made.poller.ready
    t.match(made.view.mismatch, why)
    t.equal(lines().length, 1)
    t.ok(lines()[0]!.includes(JSON.stringify(made.view.mismatch)), lines()[0])
    await tell(made, nameless(1), nameless(3))
    await tell(made, nameless(3))
    t.equal(lines().length, 1)
    await tell(made, instance(80, { labels: { version: 'v9' }, ports: { constructor: 80 } }))
    t.equal(made.view.mismatch, null)
    t.equal(made.lines.filter(line => line.startsWith('info an upstream takes something')).length, 1)
    await tell(made)
    t.equal(made.view.mismatch, null, 'an empty answer is another matter')
    await tell(made, nameless(1))
    t.equal(lines().length, 2)
  }
})

t.test('a service that the registry has no instance of is told in the log: its name may be misspelt', async t => {
  for (const onEmpty of ['keep', 'drop'] as const) {
    const made = bench(t, { onEmpty })
    const lines = () => made.lines.filter(line => / the registry tells of (no usable )?instance/.test(line))
    made.poller.start()
    await made.poller.ready
    const none = 'warn the registry tells of no usable instance of a service {"registry":"r","service":"s"}'
    t.same(lines(), [none])
    await tell(made)
    await tell(made, instance(1), instance(2))
    await tell(made, instance(1), instance(3))
    const some = 'info the registry tells of instances of a service now {"registry":"r","service":"s"}'
    t.same(lines(), [none, some])
    await tell(made)
    t.same(lines(), [none, some, none], 'also of one that loses its last')
  }
})

t.test('more instances than maxInstances are a failure', async t => {
  const made = bench(t, { maxInstances: 2 })
  made.script.tell([instance(1), instance(2)])
  made.poller.start()
  await made.poller.ready
  await tell(made, instance(1), instance(2), instance(3))
  t.equal(made.poller.failure, '3 instances are more than `maxInstances` (2)')
  t.same(ports(made.view), [1, 2])
})
