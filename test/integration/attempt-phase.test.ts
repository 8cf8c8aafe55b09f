// The attempt phase on a running gateway: a plugin answers, passes endpoints over or changes the upstream, once or without end.
import t, { type Test } from 'tap'
import { definePlugin, type Exchange, PASS_OVER, type Plugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { type GatewayConfig, startGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'

/** A gateway with these plugins on its one route, named a, b, …; each upstream says its name. */
async function scene(t: Test, upstreams: Record<string, number>, plugins: Plugin[], config: GatewayConfig = {}) {
  const names = plugins.map((_, i) => String.fromCharCode(97 + i))
  const definitions = plugins.map((plugin, i) =>
    definePlugin({ name: names[i]!, description: 'Test.', options: z.strictObject({}), create: () => plugin }),
  ) as PluginDefinition[]
  const up: Record<string, { endpoints: unknown[] }> = {}
  const servers: Record<string, RawUpstream[]> = {}
  for (const [name, count] of Object.entries(upstreams)) {
    servers[name] = []
    for (let i = 0; i < count; i++) {
      const server = await RawUpstream.start(t)
      server.onRequest = request => request.reply('200 OK', `${name}${i}`)
      servers[name].push(server)
    }
    up[name] = { endpoints: servers[name].map(server => server.address) }
  }
  const [first] = Object.keys(upstreams)
  const g = await startGateway(
    t,
    { upstreams: up, route: { upstream: first, plugins: names }, ...config },
    { plugins: definitions },
  )
  const client = await g.connect()
  return {
    g,
    servers,
    ask: async () => {
      const { status, text } = await client.head('GET / HTTP/1.1', 'Host: a').response()
      return `${status} ${status === 200 ? text : (JSON.parse(text) as { code: string }).code}`
    },
  }
}

t.test('an endpoint that is passed over gets nothing, and the others share in turn', async t => {
  const seen: string[] = []
  let bad = ''
  const { g, ask, servers } = await scene(t, { up: 3 }, [
    {
      onAttempt(x) {
        seen.push(x.endpoint!.address)
        if (x.endpoint!.address === bad) return PASS_OVER
      },
    },
  ])
  bad = servers['up']![1]!.address
  t.same([await ask(), await ask(), await ask(), await ask()], ['200 up0', '200 up2', '200 up0', '200 up2'])
  t.equal(servers['up']![1]!.requests.length, 0)
  t.equal(g.endpoint('up', 1).requests, 0, 'a pick is no attempt')
  t.equal(seen.length, 6)
})

t.test('all passed over: once more with `exhausted`, then 503 or what the plugin says', async t => {
  const marks: boolean[] = []
  let last: 'pass' | 'go' | 'answer' = 'pass'
  const { ask } = await scene(t, { up: 3 }, [
    {
      onAttempt(x) {
        marks.push(x.exhausted)
        if (!x.exhausted || last === 'pass') return PASS_OVER
        if (last === 'answer') return { status: 200, headers: [], body: 'mine' }
      },
    },
  ])
  t.equal(await ask(), '503 SLUICE_NO_ENDPOINT')
  t.same(marks.splice(0), [false, false, false, true])
  last = 'answer'
  t.equal(await ask(), '200 mine')
  last = 'go'
  t.match(await ask(), /^200 up\d$/)
  t.same(marks.splice(0), [false, false, false, true, false, false, false, true])
})

t.test('however the weights are, the one that is left is found', async t => {
  const chosen: RawUpstream[] = []
  for (let i = 0; i < 3; i++) chosen.push(await RawUpstream.start(t))
  const weights = [1000, 1000, 1]
  const endpoints = chosen.map((server, i) => ({ address: server.address, weight: weights[i]! }))
  const { ask } = await scene(
    t,
    {},
    [{ onAttempt: x => (x.endpoint!.address === chosen[2]!.address ? undefined : PASS_OVER) }],
    { up: { endpoints }, route: { upstream: 'up', plugins: ['a'] } },
  )
  for (let i = 0; i < 5; i++) t.equal(await ask(), '200 ok')
  t.same(
    chosen.map(server => server.requests.length),
    [0, 0, 5],
  )
})

t.test('another upstream: the phase runs anew for its endpoint, from the first plugin on', async t => {
  const seen: string[] = []
  const note = (who: string, then: (x: Exchange) => void = () => {}): Plugin => ({
    onAttempt(x) {
      seen.push(`${who} ${x.upstream!.name} ${x.upstream!.balancer.endpoints.includes(x.endpoint!)}`)
      then(x)
    },
  })
  const { ask, g } = await scene(t, { up: 1, other: 2 }, [
    note('a'),
    note('b', x => void (x.upstream!.name === 'up' && x.routeTo('other'))),
    note('c'),
  ])
  t.equal(await ask(), '200 other0')
  t.same(seen, ['a up true', 'b up true', 'a other true', 'b other true', 'c other true'])
  t.equal(g.endpoint('up').requests, 0)
})

t.test('two that send it to and fro come to an end', async t => {
  let runs = 0
  const { ask, g } = await scene(t, { up: 1, other: 1 }, [
    {
      onAttempt(x) {
        runs++
        x.routeTo(x.upstream!.name === 'up' ? 'other' : 'up')
      },
    },
  ])
  t.equal(await ask(), '503 SLUICE_NO_ENDPOINT')
  t.equal(runs, 5)
  await g.quiet()
})

t.test('an upstream that does not exist, an answer on the way, and a plugin that throws', async t => {
  let how = 'nowhere'
  const { ask } = await scene(t, { up: 1, other: 1 }, [
    {
      onAttempt(x) {
        if (x.upstream!.name === 'up') x.routeTo(how === 'nowhere' ? 'none' : 'other')
        else if (how === 'answer') return { status: 200, headers: [], body: 'mine' }
        else throw new Error('broken')
      },
    },
  ])
  t.equal(await ask(), '200 up0', 'there is no such upstream, so it stays')
  how = 'answer'
  t.equal(await ask(), '200 mine')
  how = 'throw'
  t.equal(await ask(), '500 SLUICE_PLUGIN_FAILED')
})
