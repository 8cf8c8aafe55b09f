// Two proxies on Node: http-proxy-3, the maintained http-proxy, on node:http with a keep-alive agent; and
// @fastify/http-proxy with undici, the usual gateway for people who already run fastify.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { nodeProcess, type Rival } from './rival.ts'

const require = createRequire(import.meta.url)

/** `name` is that of the package, `lack` why it takes no part with many routes. */
function proxy(name: string, script: string, lack: string): Rival {
  return {
    name,
    version: () => (require(`${name}/package.json`) as { version: string }).version,
    cannot: routes => (routes === 1 ? null : lack),
    async start({ upstreamPorts }) {
      const file = fileURLToPath(new URL(`./servers/${script}`, import.meta.url))
      const server = nodeProcess([file, ...upstreamPorts.map(String)])
      return server.running(Number(await server.printed(/^port (\d+)/m)))
    },
  }
}

export const httpProxy3 = proxy('http-proxy-3', 'http-proxy-3.mjs', 'has no router')
export const fastifyHttpProxy = proxy(
  '@fastify/http-proxy',
  'fastify-http-proxy.mjs',
  'makes one client pool for each prefix',
)
