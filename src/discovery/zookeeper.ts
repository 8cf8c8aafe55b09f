// ZooKeeper: the children of a service's node and their data, read again when a watch fires.
import { z } from 'zod'
import { together } from '../units.ts'
import { abortable, waitAtMost } from './abortable.ts'
import { AnswerError, asLabels, asMap } from './ask.ts'
import { isPort, LeftOut, type Reading, readEntry } from './entry.ts'
import {
  type DiscoveryProvider,
  defineProvider,
  type Found,
  type Instance,
  MAX_ANSWER,
  type ProviderContext,
  WAIT,
} from './provider.ts'
import { type Package, Session, type SessionOptions, type Watcher } from './zookeeper-session.ts'

/** So many children are read at a time. */
const AT_ONCE = 64
const SERVER = /^[\w.-]+(?::\d{1,5})?$/
const PATH = /^(?:\/[^/\p{Cc}]+)+$/u

/** Options of `kind: zookeeper`. */
export const zookeeperOptions = z
  .strictObject({
    address: z
      .string()
      .refine(text => parseConnect(text) !== null, {
        error: 'servers are due, such as 10.0.0.1:2181,10.0.0.2:2181 or 10.0.0.1:2181/a/path',
      })
      .describe('Servers, separated by commas; behind them optionally a path that all others start from.'),
    prefix: z
      .string()
      .regex(/^\//, { error: 'a path is due, such as /services/' })
      .default('/services/')
      .describe('Instances of a service are the children of the node PREFIX + service.'),
    user: z.string().min(1).optional().describe('Name for the scheme `digest`; needs `password`.'),
    password: z.string().min(1).optional().describe('Password of `user`.'),
  })
  .refine(...together('user', 'password'))

/** A connect string taken apart; null when it is none. */
export function parseConnect(text: string): { readonly servers: readonly string[]; readonly chroot: string } | null {
  const slash = text.indexOf('/')
  const chroot = slash === -1 ? '' : text.slice(slash).replace(/\/$/, '')
  const servers = (slash === -1 ? text : text.slice(0, slash)).split(',').map(server => server.trim())
  const good = servers.every(server => SERVER.test(server) && isPort(Number(server.split(':')[1] ?? 1)))
  return good && (chroot === '' || isPath(chroot)) ? { servers, chroot } : null
}

function isPath(path: string): boolean {
  return PATH.test(path) && !path.split('/').some(part => part === '.' || part === '..')
}

/** The children of a service's node, by name. */
export function parseChildren(children: ReadonlyMap<string, Uint8Array>): Reading {
  const instances: Instance[] = []
  const leftOut: string[] = []
  for (const [name, data] of children) {
    const instance = parseChild(name, Buffer.from(data).toString('utf8'))
    if (typeof instance === 'string') leftOut.push(`${name} ${instance}`)
    else if (instance !== null) instances.push(instance)
  }
  return { instances, leftOut }
}

/** `host:port` as data, or as the name of a node without data, or JSON. Null for an instance that takes no traffic. */
function parseChild(name: string, data: string): Instance | string | null {
  if (data.trim() === '') return readEntry(name)
  if (!data.trimStart().startsWith('{')) return readEntry(data)
  let value: unknown
  try {
    value = JSON.parse(data)
  } catch {
    return 'is no JSON'
  }
  return parseCurator(asMap(value))
}

/**
 * An instance as Curator's service discovery writes it. Its payload is the application's own: where it is a map, or
 * holds one as `metadata` (Spring Cloud), that becomes the labels, and a `weight` in it counts.
 */
function parseCurator(value: Readonly<Record<string, unknown>>): Instance | string | null {
  const { address, port, sslPort, payload, enabled } = value
  const { metadata } = asMap(payload)
  if (enabled === false || isOutOfService(asMap(metadata))) return null
  // How Curator's Java writes the payload down is nothing that the instance says.
  const { '@class': _type, ...facts } = asMap(metadata ?? payload)
  const labels = { ...asLabels(facts), ...asLabels(value['labels']) }
  const weight = value['weight'] ?? (facts['weight'] === undefined ? 1 : Number(facts['weight'] || Number.NaN))
  const instance = readEntry({ address, port: port ?? sslPort, weight, labels })
  if (typeof instance === 'string' || !isPort(port) || !isPort(sslPort)) return instance
  return { ...instance, ports: { http: port, https: sslPort } }
}

/** How Spring Cloud takes an instance out of service without ending it: no status is as good as UP. */
function isOutOfService({ instance_status: status }: Readonly<Record<string, unknown>>): boolean {
  return typeof status === 'string' && status !== '' && status.toUpperCase() !== 'UP'
}

/** What is known of one service's node within one session: read once, and again only where a watch fired. */
class ServiceNode {
  readonly session: Session
  readonly #path: string
  #names: readonly string[] | null | undefined = undefined
  #data = new Map<string, Buffer>()
  /** Raised when a watch fires: what was read before is of an older world then. */
  #version = 0
  readonly #waiting = new Set<() => void>()

  constructor(session: Session, path: string) {
    this.session = session
    this.#path = path
  }

  /** One function for all paths and all time: the client keeps each function that it is given until its path fires. */
  readonly #fired: Watcher = ({ path }) => {
    this.#version++
    if (path.length > this.#path.length) this.#data.delete(path.slice(this.#path.length + 1))
    else this.#names = undefined
    for (const wake of this.#waiting) wake()
  }

  get version(): number {
    return this.#version
  }

  /** Read everything again next time. */
  forget(): void {
    this.#names = undefined
    this.#data.clear()
  }

  /** Wait until a watch fires, WAIT at most; rejects when the session ends or the signal is aborted. */
  async change(signal: AbortSignal): Promise<void> {
    const wait = waitAtMost(WAIT, signal)
    const unsubscribe = this.session.onEnd(wait.fail)
    this.#waiting.add(wait.wake)
    try {
      await wait.done
    } finally {
      this.#waiting.delete(wait.wake)
      unsubscribe()
    }
    // Even when nothing fired the server is asked: a dead connection is noticed by it.
    this.#names = undefined
  }

  /** Children and their data. What a watch fired about meanwhile is not kept. */
  async read(): Promise<ReadonlyMap<string, Buffer>> {
    const version = this.#version
    const known = new Map(this.#data)
    const names = this.#names === undefined ? await this.session.children(this.#path, this.#fired) : this.#names
    const found = new Map<string, Buffer>()
    let size = 0
    for (let at = 0; names !== null && at < names.length; at += AT_ONCE) {
      const some = names.slice(at, at + AT_ONCE)
      const data = await Promise.all(
        some.map(name => known.get(name) ?? this.session.data(`${this.#path}/${name}`, this.#fired)),
      )
      for (const [i, name] of some.entries()) {
        const one = data[i]
        // Gone since the list was made.
        if (one === null || one === undefined) continue
        size += one.length
        found.set(name, one)
      }
      if (size > MAX_ANSWER) throw new AnswerError(`the service holds more than ${MAX_ANSWER / 1024 / 1024} MiB`)
    }
    if (this.#version === version) {
      this.#names = names
      this.#data = new Map(found)
    }
    return found
  }
}

type Options = z.output<typeof zookeeperOptions>

class Zookeeper implements DiscoveryProvider {
  readonly #package: Package
  readonly #prefix: string
  readonly #where: SessionOptions
  readonly #leftOut: LeftOut
  readonly #closed = new AbortController()
  #session: Promise<Session> | null = null
  /** Tells a session's cursors from those of the one before. */
  #sessions = 0
  /** By service, of the current session. */
  readonly #nodes = new Map<string, ServiceNode>()

  constructor(zookeeper: Package, options: Options, { name, log }: ProviderContext) {
    const { address, prefix, user, password } = options
    this.#package = zookeeper
    this.#prefix = prefix.endsWith('/') ? prefix : `${prefix}/`
    this.#where = { ...parseConnect(address)!, digest: user === undefined ? null : `${user}:${password}` }
    this.#leftOut = new LeftOut(name, log)
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    const path = `${this.#prefix}${service}`
    if (!isPath(path)) throw new AnswerError(`${JSON.stringify(path)} is no path of a node`)
    const session = await abortable(this.#open(), signal)
    let node = this.#nodes.get(service)
    if (node?.session !== session) {
      node = new ServiceNode(session, path)
      this.#nodes.set(service, node)
    }
    if (cursor === null) node.forget()
    else if (cursor === `${this.#sessions}/${node.version}`) await node.change(signal)
    const version = node.version
    const askedAt = performance.now()
    try {
      const { instances, leftOut } = parseChildren(await abortable(node.read(), signal))
      this.#leftOut.tell(service, leftOut)
      return { instances, cursor: `${this.#sessions}/${version}` }
    } catch (error) {
      // A server that stands still keeps its connection; whoever comes next had better have another one.
      if (signal.aborted && session.heardAt < askedAt) session.destroy(new AnswerError('zookeeper does not answer'))
      throw error
    }
  }

  forget(service: string): void {
    this.#nodes.delete(service)
    this.#leftOut.forget(service)
  }

  close(): void {
    this.#closed.abort()
    this.#session?.then(session => session.close()).catch(() => {})
    this.#session = null
    this.#nodes.clear()
  }

  /** The session, the same for all services; a new one when it has ended. */
  #open(): Promise<Session> {
    if (this.#session !== null) return this.#session
    const opening = Session.open(this.#package, this.#where, this.#closed.signal)
    this.#session = opening
    this.#sessions++
    const over = () => {
      if (this.#session === opening) this.#session = null
    }
    opening.then(session => (session.ended ? over() : session.onEnd(over))).catch(over)
    return opening
  }
}

/** The definition of `kind: zookeeper`. */
export const zookeeper = defineProvider({
  kind: 'zookeeper',
  options: zookeeperOptions,
  async create(options, context) {
    let found: Package & { default?: Package }
    try {
      found = await import('node-zookeeper-client')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
      throw new Error(
        'kind: zookeeper needs the package node-zookeeper-client, which is not installed: npm install node-zookeeper-client',
      )
    }
    return new Zookeeper(found.default ?? found, options, context)
  },
})
