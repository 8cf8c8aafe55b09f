// What holds for every registry that tests can start: its provider sees what is registered, refuses nonsense, and recovers.
import { getEventListeners } from 'node:events'
import t from 'tap'
import type { DiscoveryProvider, Found } from '../../src/discovery/provider.ts'
import { providers } from '../../src/discovery/providers.ts'
import { NO_CERTIFICATES } from '../support/certificates.ts'
import { startConsulRegistry } from '../support/consul-registry.ts'
import { startDnsRegistry } from '../support/dns-registry.ts'
import { startEtcdRegistry } from '../support/etcd-registry.ts'
import { startEurekaRegistry } from '../support/eureka-registry.ts'
import { startFileRegistry } from '../support/file-registry.ts'
import { startKubernetesRegistry } from '../support/kubernetes-registry.ts'
import { startNacosRegistry } from '../support/nacos-registry.ts'
import type { RegistryFault, StartRegistry } from '../support/registry.ts'
import { within } from '../support/within.ts'
import { startZookeeperRegistry } from '../support/zookeeper-registry.ts'

const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const FAULTS: readonly RegistryFault[] = ['status-500', 'html', 'half-json', 'huge', 'stall', 'reset']

/** Kinds whose answers can be told from the last ones before they are used. */
const KEEPING = ['consul', 'dns', 'etcd', 'eureka', 'file', 'kubernetes', 'nacos']

const at = (...ports: number[]) => ports.map(port => ({ host: '10.0.0.1', port }))
const ports = ({ instances }: Found) => instances.map(({ port }) => port).sort((a, b) => a - b)

/** Ask as the poller does, until the service has these ports. */
async function knows(asked: DiscoveryProvider, wanted: readonly number[], from: Found | null = null): Promise<Found> {
  const abort = new AbortController()
  let failure: unknown = 'the answer is another'
  const ask = async (): Promise<Found> => {
    let cursor = from?.cursor ?? null
    for (;;) {
      try {
        const found = await asked.poll('orders', cursor, abort.signal)
        if (JSON.stringify(ports(found)) === JSON.stringify(wanted)) return found
        cursor = found.cursor
        failure = `it knows ${ports(found)}`
      } catch (error) {
        if (abort.signal.aborted) throw error
        failure = error
        cursor = null
      }
      const left = getEventListeners(abort.signal, 'abort').length
      if (left > 0)
        throw new Error(`a poll that is over left ${left} listeners on its signal, which is that of the next`)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
  const asking = ask()
  asking.catch(() => {})
  try {
    // Who has a cursor waits at the registry; the others may have asked while it was away.
    const ms = typeof from?.cursor === 'string' ? 1000 : 5000
    return await within(ms, asking, () => `${wanted} are not known: ${failure}`)
  } finally {
    abort.abort()
  }
}

const registries: readonly StartRegistry[] = [
  startConsulRegistry,
  startDnsRegistry,
  startEtcdRegistry,
  startEurekaRegistry,
  startFileRegistry,
  startKubernetesRegistry,
  startNacosRegistry,
  startZookeeperRegistry,
]

for (const start of registries) {
  t.test(start.name, { timeout: 240_000 }, async t => {
    const registry = await start(t)
    const definition = providers.find(({ kind }) => kind === registry.kind)!
    const options = definition.options.parse(registry.options)
    const asked = await definition.create(options, {
      name: 'registry',
      baseDir: '/',
      certificates: NO_CERTIFICATES,
      log,
    })
    t.teardown(() => asked.close?.())

    t.same((await asked.poll('orders', null, new AbortController().signal)).instances, [], 'nothing at first')
    await registry.set('orders', at(1, 2, 3))
    await registry.set('other', at(9))
    let found = await knows(asked, [1, 2, 3])
    for (const wanted of [[1, 2, 3, 4], [2, 3, 4], [5], [], [1, 2]]) {
      const next = knows(asked, wanted, found)
      await registry.set('orders', at(...wanted))
      found = await next
      t.same(ports(found), wanted, `${wanted} is seen in time`)
    }
    if (!Number.isNaN(registry.polls)) t.ok(registry.polls >= 7, 'polls are counted')

    if (KEEPING.includes(registry.kind)) {
      const again = await asked.poll('orders', null, new AbortController().signal)
      t.equal(again.instances, found.instances, 'what did not change is not read again')
      asked.forget!('orders')
      const anew = await asked.poll('orders', null, new AbortController().signal)
      t.not(anew.instances, found.instances, 'nothing is kept of a service that was forgotten')
      t.same(ports(anew), ports(found))
    }

    for (const fault of FAULTS) {
      await registry.fail(fault)
      const failure = await asked.poll('orders', null, AbortSignal.timeout(1000)).then(
        answer => answer,
        error => error as Error,
      )
      t.ok(failure instanceof Error && !(failure instanceof TypeError), `${fault} is a failure: ${failure}`)
      await registry.set('orders', at(7, 8))
      await registry.fail(null)
      await knows(asked, [7, 8])
      await registry.set('orders', at(1, 2))
      await knows(asked, [1, 2])
    }
    await registry.stop()
    await t.rejects(asked.poll('orders', null, AbortSignal.timeout(3000)), 'one that was stopped')
  })
}
