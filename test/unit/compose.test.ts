// Holds Dockerfile and docker-compose.yml to the rules of their formats that they use, and to the files and ports they name.
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { z } from 'zod'
import { ROOT } from '../support/root.ts'

const text = (file: string) => fs.readFileSync(path.join(ROOT, file), 'utf8')

const argv = z.array(z.string()).min(1)
const composeDuration = z
  .string()
  .regex(/^(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$/)
  .regex(/\d/)

const service = z
  .strictObject({
    image: z.string().regex(/^[a-z0-9][a-z0-9./_-]*(:[\w][\w.-]*)?$/),
    build: z.strictObject({ context: z.string(), target: z.string() }).optional(),
    entrypoint: argv.optional(),
    command: argv.optional(),
    init: z.boolean().optional(),
    read_only: z.boolean().optional(),
    cap_drop: z.array(z.literal('ALL')).optional(),
    security_opt: z.array(z.literal('no-new-privileges:true')).optional(),
    restart: z.enum(['no', 'always', 'on-failure', 'unless-stopped']).optional(),
    stop_grace_period: composeDuration.optional(),
    profiles: z.array(z.string()).optional(),
    ports: z.array(z.string().regex(/^(\d+\.\d+\.\d+\.\d+:)?\d{1,5}:\d{1,5}(\/(tcp|udp))?$/)).optional(),
    volumes: z.array(z.string().regex(/^[^:]+:\/[^:]*(:ro)?$/)).optional(),
    depends_on: z
      .record(
        z.string(),
        z.strictObject({ condition: z.enum(['service_started', 'service_healthy', 'service_completed_successfully']) }),
      )
      .optional(),
    healthcheck: z
      .strictObject({
        test: argv.refine(test => test[0] === 'CMD' || test[0] === 'CMD-SHELL', 'begins with CMD or CMD-SHELL'),
        interval: composeDuration,
        timeout: composeDuration,
        retries: z.int().min(1),
      })
      .optional(),
  })
  .describe('The part of the compose specification that docker-compose.yml uses; anything else is a slip.')

const compose = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9_-]*$/),
  services: z.record(z.string().regex(/^[a-z0-9][a-z0-9_-]*$/), service),
})
type Service = z.output<typeof service>

interface GatewayFile {
  listeners: { host: string; port: number }[]
  admin: { host: string; port: number }
  stores: Record<string, { url: string }>
  upstreams: Record<string, { endpoints: (string | { address: string })[] }>
}

/** Words of a Dockerfile, one instruction each; continued lines joined, comments dropped. */
function instructions(): { word: string; rest: string }[] {
  return text('Dockerfile')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter(line => line.trim() !== '' && !line.startsWith('#'))
    .map(line => {
      const [word = '', ...rest] = line.trim().split(/\s+/)
      return { word, rest: rest.join(' ') }
    })
}

function portOf(one: Service): number {
  return Number(one.command?.[one.command.indexOf('--port') + 1])
}

t.test('docker-compose.yml keeps to the rules of its format', async t => {
  const document = compose.parse(parse(text('docker-compose.yml'), { strict: true, uniqueKeys: true }))
  const { services } = document
  const published = new Set<string>()
  for (const [name, one] of Object.entries(services)) {
    for (const other of Object.keys(one.depends_on ?? {})) {
      t.ok(services[other], `${name} depends on ${other}, which is there`)
      if (one.depends_on?.[other]?.condition === 'service_healthy') {
        t.ok(services[other]?.healthcheck, `${other}, waited for as healthy, has a health check`)
      }
    }
    for (const port of one.ports ?? []) {
      const [outer = '', inner = ''] = port.split(':').slice(-2)
      for (const number of [outer, inner])
        t.ok(Number(number) > 0 && Number(number) < 65_536, `${name}: ${number} is a port`)
      t.notOk(published.has(outer), `${outer} is published once`)
      published.add(outer)
    }
    for (const volume of one.volumes ?? []) {
      const from = volume.split(':')[0]!
      t.ok(fs.existsSync(path.join(ROOT, from)), `${name}: ${from} is there to be mounted`)
    }
    if (one.build !== undefined) {
      const stages = instructions().flatMap(i => (i.word === 'FROM' ? [/ AS (\S+)$/i.exec(i.rest)?.[1]] : []))
      t.ok(stages.includes(one.build.target), `${name} is built from a stage of the Dockerfile`)
    }
  }
  const built = new Set(Object.values(services).flatMap(one => (one.build === undefined ? [] : [one.image])))
  for (const [name, one] of Object.entries(services)) {
    if (one.image.endsWith(':local')) t.ok(built.has(one.image), `${name}: ${one.image} is built here`)
  }
})

t.test('the gateway of docker-compose.yml is configured for what stands beside it', async t => {
  const { services } = compose.parse(parse(text('docker-compose.yml')))
  const gateway = services['gateway']!
  const file = gateway.command?.[gateway.command.indexOf('-c') + 1] ?? ''
  const config = parse(text(file)) as GatewayFile
  const inner = (gateway.ports ?? []).map(port => Number(port.split(':').at(-1)))
  t.strictSame(
    inner,
    [...config.listeners.map(l => l.port), config.admin.port],
    'every port that it opens is published',
  )
  for (const { host } of [...config.listeners, config.admin])
    t.equal(host, '0.0.0.0', 'reachable from outside the container')
  const admin = gateway.ports?.find(port => port.endsWith(`:${config.admin.port}`))
  t.match(admin, /^127\.0\.0\.1:/, 'the admin port is published on loopback only')
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    for (const endpoint of upstream.endpoints) {
      const [host = '', port] = (typeof endpoint === 'string' ? endpoint : endpoint.address).split(':')
      t.ok(services[host], `${name}: ${host} is a service`)
      t.equal(portOf(services[host]!), Number(port), `${host} listens where ${name} looks for it`)
      t.ok(
        services[host]?.healthcheck?.test.some(arg => arg.includes(`:${port}/`)),
        `${host} is probed on its own port`,
      )
    }
  }
  for (const { url } of Object.values(config.stores)) t.ok(services[new URL(url).hostname], `${url} is a service`)
})

t.test('Dockerfile ships what is there, and not as root', async t => {
  const all = instructions()
  const stages = new Set<string>()
  let user = 'root'
  for (const { word, rest } of all) {
    if (word === 'FROM') {
      const match = /^\S+ AS (\S+)$/i.exec(rest)
      t.ok(match, `FROM ${rest}: the stage has a name`)
      stages.add(match?.[1] ?? '')
      user = 'root'
    } else if (word === 'COPY') {
      const words = rest.split(' ')
      const from = words[0]?.startsWith('--from=') ? words.shift()!.slice('--from='.length) : null
      if (from !== null) t.ok(stages.has(from), `COPY --from=${from}: the stage came before`)
      else
        for (const source of words.slice(0, -1))
          t.ok(fs.existsSync(path.join(ROOT, source)), `COPY ${source}: it is there`)
    } else if (word === 'USER') user = rest
    else t.match(word, /^(RUN|WORKDIR|ENV|EXPOSE|HEALTHCHECK|ENTRYPOINT|CMD)$/, `${word} is an instruction`)
  }
  t.notMatch(user, /^(root|0)(:|$)/, 'the last stage runs as somebody else')
  const health = all.find(i => i.word === 'HEALTHCHECK')?.rest ?? ''
  t.match(health, /\/readyz/, 'the health check asks /readyz')
  for (const { word, rest } of all) {
    const array = rest.slice(rest.indexOf('['))
    if (word === 'ENTRYPOINT' || word === 'CMD' || word === 'HEALTHCHECK')
      t.ok(argv.parse(JSON.parse(array)), `${word} is in exec form`)
  }
  const ignored = text('.dockerignore').split('\n')
  for (const { word, rest } of all) {
    if (word !== 'COPY' || rest.startsWith('--from=')) continue
    for (const source of rest.split(' ').slice(0, -1))
      t.notOk(ignored.includes(source), `${source} is not kept out by .dockerignore`)
  }
})
