// The soak: a gateway as a process under good and bad clients, with upstreams killed and files reloaded, and what is left at its end.
import type { Test } from 'tap'
import { type ChildGateway, startChild } from '../child-gateway.ts'
import { eventually, pause } from '../within.ts'
import { malformed, shaky, slowReading, slowWriting, steady, Tally, vanishing } from './clients.ts'
import { Service } from './services.ts'

/** Clients of each kind. */
const CLIENTS = [
  [steady, 6],
  [shaky, 4],
  [vanishing, 4],
  [slowReading, 2],
  [slowWriting, 2],
  [malformed, 2],
] as const

/** What a soak found. */
export interface SoakReport {
  readonly seconds: number
  readonly requests: number
  readonly statuses: Readonly<Record<string, number>>
  readonly reloads: number
  readonly refused: number
  readonly kills: number
  /** Open descriptors before and after. */
  readonly descriptors: readonly [number, number]
  /** Resident memory in MiB: after the start, at half time, at the end, and when all clients were gone. */
  readonly memory: readonly number[]
  /** What must not be; empty when all is well. */
  readonly faults: readonly string[]
}

interface ShownUpstream {
  readonly endpoints: readonly {
    readonly address: string
    readonly inFlight: number
    readonly connections: { readonly open: number; readonly idle: number; readonly waiting: number }
  }[]
}

function config(version: number, stable: Service, killed: readonly Service[]): string {
  const endpoints = killed.map(({ port }, i) => `{ address: "127.0.0.1:${port}", weight: ${1 + ((version + i) % 3)} }`)
  return `listeners:
  - { name: web, port: 0, limits: { headers: ${16 + (version % 3)}KiB }, timeouts: { idle: 5s, requestHeader: 5s } }
admin: { port: 0 }
shutdown: { grace: 5s }
upstreams:
  steady: { endpoints: ["127.0.0.1:${stable.port}"], connections: { idle: 1s } }
  shaky:
    endpoints: [${endpoints.join(', ')}]
    connections: { idle: 1s }
    timeouts: { connect: 1s, response: ${5 + (version % 2)}s }
plugins: [request-id, { headers: { response: { set: { x-version: "${version}" } } } }]
routes:
  - { name: steady, match: { path: /steady/* }, upstream: steady }
  - { name: shaky, match: { path: /shaky/* }, upstream: shaky, timeout: ${10 + (version % 2)}s }
  - { name: v${version}, match: { path: /v${version} }, respond: { status: 200 } }
`
}

const BROKEN = ['', 'routes: [', 'listeners: 3\n', 'a: *a\n']

/** Run for so long; `say` is told how it goes. Processes are ended with `t`. */
export async function soak(
  t: Pick<Test, 'teardown'>,
  seconds: number,
  say: (line: string) => void = () => {},
): Promise<SoakReport> {
  const stable = new Service()
  const killed = [new Service(), new Service()]
  const services = [stable, ...killed]
  for (const service of services) {
    await service.start()
    t.teardown(() => service.kill())
  }
  const gateway = await startChild(t, config(0, stable, killed))
  // Whatever is opened once is open before the first count.
  for (const path of ['steady', 'shaky']) await (await fetch(`${gateway.url}/${path}/small`)).text()
  await gateway.reload(config(1, stable, killed))
  await pause(2500)
  const before = gateway.process.descriptors
  const memory = [gateway.process.memory]

  const tally = new Tally(gateway.port)
  const clients = CLIENTS.flatMap(([client, count]) => Array.from({ length: count }, () => client(tally)))
  let stopping = false
  let reloads = 0
  let refused = 0
  const reloading = async () => {
    for (let version = 2; !stopping; version++) {
      const broken = version % 3 === 0
      const text = broken ? BROKEN[version % BROKEN.length]! : config(version, stable, killed)
      const { ok, faults } = await gateway.reload(text)
      if (ok === broken) tally.fault(`reload ${version}: ${faults.join()}`)
      if (ok) reloads++
      else refused++
      await pause(500)
    }
  }
  const killing = async () => {
    for (let i = 0; !stopping; i++) {
      await pause(1500)
      const service = killed[i % killed.length]!
      await service.kill()
      // Sometimes both are gone at once.
      if (i % 4 === 3) await killed[(i + 1) % 2]!.kill()
      await pause(400)
      for (const each of i % 4 === 3 ? killed : [service]) await each.start()
    }
  }
  const background = [reloading(), killing()]
  const ended = Promise.all([...clients, ...background])
  const step = Math.min(60, seconds / 2)
  for (let at = step; at <= seconds; at += step) {
    await Promise.race([pause(step * 1000), ended])
    if (gateway.process.ended !== null) throw new Error(`the gateway ended: ${gateway.process.err.slice(-4000)}`)
    memory.push(gateway.process.memory)
    say(
      `${at.toFixed(0)} s: ${tally.requests} requests, ${memory.at(-1)!.toFixed(0)} MiB, ${tally.faults.length} faults`,
    )
  }
  stopping = true
  await Promise.all(background)
  tally.running = false
  await ended

  const faults = tally.faults
  // Idle connections to upstreams leave after a second; nothing else may need to.
  let left = await underWay(gateway)
  for (let i = 0; left.length > 0 && i < 30; i++) {
    await pause(500)
    left = await underWay(gateway)
  }
  faults.push(...left, ...errorsOf(gateway))
  await eventually(
    () => gateway.process.descriptors <= before,
    () => `${gateway.process.descriptors} descriptors, ${before} before`,
    15_000,
  ).catch(error => faults.push((error as Error).message))
  const after = gateway.process.descriptors
  memory.push(gateway.process.memory)
  gateway.process.kill('SIGTERM')
  const exit = await gateway.process.exit()
  if (exit.code !== 0) faults.push(`it ended with ${JSON.stringify(exit)}`)
  return {
    seconds,
    requests: tally.requests,
    statuses: Object.fromEntries([...tally.statuses].sort()),
    reloads,
    refused,
    kills: services.reduce((sum, service) => sum + service.kills, 0),
    descriptors: [before, after],
    memory: memory.map(Math.round),
    faults,
  }
}

/** What /upstreams still counts. */
async function underWay(gateway: ChildGateway): Promise<string[]> {
  const found: string[] = []
  for (const { endpoints } of (await gateway.page('/upstreams')).body as ShownUpstream[]) {
    for (const { address, inFlight, connections } of endpoints) {
      const { open, waiting } = connections
      if (inFlight + open + waiting > 0) found.push(`${address}: ${JSON.stringify({ inFlight, ...connections })}`)
    }
  }
  return found
}

/** Errors in the log that neither a broken file nor a killed upstream explains. */
function errorsOf(gateway: ChildGateway): string[] {
  const expected = (msg: string) => msg.startsWith('the new configuration is faulty')
  const found = gateway.process.log.filter(({ level, msg }) => level >= 50 && !expected(msg))
  return found.slice(0, 20).map(entry => JSON.stringify(entry))
}
