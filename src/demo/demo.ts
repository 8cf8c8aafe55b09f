// sluice demo: three sample services and the gateway in front of them, in one process, with curl lines to paste.
import { createHmac, randomBytes } from 'node:crypto'
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
  env['DEMO_SECRET'] ??= randomBytes(32).toString('base64url')
  const gateway = new Gateway({ ...options, env })
  await gateway.start()
  const listener = gateway.listeners[0]!
  say(`gateway on http://127.0.0.1:${listener.port} (${listener.engine}), configured by ${options.file}`)
  say('')
  const places = {
    GATEWAY: `http://127.0.0.1:${listener.port}`,
    ADMIN: `http://127.0.0.1:${gateway.adminPort}`,
    TOKEN: token(env['DEMO_SECRET']),
  }
  for (const [what, given] of CURL) {
    let line = given
    for (const [name, value] of Object.entries(places)) line = line.replaceAll(name, value)
    say(`  # ${what}\n  curl ${line}`)
  }
  // From here on signals are heard: whoever reads the last line may send one.
  const ended = wait(gateway)
  say('\nEdit the file and save it: the gateway reloads. Ctrl-C ends it.')
  return ended
}

/** A token for the route `private`, good for a day. */
function token(secret: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: 'demo', aud: 'orders', sub: 'ann', iat: now, exp: now + 86_400 }
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** What each line shows, and what curl is given; [1-4] makes curl ask four times. */
const CURL: readonly [string, string][] = [
  ['orders: two versions, one after the other', '-s GATEWAY/orders/1'],
  ['orders v2 alone, by a header', "-s -H 'x-version: v2' GATEWAY/orders/1"],
  ['users: the path is rewritten on the way', '-s GATEWAY/api/users/42'],
  ['an answer of the gateway itself', '-i GATEWAY/hello'],
  ['a redirect', '-i GATEWAY/old/orders/1'],
  ['no such route: 404 as problem+json, with the request id', '-i GATEWAY/nowhere'],
  ['a known path, the wrong method: 405 with Allow', '-i -X DELETE GATEWAY/hello'],
  ['a service that is too slow for its route: 504', '-i "GATEWAY/orders/slow?delay=5000"'],
  ['a token is due: 401 with WWW-Authenticate', '-i GATEWAY/private/1'],
  ['with one: 200, and the service is told x-user-id', "-s -H 'authorization: Bearer TOKEN' GATEWAY/private/1"],
  ['three requests in 10 s, then 429 with Retry-After and RateLimit', '-s -i "GATEWAY/limited/[1-4]"'],
  ['a breaker: three failures open it, then 503 at once', '-s -i "GATEWAY/fragile/[1-4]?status=500"'],
  ['5 s later one good answer closes it again', '-s -i GATEWAY/fragile/1'],
  ['a canary by header: v2', "-s -i -H 'x-canary: always' GATEWAY/canary/1"],
  ['a canary by weight: one in five gets v2, by x-served-by and a cookie', '-s -i "GATEWAY/canary/[1-20]"'],
  ['what the gateway knows of its upstreams', '-s ADMIN/upstreams'],
]
