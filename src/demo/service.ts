// A sample service to put behind the gateway: it says who it is and what it was asked; also a program of its own.
import { existsSync, realpathSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { parseArgs } from 'node:util'

/** Who a sample service is. */
export interface ServiceOptions {
  readonly name: string
  readonly version: string
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
}

/**
 * Start one. `GET /healthz` is 200; `?delay=500` answers that many milliseconds later, `?status=503` with that
 * status; everything else is a JSON body that names the service and the request. Rejects when it cannot listen.
 */
export function startService({ name, version, host, port }: ServiceOptions): Promise<{ server: Server; port: number }> {
  const server = createServer((request, response) => {
    // Not as a URL: `//` is none, and what a client sends must not end a demo.
    const [path, query] = (request.url ?? '/').split('?', 2)
    if (path === '/healthz') {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('ok\n')
      return
    }
    const asked = new URLSearchParams(query)
    const delay = Math.min(Number(asked.get('delay')) || 0, 60_000)
    const status = Number(asked.get('status')) || 200
    let received = 0
    request.on('data', chunk => {
      received += chunk.length
    })
    request.on('end', () => {
      const answer = () => {
        response.writeHead(status >= 200 && status <= 599 ? status : 200, { 'content-type': 'application/json' })
        response.end(
          `${JSON.stringify({ service: name, version, method: request.method, path: request.url, received, headers: request.headers }, null, 2)}\n`,
        )
      }
      if (delay === 0) answer()
      else setTimeout(answer, delay)
    })
  })
  server.keepAliveTimeout = 60_000
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      const address = server.address()
      resolve({ server, port: typeof address === 'object' && address !== null ? address.port : port })
    })
  })
}

async function run(): Promise<void> {
  const { values } = parseArgs({
    options: {
      name: { type: 'string', default: 'orders' },
      version: { type: 'string', default: 'v1' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '0' },
    },
  })
  const { server, port } = await startService({ ...values, port: Number(values.port) })
  process.stdout.write(`${values.name} ${values.version} on http://${values.host}:${port}\n`)
  process.on('SIGTERM', () => {
    server.close()
    server.closeAllConnections()
  })
}

// By its real path: a folder may be a link, or have a name that a URL writes otherwise.
const program = process.argv[1] ?? ''
if (existsSync(program) && realpathSync(program) === import.meta.filename) await run()
