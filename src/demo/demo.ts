// sluice demo: three sample services and the gateway in front of them, in one process, with curl lines to paste.
import { Gateway, type GatewayOptions } from '../gateway.ts'
import { startService } from './service.ts'

const SERVICES = [
  { name: 'orders', version: 'v1', variable: 'ORDERS_V1' },
  { name: 'orders', version: 'v2', variable: 'ORDERS_V2' },
  { name: 'users', version: 'v1', variable: 'USERS' },
] as const

/** Run until a signal; `wait` serves and gives the exit code. Rejects as Gateway.start does. */
export async function runDemo(options: GatewayOptions, wait: (gateway: Gateway) => Promise<number>): Promise<number> {
  const env: Record<string, string | undefined> = { ...process.env }
  const say = (line: string) => process.stdout.write(`${line}\n`)
  for (const { name, version, variable } of SERVICES) {
    const { port } = await startService({ name, version, host: '127.0.0.1', port: 0 })
    env[variable] = `127.0.0.1:${port}`
    say(`service ${name} ${version} on http://127.0.0.1:${port}`)
  }
  const gateway = new Gateway({ ...options, env })
  await gateway.start()
  const listener = gateway.listeners[0]!
  say(`gateway on http://127.0.0.1:${listener.port} (${listener.engine}), configured by ${options.file}`)
  say('')
  for (const [what, arguments_] of CURL)
    say(
      `  # ${what}\n  curl ${arguments_.replaceAll('GATEWAY', `http://127.0.0.1:${listener.port}`).replaceAll('ADMIN', `http://127.0.0.1:${gateway.adminPort}`)}`,
    )
  say('\nEdit the file and save it: the gateway reloads. Ctrl-C ends it.')
  return wait(gateway)
}

const CURL: readonly [string, string][] = [
  ['orders: two versions, one after the other', '-s GATEWAY/orders/1'],
  ['orders v2 alone, by a header', "-s -H 'x-version: v2' GATEWAY/orders/1"],
  ['users: the path is rewritten on the way', '-s GATEWAY/api/users/42'],
  ['an answer of the gateway itself', '-i GATEWAY/hello'],
  ['a redirect', '-i GATEWAY/old/orders/1'],
  ['no such route: 404 as problem+json, with the request id', '-i GATEWAY/nowhere'],
  ['a known path, the wrong method: 405 with Allow', '-i -X DELETE GATEWAY/hello'],
  ['a service that is too slow for its route: 504', '-i "GATEWAY/orders/slow?delay=5000"'],
  ['what the gateway knows of its upstreams', '-s ADMIN/upstreams'],
]
