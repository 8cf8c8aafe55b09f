// Consul, Nacos, Eureka and Kubernetes: what they answer, as documented and as nobody should, and how they want to be asked.
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { AnswerError } from '../../../src/discovery/ask.ts'
import { consulOptions, nextIndex, parseConsul } from '../../../src/discovery/consul.ts'
import { parseDelta, parseEureka } from '../../../src/discovery/eureka.ts'
import { isChange, parseSlices } from '../../../src/discovery/kubernetes.ts'
import { parseNacos } from '../../../src/discovery/nacos.ts'
import type { DiscoveryProvider, Found } from '../../../src/discovery/provider.ts'
import { providers } from '../../../src/discovery/providers.ts'
import type { CertificateFiles } from '../../../src/http/certificates.ts'
import type { Log } from '../../../src/log.ts'
import { NO_CERTIFICATES } from '../../support/certificates.ts'
import { consulEntry, startConsul } from '../../support/consul-registry.ts'
import { eurekaInstance, startEureka } from '../../support/eureka-registry.ts'
import { HttpRegistryFake, json } from '../../support/http-registry.ts'
import { slice, startKubernetes } from '../../support/kubernetes-registry.ts'
import { startNacos } from '../../support/nacos-registry.ts'
import { eventually } from '../../support/within.ts'

const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const at = (...ports: number[]) => ports.map(port => ({ host: '10.0.0.1', port }))
const ports = ({ instances }: Found) => instances.map(({ port }) => port)
const never = new AbortController().signal

async function provider(t: Test, fake: HttpRegistryFake, more: object = {}, log = silent): Promise<DiscoveryProvider> {
  const definition = providers.find(({ kind }) => kind === fake.kind)!
  const options = definition.options.parse({ ...fake.options, ...more })
  const made = await definition.create(options, { name: 'registry', baseDir: '/', certificates: NO_CERTIFICATES, log })
  t.teardown(() => made.close?.())
  return made
}

/** An etcd with auth and no keys, that counts logins; the next `stalls` of them are not answered. */
async function startEtcdLogin(t: Test) {
  const state = { logins: 0, token: '', stalls: 0 }
  const fake = await HttpRegistryFake.start(t, 'etcd', () => async (url, request, response) => {
    const body = JSON.parse(await text(request))
    if (url.pathname === '/v3/auth/authenticate') {
      if (state.stalls-- > 0) return
      if (body.password !== 'password') return json(response, {}, {}, 400)
      state.token = `token-${++state.logins}`
      return json(response, { token: state.token })
    }
    if (request.headers.authorization !== state.token) return json(response, {}, {}, 401)
    json(response, { header: { cluster_id: '1', revision: '7' } })
  })
  fake.options = { address: fake.address, user: 'gateway', password: 'password' }
  return Object.assign(fake, { state })
}

t.test('consul: addresses, weights, tags and meta', async t => {
  const { instances, leftOut } = parseConsul([
    consulEntry({ host: '10.0.0.1', port: 80, weight: 5, labels: { version: 'v1', zone: 'b' } }),
    { Node: { Address: '10.9.9.9' }, Service: { ID: 'x', Address: '', Port: 81, Tags: null, Meta: null } },
    { Node: {}, Service: { ID: 'no-address', Port: 82 } },
    { Service: { ID: 'no-port', Address: '10.0.0.2', Port: 0 } },
    { Service: { ID: 'bad-port', Address: '10.0.0.2', Port: 65_536 } },
    { Service: { Address: '10.0.0.3', Port: 83, Tags: ['__proto__=x', '=y', 7], Weights: { Passing: -1 } } },
  ])
  t.same(instances, [
    { host: '10.0.0.1', port: 80, weight: 5, labels: { primary: 'true', zone: 'b', version: 'v1' } },
    { host: '10.9.9.9', port: 81, weight: 1, labels: {} },
    { host: '10.0.0.2', port: 0, weight: 1, labels: {} },
    { host: '10.0.0.3', port: 83, weight: 1, labels: { '=y': 'true' } },
  ])
  t.match(leftOut, [/no-address has no address/, /bad-port has no port/])
  t.throws(() => parseConsul(new Array(100_001).fill(null)), { message: /a list of more than 100000 entries/ })
})

t.test('consul: the index, its rules', async t => {
  t.equal(nextIndex('12', null), '12')
  t.equal(nextIndex('12', '12'), '12')
  t.equal(nextIndex('0', null), '1', '0 is never sent')
  t.equal(nextIndex('11', '12'), null, 'backwards')
  t.equal(nextIndex('18446744073709551615', '9'), '18446744073709551615')
  for (const header of [undefined, '', 'x', '-1', '1.5', ['1', '2']])
    t.throws(() => nextIndex(header, null), AnswerError)
})

t.test('addresses of registries that cannot work are faults', async t => {
  const fault = (address: string) => consulOptions.safeParse({ address }).error?.issues.map(({ message }) => message)
  t.match(fault('http://a:1/?x=1'), [/query/])
  t.match(fault('http://a:1/#x'), [/fragment/])
  t.match(fault('http://user:50%@a:1/'), [/%25/])
  t.match(fault('http://user%zz@a:1/'), [/%25/])
  t.match(fault('http://a:0'), [/a port between 1 and 65535/])
  t.match(fault('a:1'), [/a URL is due, such as http:/])
  t.equal(fault('http://us%40er:50%25@a:1/path'), undefined)
})

t.test('certificates are what was read when the registry was opened, whatever stands in the files by now', async t => {
  const kinds = providers.filter(({ certificates }) => certificates !== undefined)
  t.same(kinds.map(({ kind }) => kind).sort(), ['consul', 'etcd', 'eureka', 'kubernetes', 'nacos'])
  for (const { kind, options, create } of kinds) {
    const named = kind === 'kubernetes' ? { caFile: 'gone.pem' } : { tls: { ca: 'gone.pem' } }
    const open = async (certificates: CertificateFiles) =>
      create(options.parse({ address: 'https://127.0.0.1:1', ...named }), {
        name: kind,
        baseDir: '/',
        certificates,
        log: silent,
      })
    await t.rejects(open({ ...NO_CERTIFICATES, ca: 'read before' }), { name: 'CertificateError', option: 'ca' }, kind)
    await t.resolves(open(NO_CERTIFICATES), kind)
  }
})

t.test('consul: waits, and begins anew when the index goes back', async t => {
  const consul = await startConsul(t)
  await consul.set('orders', at(1))
  const asked = await provider(t, consul)
  const first = await asked.poll('orders', null, never)
  t.same(ports(first), [1])
  const polls = consul.polls
  const waiting = asked.poll('orders', first.cursor, never)
  await eventually(
    () => consul.polls > polls,
    () => 'it does not ask',
  )
  // A server that was restored: less than before, and something else.
  consul.version = 2
  await consul.set('orders', at(2))
  const second = await waiting
  t.same(ports(second), [2])
  t.equal(second.cursor, '3')
  t.equal(consul.polls, polls + 2, 'asked once more, without an index')
})

t.test('consul: token, datacenter, cancelling', async t => {
  const consul = await startConsul(t, 'secret')
  await consul.set('a b/c', at(1))
  t.same(ports(await (await provider(t, consul)).poll('a b/c', null, never)), [1])
  const bad = await provider(t, consul, { token: 'wrong', datacenter: 'dc2' })
  await t.rejects(bad.poll('a b/c', null, never), { message: 'answered 403' })
  const asked = await provider(t, consul)
  const { cursor } = await asked.poll('a b/c', null, never)
  const abort = new AbortController()
  const waiting = asked.poll('a b/c', cursor, abort.signal)
  abort.abort()
  await t.rejects(waiting)
})

t.test('consul: what the token may not read is told, and is no empty service', async t => {
  const consul = await startConsul(t, 'secret')
  await consul.set('orders', at(1, 2))
  const told: unknown[] = []
  const warn = (_message: string, fields: object = {}) => void told.push(fields)
  const asked = await provider(t, consul, {}, { ...silent, warn })
  t.same(ports(await asked.poll('orders', null, never)), [1, 2])
  t.same(told, [])
  consul.hidden.add(2)
  for (let i = 0; i < 2; i++) t.same(ports(await asked.poll('orders', null, never)), [1])
  t.match(told, [{ service: 'orders', leftOut: /may not read/ }], 'once')
  consul.hidden.add(1)
  await t.rejects(asked.poll('orders', null, never), { name: 'AnswerError', message: /the token may not read/ })
  await consul.set('orders', [])
  t.same(ports(await asked.poll('orders', null, never)), [], 'there are none')
})

t.test('nacos: healthy and enabled ones, weights', async t => {
  const one = { ip: '10.0.0.1', port: 80, weight: 0.5, healthy: true, enabled: true, metadata: { version: 'v1' } }
  const { instances, leftOut } = parseNacos({
    hosts: [
      { ...one, clusterName: 'C1' },
      { ...one, healthy: false },
      { ...one, enabled: false },
      { ...one, weight: 0 },
      { ...one, weight: '1' },
      { ...one, port: 70_000 },
      { ...one, ip: '' },
      null,
    ],
  })
  t.same(instances, [
    { host: '10.0.0.1', port: 80, weight: 0.5, labels: { cluster: 'C1', version: 'v1' } },
    { host: '10.0.0.1', port: 80, weight: 0, labels: { version: 'v1' } },
  ])
  t.equal(leftOut.length, 4)
})

t.test('nacos: what is asked for, and logins that end', async t => {
  const nacos = await startNacos(t, 'gateway', 'pass&word')
  await nacos.set('orders', at(1))
  const asked = await provider(t, nacos, { namespace: 'prod', group: 'G', clusters: ['C1', 'C2'] })
  t.same(ports(await asked.poll('orders', null, never)), [1])
  await asked.poll('orders', null, never)
  t.equal(nacos.state.logins, 1, 'one login for both')
  const query = Object.fromEntries(nacos.state.queries[0]!)
  t.match(query, { serviceName: 'orders', groupName: 'G', namespaceId: 'prod', clusters: 'C1,C2', healthyOnly: 'true' })
  nacos.state.token = 'of another server'
  t.same(ports(await asked.poll('orders', null, never)), [1], 'logged in anew')
  t.equal(nacos.state.logins, 2)
  // A token without a life is renewed for each question, before it ends.
  nacos.state.ttl = 1e-6
  nacos.state.token = 'gone'
  await asked.poll('orders', null, never)
  await asked.poll('orders', null, never)
  await asked.poll('orders', null, never)
  t.equal(nacos.state.logins, 5)
  const fixed = await provider(t, nacos, { token: 'not known', user: undefined, password: undefined })
  await t.rejects(fixed.poll('orders', null, never), { message: 'answered 403' })
  t.equal(nacos.state.logins, 5, 'a fixed token is all there is')
  const bad = await provider(t, nacos, { password: 'wrong' })
  await t.rejects(bad.poll('orders', null, never), { message: 'answered 403' })
})

t.test('nacos, etcd: however many services ask at once, one logs in for all', async t => {
  const nacos = await startNacos(t, 'gateway', 'password')
  const etcd = await startEtcdLogin(t)
  for (const fake of [nacos, etcd]) {
    const services = Array.from({ length: 30 }, (_, i) => `service-${i}`)
    const all = (of: DiscoveryProvider) =>
      Promise.all(services.map(name => of.poll(name, null, new AbortController().signal)))
    const asked = await provider(t, fake)
    await all(asked)
    t.equal(fake.state.logins, 1, `${fake.kind}: at the start`)
    fake.state.token = 'of another server'
    await all(asked)
    t.equal(fake.state.logins, 2, `${fake.kind}: when the token has ended`)

    const wrong = await provider(t, fake, { password: 'wrong' })
    const before = fake.polls
    for (const { status } of await Promise.allSettled(
      services.map(name => wrong.poll(name, null, new AbortController().signal)),
    ))
      if (status !== 'rejected') t.fail('a wrong password is good')
    t.ok(fake.polls - before <= 2, `${fake.kind}: a wrong password is tried once`)
  }
})

t.test('etcd: who gives up a login that others wait for spoils it for nobody', async t => {
  const etcd = await startEtcdLogin(t)
  const asked = await provider(t, etcd)
  etcd.state.stalls = 1
  const impatient = new AbortController()
  const first = t.rejects(asked.poll('orders', null, impatient.signal), { name: 'AbortError' })
  const others = Promise.all([asked.poll('users', null, never), asked.poll('carts', null, never)])
  await eventually(
    () => etcd.polls === 1,
    () => 'nobody logs in',
  )
  impatient.abort()
  await first
  t.same((await others).map(ports), [[], []])
  t.equal(etcd.state.logins, 1, 'one of them began anew')
})

t.test('eureka: up ones, ports that are on, one as itself', async t => {
  const up = eurekaInstance({ host: '10.0.0.1', port: 80, labels: { version: 'v1' } }) as Record<string, unknown>
  const plain = parseEureka(
    { application: { instance: [up, eurekaInstance({ host: '10.0.0.2', port: 80 }, 'DOWN'), { ...up, port: {} }] } },
    false,
  )
  t.same(plain.instances, [{ host: '10.0.0.1', port: 80, weight: 1, labels: { version: 'v1' } }])
  t.equal(plain.instances.length, 1)
  t.equal(plain.leftOut.length, 1)
  t.same(parseEureka({ application: { instance: up } }, true).instances, [], 'the secure port is off')
  const secure = { ...up, securePort: { $: '443', '@enabled': 'true' } }
  t.equal(parseEureka({ application: { instance: secure } }, true).instances[0]!.port, 443)
  t.same(parseEureka({ application: {} }, false).instances, [])
  t.throws(() => parseEureka({}, false), AnswerError)
  const { hash, changed } = parseDelta({ applications: { apps__hashcode: 'UP_2_', application: { name: 'orders' } } })
  t.equal(hash, 'UP_2_')
  t.same([...changed], ['ORDERS'])
})

t.test('eureka: the delta saves fetches, and misses nothing', async t => {
  const eureka = await startEureka(t)
  await eureka.set('orders', at(1, 2))
  await eureka.set('users', at(9))
  const asked = await provider(t, eureka)
  t.same(ports(await asked.poll('orders', null, never)), [1, 2])
  t.equal(eureka.state.fetched, 1)
  t.same(ports(await asked.poll('orders', null, never)), [1, 2])
  t.equal(eureka.state.fetched, 1, 'nothing changed')
  await eureka.set('orders', at(3, 4))
  t.same(ports(await asked.poll('orders', null, never)), [3, 4], 'the same hash, and named in the delta')
  await eureka.set('users', at(8, 9))
  const fetched = eureka.state.fetched
  t.same(ports(await asked.poll('orders', null, never)), [3, 4])
  t.equal(eureka.state.fetched, fetched + 1, 'another hash')
  t.same(ports(await asked.poll('nobody', null, never)), [], '404 is nobody')

  const without = await startEureka(t, false)
  await without.set('orders', at(5))
  t.same(ports(await (await provider(t, without)).poll('orders', null, never)), [5], 'where the delta is off')
})

t.test('eureka: a 404 for the delta too is of something else than Eureka', async t => {
  const eureka = await startEureka(t)
  await eureka.set('orders', at(1))
  const asked = await provider(t, eureka, { address: `${eureka.address}/wrong` })
  await t.rejects(asked.poll('orders', null, never), { name: 'AnswerError', message: /is the path of `address` right/ })
})

t.test('eureka: what changed while nobody asked, or nobody answered, is no longer in the delta', async t => {
  const eureka = await startEureka(t)
  const asked = await provider(t, eureka)
  const now = performance.now.bind(performance)
  let passed = 0
  performance.now = () => now() + passed
  t.teardown(() => {
    performance.now = now
  })
  /** As many as before, so that the hash stays, and too long ago for the delta. */
  const replaced = async (port: number) => {
    await eureka.set('orders', at(1, port))
    eureka.changed.clear()
  }
  await replaced(2)
  t.same(ports(await asked.poll('orders', null, never)), [1, 2])
  const { fetched } = eureka.state
  passed += 100_000
  await asked.poll('orders', null, never)
  passed += 100_000
  await asked.poll('orders', null, never)
  t.equal(eureka.state.fetched, fetched, 'each delta reaches back to the one before')
  await replaced(3)
  passed += 130_000
  t.same(ports(await asked.poll('orders', null, never)), [1, 3], 'asked after more than two minutes')
  await eureka.fail('status-500')
  await t.rejects(asked.poll('orders', null, never))
  await eureka.fail(null)
  await replaced(4)
  t.same(ports(await asked.poll('orders', null, never)), [1, 4], 'after a failure')
})

t.test('kubernetes: ready ones, else serving ones; ports by name', async t => {
  const endpoint = (address: string, conditions: object) => ({
    addresses: [address, '10.9.9.9'],
    conditions,
    zone: 'z',
  })
  const list = (...endpoints: object[]) => ({
    metadata: { resourceVersion: '5' },
    items: [
      {
        addressType: 'IPv4',
        ports: [
          { name: 'http', port: 80 },
          { name: 'grpc', port: 90, protocol: 'TCP' },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
        endpoints,
      },
      { addressType: 'FQDN', ports: [{ port: 1 }], endpoints: [{ addresses: ['a.example'] }] },
    ],
  })
  const ending = { ready: false, serving: true, terminating: true }
  const both = parseSlices(list(endpoint('10.0.0.1', {}), endpoint('10.0.0.2', ending)))
  t.same(both.instances, [
    { host: '10.0.0.1', port: 80, ports: { http: 80, grpc: 90 }, weight: 1, labels: { zone: 'z' } },
  ])
  t.equal(both.version, '5')
  const last = parseSlices(list(endpoint('10.0.0.2', ending), endpoint('10.0.0.3', { ready: false, serving: false })))
  t.same(
    last.instances.map(({ host }) => host),
    ['10.0.0.2'],
    'better than nobody',
  )
  t.same(both.leftOut, ['a slice has addresses of type FQDN: the kind dns resolves names'])
  t.match(parseSlices(list({ addresses: [] })).leftOut, ['an endpoint has no address', /FQDN/])
  t.same(parseSlices({ metadata: { resourceVersion: '5' }, items: null }).instances, [])
  for (const answer of [{ items: [] }, { metadata: { resourceVersion: '5' } }])
    t.throws(() => parseSlices(answer), AnswerError)
})

t.test('kubernetes: what a watch says', async t => {
  t.notOk(isChange({ type: 'BOOKMARK', object: {} }))
  for (const type of ['ADDED', 'MODIFIED', 'DELETED']) t.ok(isChange({ type, object: {} }))
  t.ok(isChange({ type: 'ERROR', object: { code: 410 } }), 'too old: the list is read anew')
  t.throws(() => isChange({ type: 'ERROR', object: { code: 500, message: 'etcd is away' } }), /etcd is away/)
})

t.test('kubernetes: 410 Gone, tokens that rotate, lines in pieces, another namespace', async t => {
  const api = await startKubernetes(t)
  await api.set('orders', at(1))
  const asked = await provider(t, api)
  const first = await asked.poll('orders', null, never)
  t.same(ports(first), [1])
  t.same(first.instances[0]!.ports, { http: 1 })
  api.state.oldest = 1000
  await api.set('orders', at(2))
  for (const gone of ['event', 'status'] as const) {
    api.state.gone = gone
    t.same(ports(await asked.poll('orders', first.cursor, never)), [2], gone)
  }
  api.state.oldest = 0
  api.state.pieces = true
  const second = await asked.poll('orders', null, never)
  const polls = api.polls
  const waiting = asked.poll('orders', second.cursor, never)
  await eventually(
    () => api.polls > polls,
    () => 'it does not watch',
  )
  api.rotate('second')
  await api.set('orders', at(3))
  t.same(ports(await waiting), [3], 'the token is read anew')
  t.same(ports(await asked.poll('other/orders', null, never)), [3])
  api.state.token = 'third'
  await t.rejects(asked.poll('orders', null, never), { message: 'answered 401' })
})

t.test('kubernetes: a service that is neither a name nor namespace/name is not asked for', async t => {
  const api = await startKubernetes(t)
  await api.set('orders', at(1))
  const asked = await provider(t, api)
  for (const service of ['cluster/shop/orders', '/orders', 'shop/', '/', 'orders,app=x'])
    await t.rejects(asked.poll(service, null, never), { name: 'AnswerError', message: 'namespace/name' }, service)
  t.equal(api.polls, 0)
})

t.test('kubernetes: over plain http, as by `kubectl proxy`, no token is sent unless it is said', async t => {
  const sent: unknown[] = []
  const proxy = await HttpRegistryFake.start(t, 'kubernetes', () => (_url, request, response) => {
    sent.push(request.headers.authorization)
    json(response, { metadata: { resourceVersion: '7' }, items: [slice('orders', 1, at(1))] })
  })
  proxy.options = { address: proxy.address, namespace: 'shop' }
  t.same(ports(await (await provider(t, proxy)).poll('orders', null, never)), [1])
  t.same(ports(await (await provider(t, proxy, { token: 't' })).poll('orders', null, never)), [1])
  t.same(sent, [undefined, 'Bearer t'])
  const secure = await provider(t, proxy, { address: proxy.address.replace('http:', 'https:') })
  await t.rejects(secure.poll('orders', null, never), { code: 'ENOENT' }, 'over https the account is needed')
})

t.test('kubernetes: where watches end as soon as they begin, the list is read after the interval', async t => {
  const watched = await HttpRegistryFake.start(t, 'kubernetes', () => (url, _request, response) => {
    if (url.searchParams.has('watch')) response.writeHead(200).end()
    else json(response, { metadata: { resourceVersion: '7' }, items: [slice('orders', 1, at(1))] })
  })
  watched.options = { address: watched.address, namespace: 'a', token: 't' }
  const asked = await provider(t, watched)
  const first = await asked.poll('orders', null, never)
  t.equal(first.cursor, '7')
  const second = await asked.poll('orders', first.cursor, never)
  t.same(ports(second), [1])
  t.equal(second.cursor, null)
})

t.test('law: whatever a registry answers is instances or an AnswerError', async () => {
  const parses: ((answer: unknown) => unknown)[] = [
    parseConsul,
    parseNacos,
    answer => parseEureka(answer, true),
    parseDelta,
    parseSlices,
    isChange,
  ]
  const anything = fc.anything({ maxDepth: 4 })
  const near = fc.letrec(tie => ({
    node: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(null, '', '10.0.0.1', 'UP', 80, -1, 0.5, true, 'IPv4', '__proto__'),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(
        fc.constantFrom(
          ...['Service', 'Node', 'Address', 'Port', 'Tags', 'Meta', 'Weights', 'Passing', 'hosts', 'ip', 'port'],
          ...['weight', 'metadata', 'application', 'applications', 'instance', 'status', 'items', 'endpoints', 'ports'],
          ...[
            'addresses',
            'addressType',
            'conditions',
            'resourceVersion',
            '__proto__',
            'apps__hashcode',
            'object',
            'type',
          ],
        ),
        tie('node'),
        { maxKeys: 6 },
      ),
    ),
  })).node
  fc.assert(
    fc.property(fc.oneof(anything, near), answer => {
      for (const parse of parses) {
        try {
          parse(answer)
        } catch (error) {
          if (!(error instanceof AnswerError)) throw error
        }
      }
    }),
    { numRuns: 500 },
  )
  parseSlices({ metadata: { resourceVersion: '1' }, items: [slice('a', 1, at(1))] })
})
