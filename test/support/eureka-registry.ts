// Eureka as a registry for tests: applications and the delta with its hash, in the odd JSON of its XML.
import { HttpRegistryFake, json } from './http-registry.ts'
import type { Registered, StartRegistry } from './registry.ts'

/** One instance as Eureka writes it. */
export function eurekaInstance({ host, port, labels = {} }: Registered, status = 'UP'): object {
  return {
    ...{ instanceId: `${host}:${port}`, hostName: 'orders.internal', app: 'ORDERS', ipAddr: host, status },
    port: { $: port, '@enabled': 'true' },
    securePort: { $: 443, '@enabled': 'false' },
    metadata: { '@class': 'java.util.Collections$EmptyMap', ...labels },
  }
}

/** Start one. `delta` turns the delta off; questions for whole applications are counted. */
export async function startEureka(t: Parameters<StartRegistry>[0], delta = true) {
  const state = { fetched: 0 }
  const fake = await HttpRegistryFake.start(t, 'eureka', eureka => (url, _request, response) => {
    const path = url.pathname.replace(/^\/eureka/, '')
    const total = [...eureka.services.values()].flat().length
    if (path === '/apps/delta') {
      if (!delta) {
        response.writeHead(403).end()
        return
      }
      // What changed of late: the last change alone, however often it is asked.
      const application = [...eureka.changed]
        .filter(([, version]) => version === eureka.version)
        .map(([name]) => ({ name: name.toUpperCase(), instance: eureka.of(name).map(one => eurekaInstance(one)) }))
      json(response, { applications: { versions__delta: '1', apps__hashcode: `UP_${total}_`, application } })
      return
    }
    state.fetched++
    const name = decodeURIComponent(path.replace('/apps/', '')).toLowerCase()
    const instances = eureka.of(name).map(one => eurekaInstance(one))
    if (instances.length === 0) response.writeHead(404).end()
    else json(response, { application: { name, instance: instances.length === 1 ? instances[0] : instances } })
  })
  fake.options = { address: `${fake.address}/eureka` }
  return Object.assign(fake, { state })
}

export const startEurekaRegistry: StartRegistry = t => startEureka(t)
