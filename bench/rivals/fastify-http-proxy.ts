// @fastify/http-proxy with undici, the usual gateway for people who already run fastify.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { type Rival, RivalProcess } from './rival.ts'

const require = createRequire(import.meta.url)

export const fastifyHttpProxy: Rival = {
  name: '@fastify/http-proxy',
  version: () => (require('@fastify/http-proxy/package.json') as { version: string }).version,
  cannot: routes => (routes === 1 ? null : 'makes one client pool for each prefix'),
  async start({ upstreamPorts }) {
    const script = fileURLToPath(new URL('./servers/fastify-http-proxy.mjs', import.meta.url))
    const server = new RivalProcess(process.execPath, [script, ...upstreamPorts.map(String)], {
      ...process.env,
      NODE_OPTIONS: '',
      NODE_ENV: 'production',
    })
    return server.running(Number(await server.printed(/^port (\d+)/m)))
  },
}
