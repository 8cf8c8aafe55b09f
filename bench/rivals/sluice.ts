// Sluice itself, built, as a user would start it: one process, one YAML file, the scenario's plugins.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { routePrefix } from '../load/scenario.ts'
import { nodeProcess, type Rival } from './rival.ts'

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url))
const PACKAGE = fileURLToPath(new URL('../../package.json', import.meta.url))

/** Probed once a second, five times as often as by default. */
const DISCOVERED =
  '{ discover: { from: list, service: bench }, health: { active: { path: /healthz?bytes=1, interval: 1s } } }'

/** Waited for longer than by default: Redis shares a core with the driver, and what it is late with would not be measured. */
function store(port: number): string {
  return `{ shared: { kind: redis, url: "redis://127.0.0.1:${port}", budget: 500ms } }`
}

/** As long as the usual host: requests of both are of one length. */
const BARE_HOST = 'plain.test'

function sluice(engine: 'native' | 'uws'): Rival {
  return {
    name: `sluice (${engine})`,
    version() {
      if (!fs.existsSync(MAIN)) return null
      const { version } = JSON.parse(fs.readFileSync(PACKAGE, 'utf8')) as { version: string }
      return `${version} ${commit()}`.trim()
    },
    async start({ upstreamPorts, routes, plugins, discovered, redisPort, folder }) {
      const file = path.join(folder, 'gateway.yaml')
      const entries =
        routes === 1
          ? [`  - { name: all, match: { path: /* }, upstream: bench, plugins: ${plugins ?? '[]'} }`]
          : Array.from(
              { length: routes },
              (_, i) => `  - { name: r${i}, match: { path: ${routePrefix(i)}/* }, upstream: bench }`,
            )
      const endpoints = upstreamPorts.map(p => `"127.0.0.1:${p}"`).join(', ')
      const adds = plugins !== null || discovered
      if (adds) entries.push(`  - { name: bare, match: { host: ${BARE_HOST}, path: /* }, upstream: bench-listed }`)
      fs.writeFileSync(path.join(folder, 'endpoints.json'), `[${endpoints}]`)
      fs.writeFileSync(
        file,
        `listeners:
  - { name: web, host: 127.0.0.1, port: 0, engine: ${engine} }
admin: off
upstreams:
  bench: ${discovered ? DISCOVERED : `{ endpoints: [${endpoints}] }`}
  bench-v2: { endpoints: [${endpoints}] }
  bench-listed: { endpoints: [${endpoints}] }
${discovered ? 'discovery: { list: { kind: file, path: ./endpoints.json } }\n' : ''}${redisPort === null ? '' : `stores: ${store(redisPort)}\n`}routes:
${entries.join('\n')}
`,
      )
      const server = nodeProcess([MAIN, 'start', '-c', file])
      // One line a listener with its real port: the first thing on it that looks like an address and port.
      const running = server.running(Number(await server.printed(/127\.0\.0\.1:(\d+)/)))
      return adds ? { ...running, bareHost: BARE_HOST } : running
    },
  }
}

function commit(): string {
  try {
    const cwd = path.dirname(PACKAGE)
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return ''
  }
}

export const sluiceNative = sluice('native')
export const sluiceUws = sluice('uws')
