// canary through running gateways: rules, shares, who stays where they are and by what, cookies, and what cannot be asked for.
// Over 300 lines because rules, shares and stickiness are tried on the same services.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import bundled from '../../plugins/bundled.ts'
import { formatFault } from '../../src/config/fault.ts'
import { loadText } from '../../src/config/load.ts'
import { Catalog } from '../../src/pipeline/catalog.ts'
import { definePlugin, type PluginDefinition, z } from '../../src/plugin-api.ts'
import { startChild } from '../support/child-gateway.ts'
import { configText, type GatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts'
import { RawClient } from '../support/raw-client.ts'
import { RawUpstream } from '../support/raw-upstream.ts'

/** Stands where jwt would: takes the claim from a header. */
const claims = definePlugin({
  name: 'test-claims',
  description: 'Claims without a token.',
  options: z.strictObject({}),
  create: () => ({
    onRequest(x) {
      const sub = x.requestHeader('x-sub')
      if (sub !== undefined) x.claims = { sub, groups: ['a'] }
    },
  }),
}) as PluginDefinition

/** Upstreams v1, v2 and v3, which answer with their name. */
async function versions(t: Test): Promise<Record<string, { endpoints: string[] }>> {
  const upstreams: Record<string, { endpoints: string[] }> = {}
  for (const name of ['v1', 'v2', 'v3']) {
    const upstream = await RawUpstream.start(t)
    upstream.onRequest = request => request.reply('200 OK', name)
    upstreams[name] = { endpoints: [upstream.address] }
  }
  return upstreams
}

type Options = Record<string, unknown>

function config(upstreams: Record<string, unknown>, canary: Options, more: Partial<GatewayConfig> = {}): GatewayConfig {
  return {
    upstreams,
    routes: [{ name: 'all', match: { path: '/*' }, upstream: 'v1', plugins: ['test-claims', { canary }] }],
    ...more,
  }
}

async function start(t: Test, canary: Options, more: Partial<GatewayConfig> = {}): Promise<TestGateway> {
  return startGateway(t, config(await versions(t), canary, more), { plugins: [claims] })
}

/** Asks over one connection. */
async function asker(t: Test, port: number) {
  const client = await RawClient.connect(t, port)
  t.teardown(() => client.destroy())
  return async (...fields: string[]) => {
    const answer = await client.head('GET / HTTP/1.1', 'Host: a', ...fields).response()
    return { ...answer, text: answer.text, cookie: answer.get('set-cookie'), get: answer.get, all: answer.all }
  }
}

const USERS = Array.from({ length: 300 }, (_, i) => `user-${i}`)

async function choices(t: Test, port: number, fields: (user: string) => string[]): Promise<string[]> {
  const ask = await asker(t, port)
  const found: string[] = []
  for (const user of USERS) found.push((await ask(...fields(user))).text)
  return found
}

t.test('rules come before the shares, the first that holds decides', async t => {
  const gateway = await start(
    t,
    {
      rules: [
        { when: { 'header.x-canary': 'always' }, to: 'v2' },
        { when: { 'header.x-canary': 'never' }, to: 'v1' },
        { when: { 'header.x-canary': 'present', 'query.v': 'absent' }, to: 'v3' },
        { when: { 'client.ip': '10.0.0.0/8' }, to: 'v2' },
      ],
      split: [
        { to: 'v1', weight: 100 },
        { to: 'v2', weight: 0 },
      ],
    },
    { trustedProxies: ['127.0.0.0/8'] },
  )
  const ask = await asker(t, gateway.port)
  t.equal((await ask('X-Canary: always')).text, 'v2', 'weight 0 is reached by a rule')
  t.equal((await ask('X-Canary: never')).text, 'v1')
  t.equal((await ask('X-Canary: maybe')).text, 'v3')
  t.equal((await ask('X-Canary: never', 'X-Forwarded-For: 10.1.2.3')).text, 'v1', 'an earlier rule wins')
  t.equal((await ask('X-Forwarded-For: 10.1.2.3')).text, 'v2')
  t.equal((await ask('X-Forwarded-For: 11.1.2.3')).text, 'v1')
  for (let i = 0; i < 200; i++) t.equal((await ask()).text, 'v1', 'weight 0 gets nobody else')
})

t.test('rules alone: the others go where the route sends them', async t => {
  const gateway = await start(t, { rules: [{ when: { 'header.x-canary': '1' }, to: 'v2' }], label: 'x-version' })
  const ask = await asker(t, gateway.port)
  const [chosen, other] = [await ask('X-Canary: 1'), await ask()]
  t.same([chosen.text, chosen.get('x-version')], ['v2', 'v2'])
  t.same([other.text, other.get('x-version')], ['v1', ''])
})

t.test('shares hold without stickiness, and requests are dealt one by one', async t => {
  const gateway = await start(t, {
    split: [
      { to: 'v1', weight: 1 },
      { to: 'v2', weight: 1 },
    ],
  })
  const ask = await asker(t, gateway.port)
  let second = 0
  for (let i = 0; i < 1000; i++) if ((await ask('X-Sub: same')).text === 'v2') second++
  // Six standard deviations.
  t.ok(Math.abs(second - 500) < 95, `${second} of 1000`)
})

const half = [
  { to: 'v1', weight: 50 },
  { to: 'v2', weight: 50 },
]

t.test('sticky by claim, header, address, cookie and several at once', async t => {
  const kinds: [Options, (user: string, i: number) => string[]][] = [
    [{ by: 'jwt.sub' }, user => [`X-Sub: ${user}`]],
    [{ by: 'header.x-user' }, user => [`X-User: ${user}`]],
    [{ by: 'client.ip' }, (_, i) => [`X-Forwarded-For: 192.0.${i >> 8}.${i & 255}`]],
    [{ by: 'cookie.session' }, user => [`Cookie: a=b; session=${user}; c=d`]],
    [{ by: 'jwt.sub+header.x-user' }, user => [`X-Sub: ${user}`, 'X-User: a']],
    [{ by: 'jwt.sub', fallback: 'header.x-user' }, user => [`X-User: ${user}`]],
    [{ by: 'jwt.groups', fallback: 'jwt.sub' }, user => [`X-Sub: ${user}`]],
    [{ by: 'cookie' }, (_, i) => [`Cookie: sluice-canary=${i * 33}`]],
  ]
  const upstreams = await versions(t)
  for (const [sticky, fields] of kinds) {
    const gateway = await startGateway(
      t,
      config(upstreams, { split: half, sticky }, { trustedProxies: ['127.0.0.0/8'] }),
      { plugins: [claims] },
    )
    const ofUser = (user: string) => fields(user, USERS.indexOf(user))
    const first = await choices(t, gateway.port, ofUser)
    t.same(await choices(t, gateway.port, ofUser), first, `${JSON.stringify(sticky)}: the same again`)
    const second = first.filter(version => version === 'v2').length
    t.ok(second > 100 && second < 200, `${JSON.stringify(sticky)}: ${second} of 300`)
    await gateway.close()
  }
})

t.test('an absent or empty attribute is no user: dealt anew each time', async t => {
  const gateway = await start(t, { split: half, sticky: { by: 'header.x-user+header.x-team' } })
  const ask = await asker(t, gateway.port)
  for (const fields of [[], ['X-User: a'], ['X-User: a', 'X-Team:']]) {
    const found = new Set<string>()
    for (let i = 0; i < 60; i++) found.add((await ask(...fields)).text)
    t.same([...found].sort(), ['v1', 'v2'], `${fields}`)
  }
})

t.test('the same on another gateway, in another process, and after a restart', async t => {
  const canary = { split: [...half, { to: 'v3', weight: 10 }], sticky: { by: 'header.x-user' }, seed: 'a' }
  const upstreams = await versions(t)
  const text = configText(config(upstreams, canary)).replace(/^ *- test-claims\n/m, '')
  const one = await startGateway(t, text)
  const other = await startGateway(t, text)
  const fields = (user: string) => [`X-User: ${user}`]
  const first = await choices(t, one.port, fields)
  t.same(new Set(first), new Set(['v1', 'v2', 'v3']))
  t.same(await choices(t, other.port, fields), first)
  await other.close()
  const again = await startGateway(t, text)
  t.same(await choices(t, again.port, fields), first, 'after a restart')
  const child = await startChild(t, text)
  t.same(await choices(t, child.port, fields), first, 'in another process')
  const dealtAnew = await startGateway(t, text.replace('seed: a', 'seed: b'))
  t.notSame(await choices(t, dealtAnew.port, fields), first, 'another seed')
})

t.test('growing 1, 5, 25, 100 by reloads moves nobody back; rolling back moves nobody else', async t => {
  const upstreams = await versions(t)
  const text = (share: number) =>
    configText({
      upstreams,
      routes: [
        {
          name: 'all',
          match: { path: '/*' },
          upstream: 'v1',
          plugins: [
            {
              canary: {
                split: [
                  { to: 'v1', weight: 100 - share },
                  { to: 'v2', weight: share },
                ],
                sticky: { by: 'header.x-user', fallback: 'cookie' },
              },
            },
          ],
        },
      ],
    })
  const gateway = await startGateway(t, text(1))
  const fields = (user: string) => {
    const i = USERS.indexOf(user)
    return i % 2 === 0 ? [`X-User: ${user}`] : [`Cookie: sluice-canary=${i * 33}`]
  }
  const seen = [await choices(t, gateway.port, fields)]
  for (const share of [5, 25, 100, 25, 1]) {
    writeFileSync(join(gateway.folder, 'gateway.yaml'), text(share))
    t.ok(await gateway.gateway.reload())
    seen.push(await choices(t, gateway.port, fields))
  }
  const second = seen.map(list => list.filter(version => version === 'v2').length)
  t.ok(second[0]! < second[1]! + 1 && second[1]! < second[2]! && second[3] === 300, `${second}`)
  for (const [before, after] of [
    [0, 1],
    [1, 2],
    [2, 3],
  ] as const)
    for (const [i, version] of seen[before]!.entries()) if (version === 'v2') t.equal(seen[after]![i], 'v2')
  t.same(seen[4], seen[2], 'back at 25')
  t.same(seen[5], seen[0], 'back at 1')
})

t.test('a cookie for who has no name: set once, a number and no version, and taken back', async t => {
  const gateway = await start(t, {
    rules: [{ when: { 'header.x-canary': '1' }, to: 'v2' }],
    split: half,
    sticky: { by: 'jwt.sub', fallback: 'cookie', cookie: { name: 'group', maxAge: '24h' } },
  })
  const ask = await asker(t, gateway.port)
  for (let i = 0; i < 30; i++) {
    const newcomer = await ask()
    const [, ticket] = /^group=(\d{1,4}); Path=\/; Max-Age=86400; HttpOnly; SameSite=Lax$/.exec(newcomer.cookie) ?? []
    t.ok(ticket, newcomer.cookie)
    const back = await ask(`Cookie: x=1; group=${ticket}`)
    t.same([back.text, back.cookie], [newcomer.text, ''])
  }
  t.equal((await ask('X-Sub: a')).cookie, '', 'who has a name needs none')
  t.equal((await ask('X-Canary: 1')).cookie, '', 'nor does who is told by a rule')
  for (const bad of ['', '-1', '10000', '01', '1.5', '1e2', ' ', '0x10', 'v2', '٣', '99999999999999999999', '"']) {
    const answer = await ask(`Cookie: group=${bad}`)
    t.match(answer.cookie, /^group=\d{1,4};/, `${JSON.stringify(bad)} is replaced`)
  }
  for (const good of ['0', '9999', '"42"']) t.equal((await ask(`Cookie: group=${good}`)).cookie, '', good)
  t.equal((await ask('Cookie: group=v2; group=17')).cookie, '', 'a bad one hides no good one')
})

t.test('the cookie is Secure where the client’s side is', async t => {
  const gateway = await start(t, { split: half, sticky: { by: 'cookie' } }, { trustedProxies: ['127.0.0.1'] })
  const ask = await asker(t, gateway.port)
  t.match((await ask('X-Forwarded-Proto: https')).cookie, /^sluice-canary=\d+; Path=\/; Max-Age=2073600;.*; Secure$/)
  t.notMatch((await ask('X-Forwarded-Proto: http')).cookie, /Secure/)
  const open = await start(t, { split: half, sticky: { by: 'cookie' } })
  const askOpen = await asker(t, open.port)
  t.notMatch((await askOpen('X-Forwarded-Proto: https')).cookie, /Secure/, 'not on the word of just anybody')
})

t.test('the label names the upstream, instead of what that says itself', async t => {
  const upstreams = await versions(t)
  const boaster = await RawUpstream.start(t)
  boaster.onRequest = request => request.reply('200 OK', 'v2', 'X-Served-By-Version: gold')
  const canary = { rules: [{ when: { path: '/' }, to: 'v2' }], label: 'X-Served-By-Version' }
  const gateway = await startGateway(t, config({ ...upstreams, v2: { endpoints: [boaster.address] } }, canary), {
    plugins: [claims],
  })
  const ask = await asker(t, gateway.port)
  t.same((await ask()).all('x-served-by-version'), ['v2'])
})

t.test('an upstream without a usable endpoint: to the first of the split, or 503', async t => {
  const upstreams = await versions(t)
  const spare = { ...upstreams, v2: { endpoints: [{ address: upstreams['v2']!.endpoints[0], weight: 0 }], health: {} } }
  const canary = {
    rules: [{ when: { 'header.x-canary': '1' }, to: 'v2' }],
    split: [
      { to: 'v3', weight: 0 },
      { to: 'v2', weight: 1 },
    ],
    label: 'x-version',
  }
  const stable = await startGateway(t, config(spare, canary), { plugins: [claims] })
  const ask = await asker(t, stable.port)
  for (const fields of [[], ['X-Canary: 1']]) {
    const answer = await ask(...fields)
    t.same([answer.text, answer.get('x-version')], ['v3', 'v3'])
  }
  const { split: _, ...rulesAlone } = canary
  const routed = await startGateway(t, config(spare, rulesAlone), { plugins: [claims] })
  t.equal((await (await asker(t, routed.port))('X-Canary: 1')).text, 'v1', 'no split: where the route sends it')
  const failing = await startGateway(t, config(spare, { ...canary, unhealthy: 'fail' }), { plugins: [claims] })
  const refused = await (await asker(t, failing.port))()
  t.same([refused.status, JSON.parse(refused.text).code], [503, 'SLUICE_NO_ENDPOINT'])
  failing.upstream('v2').update([{ ...stable.upstream('v2').endpoints[0]!, weight: 1 }])
  const [sick] = failing.upstream('v2').endpoints
  t.equal((await (await asker(t, failing.port))()).text, 'v2')
  sick!.health.active = 'unhealthy'
  failing.upstream('v2').probed(sick!, 'healthy')
  t.equal((await (await asker(t, failing.port))()).status, 503, 'all that there are would be used in panic')
  // It comes back by itself when an endpoint does.
  stable.upstream('v2').update([{ ...stable.upstream('v2').endpoints[0]!, weight: 1 }])
  t.equal((await ask()).text, 'v2')
  stable.upstream('v2').update([])
  t.equal((await ask()).text, 'v3')
})

t.test('a route that answers itself is left alone, and the numbers are on the admin page', async t => {
  const upstreams = await versions(t)
  const gateway = await startGateway(t, {
    upstreams,
    admin: { port: 0 },
    plugins: [{ canary: { split: half, sticky: { by: 'header.x-user' }, label: 'x-version' } }],
    routes: [
      { name: 'own', match: { path: '/own' }, respond: { status: 200, body: 'own' } },
      { name: 'all', match: { path: '/*' }, upstream: 'v3' },
    ],
  })
  const client = await gateway.connect()
  const own = await client.head('GET /own HTTP/1.1', 'Host: a').response()
  t.same([own.text, own.get('x-version')], ['own', ''])
  const answer = await client.head('GET / HTTP/1.1', 'Host: a', 'X-User: 1').response()
  t.ok(['v1', 'v2'].includes(answer.text), 'gateway-wide it moves every route')
  const [site] = [...gateway.snapshot.sites.values()]
  const { upstreams: facts } = site!.plugin.inspect!() as { upstreams: Record<string, unknown> }
  t.match(facts[answer.text], { share: '50%', dealt: 1, byRule: 0 })
  client.destroy()
})

t.test('faults', async t => {
  const faults = async (canary: Options) => {
    const text = configText(config({ v1: { endpoints: ['127.0.0.1:1'] }, v2: { endpoints: ['127.0.0.1:2'] } }, canary))
    const catalog = new Catalog([...bundled, claims])
    return (await loadText(text, 'gateway.yaml', { env: {}, catalog })).faults.map(formatFault)
  }
  const one = { to: 'v1', weight: 1 }
  const cases: [Options, RegExp][] = [
    [{}, /canary: .*rules or a split/],
    [
      { split: [one, { to: 'v9', weight: 1 }] },
      /canary\.split\[1\]\.to: there is no upstream "v9"; did you mean "v1"\?/,
    ],
    [
      { rules: [{ when: { 'client.ip': '10.0.0/8' }, to: 'v1' }] },
      /yaml:\d+:\d+ .*canary\.rules\[0\]\.when\["client\.ip"\]: an address, a network/,
    ],
    [{ rules: [{ when: { path: '/' }, to: 'v9' }] }, /canary\.rules\[0\]\.to: there is no upstream "v9"/],
    [
      {
        split: [
          { ...one, weight: 0 },
          { to: 'v2', weight: 0 },
        ],
      },
      /canary\.split: the weights sum to zero/,
    ],
    [{ split: [{ ...one, weight: -1 }] }, /canary\.split\[0\]\.weight: a weight is 0 or more/],
    [{ split: [{ ...one, weight: '5' }] }, /canary\.split\[0\]\.weight: a number/],
    [{ split: [{ ...one, weight: 1e9 }] }, /canary\.split\[0\]\.weight: a weight is at most/],
    [{ split: [one, { to: 'v1', weight: 2 }] }, /canary\.split\[1\]\.to: "v1" stands twice/],
    [
      {
        split: [
          { ...one, weight: 20_000 },
          { to: 'v2', weight: 1 },
        ],
      },
      /canary\.split\[1\]\.weight: .*0\.01%/,
    ],
    [{ rules: [{ when: {}, to: 'v1' }] }, /canary\.rules\[0\]\.when: an empty condition/],
    [{ rules: [{ when: { user: 'a' }, to: 'v1' }] }, /canary\.rules\[0\]\.when\.user: is no attribute/],
    [{ rules: [{ when: { path: '~(' }, to: 'v1' }] }, /canary\.rules\[0\]\.when\.path: .*regular expression/],
    [{ rules: [{ when: { path: '/' }, too: 'v1' }] }, /canary\.rules\[0\]\.too: .*did you mean "to"/],
    [{ split: [one], sticky: { by: 'sub' } }, /canary\.sticky\.by: "sub" is no attribute/],
    [{ split: [one], sticky: { by: 'random' } }, /canary\.sticky\.by: "random" is no attribute/],
    [{ split: [one], sticky: { by: 'jwt.sub', fallback: 'coockie' } }, /canary\.sticky\.fallback: "coockie" is no/],
    [{ split: [one], sticky: { by: 'cookie', fallback: 'client.ip' } }, /canary\.sticky\.fallback: /],
    [{ split: [one], sticky: { by: 'jwt.sub', cookie: {} } }, /canary\.sticky\.cookie: no cookie is set/],
    [
      { split: [one], sticky: { by: 'cookie', cookie: { name: 'a b' } } },
      /canary\.sticky\.cookie\.name: a cookie name/,
    ],
    [{ rules: [{ when: { path: '/' }, to: 'v1' }], sticky: { by: 'jwt.sub' } }, /canary\.sticky: there is no split/],
    [{ split: [one], label: 'content-length' }, /canary\.label: content-length is set by the gateway/],
    [{ split: [one], label: 'a b' }, /canary\.label: a header name/],
    [{ split: [one], unhealthy: 'maybe' }, /canary\.unhealthy: /],
  ]
  for (const [canary, fault] of cases) t.match(await faults(canary), [fault], JSON.stringify(canary))
  t.same(await faults({ split: [one, { to: 'v2', weight: 0 }] }), [])
})
