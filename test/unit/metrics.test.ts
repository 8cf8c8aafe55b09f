// The metrics of the process: what plugins count is shown for as long as one of that route is there, and no longer.
import t from 'tap'
import { countPoll, PluginEvents, registry, showRegistry } from '../../src/metrics.ts'
import { startReloading } from '../support/reloading-gateway.ts'
import { eventually } from '../support/within.ts'

/** Events of a plugin as /metrics shows them, by route. */
async function shown(plugin: string): Promise<Record<string, number>> {
  const { values } = await registry.getSingleMetric('sluice_plugin_events_total')!.get()
  return Object.fromEntries(
    values.filter(({ labels }) => labels['plugin'] === plugin).map(({ labels, value }) => [labels['route'], value]),
  )
}

t.test('what plugins of a route count is shown until the last of them has ended', async t => {
  const first = new PluginEvents('metrics-test', 'a')
  const second = new PluginEvents('metrics-test', 'a')
  const other = new PluginEvents('metrics-test', 'b')
  const counters = [first, second, other].map(events => events.counter('seen'))
  t.same(await shown('metrics-test'), {}, 'nothing before the first event')
  for (const count of counters) count()
  t.same(await shown('metrics-test'), { a: 2, b: 1 })
  first.end()
  first.end()
  t.same(await shown('metrics-test'), { a: 2, b: 1 }, 'the other is there')
  second.end()
  t.same(await shown('metrics-test'), { b: 1 })
  for (const count of counters) count()
  t.same(await shown('metrics-test'), { b: 2 }, 'what has ended counts no more')
  other.end()
  t.same(await shown('metrics-test'), {})
})

t.test('a route that a reload takes away leaves no counters behind; one that stays keeps them', async t => {
  const config = (...routes: string[]) => `
listeners: [{ name: web, port: 0 }]
admin: off
routes:
${routes.map(name => `  - { name: ${name}, match: { path: /${name} }, plugins: [{ ip-filter: { deny: [127.0.0.1] } }], respond: { status: 200 } }`).join('\n')}
`
  const made = await startReloading(t, config('metrics-a', 'metrics-b'))
  const ask = async (name: string) => {
    const response = await fetch(`http://127.0.0.1:${made.port}/${name}`, { headers: { connection: 'close' } })
    return response.status
  }
  t.same([await ask('metrics-a'), await ask('metrics-b')], [403, 403])
  t.match(await shown('ip-filter'), { 'metrics-a': 1, 'metrics-b': 1 })
  t.ok(await made.reload(config('metrics-b', 'metrics-c')), made.faults.join())
  await eventually(
    async () => !('metrics-a' in (await shown('ip-filter'))),
    () => 'the route that is gone is shown',
  )
  t.equal(await ask('metrics-b'), 403)
  t.match(await shown('ip-filter'), { 'metrics-b': 2 })
  t.ok(await made.reload(config('metrics-b').replace('127.0.0.1] }', '127.0.0.1, ::1] }')), made.faults.join())
  t.equal(await ask('metrics-b'), 403)
  t.match(await shown('ip-filter'), { 'metrics-b': 3 }, 'an instance with other options goes on counting')
})

/** What a metric of discovery shows of one registry. */
async function discovered(metric: string, name: string): Promise<number[]> {
  const { values } = await registry.getSingleMetric(metric)!.get()
  return values.filter(({ labels }) => labels['registry'] === name).map(({ value }) => value)
}

t.test(
  'a registry that a reload opens anew is shown once the old one has gone, and its polls as long as any is there',
  async t => {
    const told = (instances: number) => [{ service: 's', age: 0, instances, held: 0 }]
    const instances = () => discovered('sluice_discovery_instances', 'metrics-r')
    const polls = () => discovered('sluice_discovery_polls_total', 'metrics-r')
    const endOld = showRegistry('metrics-r', () => told(3))
    countPoll('metrics-r', 'changed')
    const endNew = showRegistry('metrics-r', () => told(0))
    t.same(await instances(), [3], 'the new one has not answered, and nothing goes by it yet')
    endOld()
    t.same(await instances(), [0])
    t.same(await polls(), [1], 'a counter does not go back')
    endNew()
    t.same(await instances(), [])
    t.same(await polls(), [], 'registries come and go')
  },
)
