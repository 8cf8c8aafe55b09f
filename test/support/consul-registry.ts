// Consul as a registry for tests: /v1/health/service with its blocking queries, an ACL token and an index that a test may set.
import { HttpRegistryFake, json } from './http-registry.ts'
import type { Registered, StartRegistry } from './registry.ts'

/** One entry of the answer, as Consul 1.15 writes it. */
export function consulEntry({ host, port, weight = 1, labels = {} }: Registered, i = 0): object {
  return {
    Node: { Node: 'node-1', Address: '10.9.9.9', Datacenter: 'dc1' },
    Service: {
      ...{ ID: `orders-${i}`, Service: 'orders', Tags: ['primary', 'zone=a'], Address: host, Port: port },
      ...{ Meta: labels, Weights: { Passing: weight, Warning: 1 } },
    },
    Checks: [{ Status: 'passing' }],
  }
}

/** Start one; questions without `token` are refused when it is given. Ports in `hidden` are of nodes that it may not read. */
export async function startConsul(t: Parameters<StartRegistry>[0], token: string | null = null) {
  const hidden = new Set<number>()
  const fake = await HttpRegistryFake.start(t, 'consul', consul => async (url, request, response) => {
    if (token !== null && request.headers['x-consul-token'] !== token) {
      response.writeHead(403).end('Permission denied')
      return
    }
    const service = decodeURIComponent(/^\/v1\/health\/service\/([^/]+)$/.exec(url.pathname)?.[1] ?? '')
    const index = Number(url.searchParams.get('index') ?? 0)
    // Waits for as long as nothing of the service is newer; an index of 0, or one ahead of its time, does not wait.
    while (!response.destroyed && index > 0 && index === consul.version) await consul.change(response)
    if (response.destroyed) return
    const shown = consul.of(service).filter(({ port }) => !hidden.has(port))
    json(response, shown.map(consulEntry), {
      'x-consul-index': String(consul.version),
      // Without a token nobody learns that there is anything to hide.
      ...(token !== null &&
        shown.length < consul.of(service).length && { 'x-consul-results-filtered-by-acls': 'true' }),
    })
  })
  fake.options = { address: fake.address, ...(token !== null && { token }) }
  return Object.assign(fake, { hidden })
}

export const startConsulRegistry: StartRegistry = t => startConsul(t)
