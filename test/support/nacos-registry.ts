// Nacos as a registry for tests: the instance list of its open API, logins with tokens that end.
import { text } from 'node:stream/consumers'
import { HttpRegistryFake, json } from './http-registry.ts'
import type { StartRegistry } from './registry.ts'

/** Start one; with a user and a password, questions need a token, which is good until `endTokens`. */
export async function startNacos(t: Parameters<StartRegistry>[0], user: string | null = null, password = '') {
  const state = { logins: 0, token: '', ttl: 18_000, queries: [] as URLSearchParams[] }
  const fake = await HttpRegistryFake.start(t, 'nacos', nacos => async (url, request, response) => {
    if (url.pathname === '/nacos/v1/auth/login') {
      const form = new URLSearchParams(await text(request))
      if (form.get('username') !== user || form.get('password') !== password) {
        response.writeHead(403).end('unknown user!')
        return
      }
      state.token = `token-${++state.logins}`
      json(response, { accessToken: state.token, tokenTtl: state.ttl, globalAdmin: false })
      return
    }
    if (user !== null && url.searchParams.get('accessToken') !== state.token) {
      json(response, { status: 403, message: 'token invalid!' }, {}, 403)
      return
    }
    state.queries.push(url.searchParams)
    const hosts = nacos
      .of(url.searchParams.get('serviceName') ?? '')
      .map(({ host, port, weight = 1, labels = {} }) => ({
        ...{ ip: host, port, weight, healthy: true, enabled: true, ephemeral: true },
        ...{ clusterName: 'DEFAULT', metadata: labels },
      }))
    json(response, { name: 'DEFAULT_GROUP@@orders', cacheMillis: 10_000, hosts, lastRefTime: Date.now() })
  })
  fake.options = { address: fake.address, ...(user !== null && { user, password }) }
  return Object.assign(fake, { state })
}

export const startNacosRegistry: StartRegistry = t => startNacos(t)
