// http-proxy-3, the maintained http-proxy, on node:http with a keep-alive agent.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { type Rival, RivalProcess } from './rival.ts'

const require = createRequire(import.meta.url)

export const httpProxy3: Rival = {
  name: 'http-proxy-3',
  version: () => (require('http-proxy-3/package.json') as { version: string }).version,
  cannot: routes => (routes === 1 ? null : 'has no router'),
  async start({ upstreamPorts }) {
    const script = fileURLToPath(new URL('./servers/http-proxy-3.mjs', import.meta.url))
    const server = new RivalProcess(process.execPath, [script, ...upstreamPorts.map(String)], {
      ...process.env,
      NODE_OPTIONS: '',
      NODE_ENV: 'production',
    })
    return server.running(Number(await server.printed(/^port (\d+)/m)))
  },
}
