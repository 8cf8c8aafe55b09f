// What registers with any kind of registry gets traffic in time, what leaves gets none, and no request fails meanwhile.
import t from 'tap'
import { startConsulRegistry } from '../support/consul-registry.ts'
import { startDnsRegistry } from '../support/dns-registry.ts'
import { startEurekaRegistry } from '../support/eureka-registry.ts'
import { startFileRegistry } from '../support/file-registry.ts'
import { configText, startGateway } from '../support/gateway.ts'
import { HealthService } from '../support/health-service.ts'
import { HttpLoad } from '../support/http-load.ts'
import { startKubernetesRegistry } from '../support/kubernetes-registry.ts'
import { startNacosRegistry } from '../support/nacos-registry.ts'
import type { StartRegistry } from '../support/registry.ts'
import { eventually } from '../support/within.ts'

const INTERVAL = 500
/** A second for those that tell of news; for those that are asked, the time between two questions and a second. */
const KINDS: readonly (readonly [StartRegistry, number])[] = [
  [startConsulRegistry, 1000],
  [startFileRegistry, 1000],
  [startKubernetesRegistry, 1000],
  [startEurekaRegistry, INTERVAL + 1000],
  [startNacosRegistry, INTERVAL + 1000],
  [startDnsRegistry, INTERVAL + 1000],
]

for (const [startRegistry, ms] of KINDS) {
  t.test(startRegistry.name, { timeout: 240_000 }, async t => {
    const registry = await startRegistry(t)
    const services = await Promise.all([HealthService.start(t), HealthService.start(t), HealthService.start(t)])
    const [a, b, c] = services
    const have = (...some: HealthService[]) =>
      registry.set(
        'orders',
        some.map(({ port }) => ({ host: '127.0.0.1', port })),
      )
    await have(a, b)
    const gateway = await startGateway(
      t,
      configText({
        discovery: { reg: { kind: registry.kind, interval: `${INTERVAL}ms`, ...registry.options } },
        up: { discover: { from: 'reg', service: 'orders' } },
        route: { retry: { attempts: 0 } },
      }),
    )
    const load = new HttpLoad(gateway.port, 8)
    await have(a, b, c)
    await eventually(
      () => c.requests > 0,
      () => 'what registered gets no traffic',
      ms,
    )
    await have(b, c)
    await eventually(
      () => gateway.upstream().endpoints.every(({ port }) => port !== a.port),
      () => 'what left is still known',
      ms,
    )
    const { requests } = a
    const before = b.requests
    await eventually(
      () => b.requests > before + 50,
      () => 'the others get no traffic',
    )
    t.ok(a.requests - requests <= 8, 'none but what was under way')
    await load.stop()
    t.same(load.failures, [])
    t.ok(load.requests > 100, `${load.requests} requests`)
  })
}
