// A plugin that throws or rejects, in each phase: 500 for that one exchange, logged under the plugin's name; and when and off.
import t, { type Test } from 'tap'
import { definePlugin, type Exchange, type Plugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { startGateway } from '../support/gateway.ts'
import { RawUpstream } from '../support/raw-upstream.ts'
import { eventually } from '../support/within.ts'

const boom = () => {
  throw new Error('boom')
}
/** No Error, and nothing that String makes a text of: parsed queries are such objects. */
const textless = () => {
  throw Object.create(null)
}
/** As query builders are: no promise, but awaited like one. */
const unwaitable = {
  // biome-ignore lint/suspicious/noThenProperty: that is what it is about
  then() {
    throw new Error('boom')
  },
}
/** As objects are that tell of typos: also whether it is a promise cannot be asked. */
const strict = new Proxy({}, { get: boom })
/** A reply that is made when it is read. */
const unreadable = {
  status: 200,
  headers: [],
  get body(): string {
    throw new Error('boom')
  },
}
const reject = () => Promise.reject(new Error('boom'))

/** Phases as a plugin may get them wrong, and what the client sees. */
const CASES: Record<string, { phases: Record<string, unknown>; seen: 'refused' | 'cut' | 'whole' }> = {
  'onRequest throws': { phases: { onRequest: boom }, seen: 'refused' },
  'onRequest throws what has no text': { phases: { onRequest: textless }, seen: 'refused' },
  'onFinish throws what has no text': { phases: { onFinish: textless }, seen: 'whole' },
  'onRequest rejects': { phases: { onRequest: reject }, seen: 'refused' },
  'onRequest returns what throws when it is awaited': { phases: { onRequest: () => unwaitable }, seen: 'refused' },
  'onResponse returns what throws when it is awaited': { phases: { onResponse: () => unwaitable }, seen: 'refused' },
  'onRequest returns what throws whatever it is asked': { phases: { onRequest: () => strict }, seen: 'refused' },
  'onResponse returns what throws whatever it is asked': { phases: { onResponse: () => strict }, seen: 'refused' },
  'onRequest answers with what throws when it is read': { phases: { onRequest: () => unreadable }, seen: 'refused' },
  'onRequest answers later with what throws when it is read': {
    phases: { onRequest: async () => unreadable },
    seen: 'refused',
  },
  'onRequest returns nonsense': { phases: { onRequest: () => 'no reply' }, seen: 'refused' },
  'onRequest answers with a broken header': {
    phases: { onRequest: () => ({ status: 200, headers: ['x-a', 'a\r\nb: c'], body: null }) },
    seen: 'refused',
  },
  'onAttempt throws': { phases: { onAttempt: boom }, seen: 'refused' },
  'onAttempt rejects': { phases: { onAttempt: reject }, seen: 'refused' },
  'onOutcome throws': { phases: { onOutcome: boom }, seen: 'whole' },
  'onOutcome rejects': { phases: { onOutcome: reject }, seen: 'whole' },
  'onResponse throws': { phases: { onResponse: boom }, seen: 'refused' },
  'onResponse rejects': { phases: { onResponse: reject }, seen: 'refused' },
  'onRequestChunk throws': { phases: { onRequestChunk: boom }, seen: 'refused' },
  'onRequestChunk rejects': { phases: { onRequestChunk: reject }, seen: 'refused' },
  'onRequestChunk rejects and rewrites': { phases: { onRequestChunk: reject, rewrites: true }, seen: 'refused' },
  'onResponseChunk throws': { phases: { onResponseChunk: boom }, seen: 'cut' },
  'onResponseChunk rejects': { phases: { onResponseChunk: reject }, seen: 'cut' },
  'onResponseChunk rejects and rewrites': { phases: { onResponseChunk: reject, rewrites: true }, seen: 'cut' },
  'onFinish throws': { phases: { onFinish: boom }, seen: 'whole' },
  'onFinish rejects': { phases: { onFinish: reject }, seen: 'whole' },
}

/** Phases that write what would be more than one line, or another message; whose doing it was is not known then. */
const SPLITTING: Record<string, Record<string, unknown>> = {
  'onRequest splits the request by its path': {
    onRequest: (x: Exchange) => {
      x.head.path = '/ HTTP/1.1\r\nhost: b\r\n\r\nGET /'
    },
  },
  'onRequest splits the request by its query': {
    onRequest: (x: Exchange) => {
      x.head.hasQuery = true
      x.head.query = 'a HTTP/1.1\r\nb: c'
    },
  },
  'onRequest writes a fragment behind the path': {
    onRequest: (x: Exchange) => {
      x.head.path = '/admin#/public'
    },
  },
  'onRequest sends the request elsewhere by its path': {
    onRequest: (x: Exchange) => {
      x.head.path = 'http://other.test/'
    },
  },
  'onRequest splits the request by its host': {
    onRequest: (x: Exchange) => {
      x.head.host = 'a\r\nb: c'
    },
  },
  'onRequest splits the request by a header': {
    onRequest: (x: Exchange) => void x.head.headers.push('x-a', 'a\r\nb: c'),
  },
  'onResponse splits the answer by a header': {
    onResponse: (x: Exchange) => void x.response!.headers.unshift('x-a', 'a\r\nb: c'),
  },
  'onResponse leaves no answer': {
    onResponse: (x: Exchange) => {
      x.response = null
    },
  },
}

for (const value of [undefined, '5\r\nb: c', Symbol('no length')])
  SPLITTING[`onResponse leaves ${String(value)} as the length`] = {
    onResponse: (x: Exchange) => void Object.assign(x.response!, { bodyLength: value }),
  }
for (const phase of ['onRequest', 'onAttempt'])
  for (const value of [undefined, 'other'])
    SPLITTING[`${phase} leaves ${value} as upstream`] = {
      [phase]: (x: Exchange) => void Object.assign(x, { upstream: value }),
    }
for (const member of ['method', 'path', 'query', 'host'])
  for (const value of [undefined, 5, Symbol('no text')])
    SPLITTING[`onRequest leaves ${String(value)} as ${member}`] = {
      onRequest: (x: Exchange) => void Object.assign(x.head, { [member]: value }),
    }

function failing(phases: Record<string, unknown>): PluginDefinition {
  return definePlugin({
    name: 'failing',
    description: 'Fails.',
    options: z.strictObject({}),
    create: () => phases as Plugin,
  }) as PluginDefinition
}

async function start(t: Test, phases: Record<string, unknown>, entry: unknown = 'failing') {
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    {
      up: { endpoints: [upstream.address], host: 'endpoint' },
      routes: [
        { name: 'bad', match: { path: '/bad' }, upstream: 'up', plugins: [entry] },
        { name: 'good', match: { path: '/*' }, upstream: 'up' },
      ],
    },
    { plugins: [failing(phases)] },
  )
  return { upstream, gateway }
}

for (const [name, { phases, seen }] of Object.entries(CASES)) {
  t.test(name, async t => {
    const { upstream, gateway } = await start(t, phases)
    upstream.onRequest = request => {
      request.whole.then(
        () => request.reply('200 OK', 'from the upstream'),
        () => {},
      )
    }
    const rejections: unknown[] = []
    const note = (reason: unknown) => void rejections.push(reason)
    process.on('unhandledRejection', note)
    t.teardown(() => void process.off('unhandledRejection', note))

    const other = await gateway.connect()
    const client = await gateway.connect()
    client.head('POST /bad HTTP/1.1', 'Host: a', 'Content-Length: 4').send('body')
    if (seen === 'cut') await t.rejects(client.response(), 'the client sees that it is cut')
    else {
      const response = await client.response('POST')
      if (seen === 'whole') t.match(response, { status: 200, text: 'from the upstream' })
      else {
        t.equal(response.status, 500)
        t.match(JSON.parse(response.text), { code: 'SLUICE_PLUGIN_FAILED', status: 500, instance: /./ })
        t.notMatch(client.text, /boom|failing|promise|Error:/, 'no word of the cause')
      }
    }
    const logged = () => gateway.log.filter(line => line.level === 'error' && line.message === 'a plugin failed')
    await eventually(
      () => logged().length > 0,
      () => 'nothing was logged',
    )
    t.match(logged()[0]!.fields, { plugin: 'failing', route: 'bad', requestId: /./, error: /./ })
    // Others are served meanwhile and afterwards.
    t.match(await other.head('GET /good HTTP/1.1', 'Host: a').response(), { status: 200 })
    await gateway.quiet()
    await new Promise(done => setImmediate(done))
    t.same(rejections, [], 'no rejection is left to the process')
  })
}

t.test('when: the plugin takes part where all of its attributes hold, in every phase', async t => {
  const calls: string[] = []
  const phases = Object.fromEntries(
    ['onRequest', 'onAttempt', 'onOutcome', 'onResponse', 'onRequestChunk', 'onResponseChunk', 'onFinish'].map(
      phase => [phase, () => void calls.push(phase)],
    ),
  )
  const when = {
    'header.x-beta': '1',
    path: '~^/b',
    method: 'POST',
    'query.skip': 'absent',
    'client.ip': '127.0.0.0/8',
  }
  const { gateway } = await start(t, phases, { failing: { when } })
  const client = await gateway.connect()
  const ask = async (line: string, ...fields: string[]) => {
    calls.length = 0
    client.head(line, 'Host: a', 'Content-Length: 1', ...fields).send('x')
    t.equal((await client.response()).status, 200)
    await gateway.quiet()
    return new Set(calls)
  }
  t.same(await ask('POST /bad HTTP/1.1', 'X-Beta: 1'), new Set(Object.keys(phases)))
  t.same(await ask('POST /bad HTTP/1.1', 'X-Beta: 2'), new Set())
  t.same(await ask('POST /bad HTTP/1.1'), new Set())
  t.same(await ask('PUT /bad HTTP/1.1', 'X-Beta: 1'), new Set())
  t.same(await ask('POST /bad?skip HTTP/1.1', 'X-Beta: 1'), new Set())
})

t.test('off: the plugin is not made at all', async t => {
  let made = 0
  const definition = definePlugin({
    name: 'failing',
    description: 'Counts.',
    options: z.strictObject({}),
    create() {
      made++
      return { onRequest: boom }
    },
  }) as PluginDefinition
  const upstream = await RawUpstream.start(t)
  const gateway = await startGateway(
    t,
    { up: { endpoints: [upstream.address] }, plugins: [{ failing: { off: true } }] },
    { plugins: [definition] },
  )
  t.match(await (await gateway.connect()).head('GET / HTTP/1.1', 'Host: a').response(), { status: 200 })
  t.equal(made, 0)
})

for (const [name, phases] of Object.entries(SPLITTING)) {
  t.test(name, async t => {
    const { gateway, upstream } = await start(t, phases)
    const targets: string[] = []
    upstream.onRequest = request => {
      targets.push(request.target)
      request.reply('200 OK', 'from the upstream')
    }
    const client = await gateway.connect()
    client.head('GET /bad HTTP/1.1', 'Host: a')
    const response = await client.response()
    t.equal(response.status, 500)
    t.match(JSON.parse(response.text), { code: 'SLUICE_PLUGIN_FAILED' })
    t.notMatch(client.text, /\nb:/)
    t.same(targets, name.startsWith('onResponse') ? ['/bad'] : [])
  })
}

t.test(
  'a path or a query that is no text fails the one exchange, also where it is rewritten or redirected',
  async t => {
    const upstream = await RawUpstream.start(t)
    const spoil = (x: Exchange) => {
      if (x.route.name.endsWith('path')) x.head.path = undefined as never
      else x.head.query = 7 as never
    }
    const targets = {
      rewritten: { upstream: 'up', rewrite: { path: '/v2/*' } },
      redirected: { redirect: { to: '/v2/*' } },
      forwarded: { upstream: 'up' },
    }
    const routes = Object.entries(targets).flatMap(([name, target]) =>
      ['path', 'query'].map(what => ({ name: `${name} ${what}`, match: { path: `/${name}/${what}/*` }, ...target })),
    )
    const gateway = await startGateway(
      t,
      { up: { endpoints: [upstream.address] }, plugins: ['failing'], routes },
      { plugins: [failing({ onRequest: spoil })] },
    )
    for (const { name } of routes) {
      const client = await gateway.connect()
      const response = await client.head(`GET /${name.replace(' ', '/')}/x HTTP/1.1`, 'Host: a').response()
      t.match([response.status, JSON.parse(response.text)], [500, { code: 'SLUICE_PLUGIN_FAILED' }], name)
    }
  },
)
