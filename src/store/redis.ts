// Counters in Redis, exact over any number of gateways: one script a request, a bounded wait, and what is done without an answer.
import { createHash, randomUUID } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import type { Log } from '../log.ts'
import { countStoreSwitch, forgetStore, storeGateways, storeUp } from '../metrics.ts'
import { type Asked, Circuit, type CircuitOwner } from './circuit.ts'
import type { Decisions, Question, Settle } from './decision.ts'
import { ExactCounter } from './exact.ts'
import { hashSlot } from './hash-slot.ts'
import { addresses, type StoreOptions } from './kinds.ts'
import { LeasedCounter } from './lease.ts'
import { type MemoryCounter, MemoryStore, monotonic, type Now } from './memory.ts'
import { ALIVE, DECIDE, type Script } from './script.ts'
import { type Counter, type CounterOptions, type CounterStore, LET_THROUGH, type Tally, TURNED_AWAY } from './store.ts'

/** How often a gateway says that it is alive, and a store that failed is probed, in milliseconds. */
const BEAT = 1_000
/** Longest that a start or a reload waits for the first connection, in milliseconds. */
const FIRST_CONNECTION = 1_000
/** Keys that may stand in Redis as they are. Others could be long, or hold braces that name another slot. */
const PLAIN_KEY = /^[A-Za-z0-9.:/_-]{1,64}$/

/** See the head of this file. `now` stands in for Redis's clock in tests. */
export class RedisStore implements CounterStore, CircuitOwner, Decisions {
  readonly name: string
  readonly #options: StoreOptions
  readonly #log: Log
  readonly #now: Now | null
  readonly #memory: MemoryStore
  readonly #id = randomUUID()
  readonly #circuits = new Map<string, Circuit>()
  #client: Redis | Cluster | null = null
  /** The socket whose writes of this turn of the loop go out as one; null between turns. */
  #corked: Redis['stream'] | null = null
  readonly #uncork = () => {
    this.#corked?.uncork()
    this.#corked = null
  }
  #beat: NodeJS.Timeout | null = null
  #closed = false
  /** Resolves when the first connection stands or has failed; for a start, which goes on either way. Never rejects. */
  readonly ready: Promise<void>
  /** Gateways that were alive when Redis was last heard of, this one among them. */
  gateways = 1

  constructor(name: string, options: StoreOptions, log: Log, now: Now | null = null) {
    this.name = name
    this.#options = options
    this.#log = log
    this.#now = now
    this.#memory = new MemoryStore(name, now ?? undefined)
    storeUp(name, true)
    this.ready = this.#connect()
  }

  async #connect(): Promise<void> {
    const { Cluster, Redis } = await import('ioredis')
    if (this.#closed) return
    const [first, ...others] = addresses(this.#options.url)
    const every = {
      // With 1, ioredis neither sends again nor rejects what was under way when the first reconnection succeeds.
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      connectTimeout: FIRST_CONNECTION,
      // A server that stopped takes no connection down with it: this one would hold what was sent for ever.
      socketTimeout: 5_000,
      // A primary that became a replica: its address may lead to another one now.
      reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    }
    const own = { lazyConnect: true, enableOfflineQueue: false }
    let client: Redis | Cluster
    if (this.#options.cluster) {
      const { username, password, protocol } = new URL(first!)
      client = new Cluster([first!, ...others], {
        ...own,
        enableAutoPipelining: true,
        slotsRefreshTimeout: FIRST_CONNECTION,
        slotsRefreshInterval: 5_000,
        clusterRetryStrategy: reconnectAfter,
        redisOptions: {
          ...every,
          ...(username === '' ? {} : { username: decodeURIComponent(username) }),
          ...(password === '' ? {} : { password: decodeURIComponent(password) }),
          ...(protocol === 'rediss:' ? { tls: {} } : {}),
        },
      })
    } else client = new Redis(first!, { ...every, ...own, retryStrategy: reconnectAfter })
    this.#client = client
    // Every failure is told of by its circuit; without a listener ioredis prints them.
    client.on('error', () => {})
    const connected = new Promise<void>(done => {
      setTimeout(done, FIRST_CONNECTION).unref()
      for (const event of ['ready', 'error', 'end']) client.once(event, () => done())
    })
    client.connect().catch(() => {})
    await connected
    if (this.#closed) return
    this.#beat = setInterval(() => this.#tick(), BEAT)
    this.#beat.unref()
    await new Promise<void>(done => this.#announce(this.#circuitOf('gateways'), 'gateways', done))
  }

  counter(options: CounterOptions): Counter {
    const local = this.#memory.counter(options)
    if (options.lease === 0) return new ExactCounter(this, options, local)
    return new LeasedCounter(this, options, local, this.#now ?? monotonic)
  }

  /** What `onFailure` makes of a request that Redis did not decide on. */
  without(local: MemoryCounter, key: string, cost: number): Tally {
    switch (this.#options.onFailure) {
      case 'local':
        local.standIn(this.gateways)
        return local.hit(key, cost)
      case 'allow':
        return LET_THROUGH
      case 'deny':
        return TURNED_AWAY
    }
  }

  /** True while the server that has this tag may be asked. */
  usable(tag: string): boolean {
    return this.#client !== null && !this.#circuitOf(tag).open
  }

  /** The tag of a client's key: the client chooses neither the slot nor the length. `id` begins it. */
  tagOf(id: string, key: string): string {
    return PLAIN_KEY.test(key) ? `${id}:${key}` : `${id}:#${createHash('sha1').update(key).digest('hex')}`
  }

  decide(question: Question, tag: string, need: number, want: number, settle: Settle): void {
    const args: string[] = []
    for (let i = 0; i < question.count; i++) args.push(`${this.#options.prefix}:{${tag}}:${i}`)
    args.push(question.limits, String(need), String(want))
    if (this.#now !== null) args.push(String(Math.floor(this.#now())))
    this.#ask(DECIDE, question.count, args, tag, this.#circuitOf(tag), settle as (answer: unknown) => void)
  }

  #ask(
    script: Script,
    keys: number,
    args: readonly string[],
    tag: string,
    circuit: Circuit,
    settle: (answer: unknown) => void,
  ): void {
    circuit.tag = tag
    const client = this.#client
    if (client === null || client.status !== 'ready') {
      circuit.failed('there is no connection')
      settle(null)
      return
    }
    const waiting = new Waiting(settle)
    circuit.begin(waiting)
    const done = (error: Error | null | undefined, answer: unknown): void => {
      if (error === null || error === undefined) {
        if (waiting.settled) return
        waiting.settled = true
        circuit.succeeded()
        settle(answer)
      } else if (!retried && error.message.startsWith('NOSCRIPT')) {
        retried = true
        // EVAL teaches the script as well. Even when nobody waits any more: those after it would miss it too.
        if (!waiting.settled) client.eval(script.text, keys, ...args, done)
      } else if (!waiting.settled) {
        waiting.settled = true
        circuit.failed(error.message)
        settle(null)
      }
    }
    let retried = false
    if (!this.#options.cluster && this.#corked === null) this.#cork(client as Redis)
    client.evalsha(script.sha, keys, ...args, done)
  }

  /**
   * Let all that is asked in this turn of the loop go out in one write. Instead of ioredis's own pipelining, which costs two
   * more promises a command, and holds back what comes after a pipeline that is not answered.
   */
  #cork({ stream }: Redis): void {
    this.#corked = stream
    stream.cork()
    setImmediate(this.#uncork)
  }

  #circuitOf(tag: string): Circuit {
    const client = this.#client
    const node = this.#options.cluster && client !== null ? ((client as Cluster).slots[hashSlot(tag)]?.[0] ?? '') : ''
    let circuit = this.#circuits.get(node)
    if (circuit === undefined) {
      circuit = new Circuit(node, this.#options.budget, this)
      this.#circuits.set(node, circuit)
    }
    return circuit
  }

  /** Once a second: say that this gateway is alive, and probe what failed. */
  #tick(): void {
    const main = this.#circuitOf('gateways')
    this.#announce(main, 'gateways')
    for (const circuit of this.#circuits.values())
      if (circuit.open && circuit !== main) this.#announce(circuit, circuit.tag)
  }

  #announce(circuit: Circuit, tag: string, done: () => void = () => {}): void {
    const key = `${this.#options.prefix}:{${tag}}:alive`
    this.#ask(ALIVE, 1, [key, this.#id], tag, circuit, answer => {
      if (tag === 'gateways' && typeof answer === 'number') {
        this.gateways = Math.max(1, answer)
        storeGateways(this.name, this.gateways)
      }
      done()
    })
  }

  opened(circuit: Circuit, reason: string): void {
    const { onFailure } = this.#options
    this.#log.warn('a store does not answer', {
      store: this.name,
      ...at(circuit),
      reason,
      onFailure,
      gateways: this.gateways,
    })
    countStoreSwitch(this.name, 'down')
    storeUp(this.name, false)
    // What it has not answered must not count when it comes back. A cluster's other servers keep their connections.
    if (!this.#options.cluster && reason === 'no answer in time') this.#client?.disconnect(true)
  }

  closed(circuit: Circuit): void {
    this.#log.info('a store answers again', { store: this.name, ...at(circuit) })
    countStoreSwitch(this.name, 'up')
    storeUp(this.name, ![...this.#circuits.values()].some(({ open }) => open))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    forgetStore(this.name)
    if (this.#beat !== null) clearInterval(this.#beat)
    for (const circuit of this.#circuits.values()) circuit.close()
    const client = this.#client
    this.#client = null
    if (client === null) return
    if (client.status !== 'ready') client.disconnect()
    else {
      const end = () => client.disconnect()
      client.zrem(`${this.#options.prefix}:{gateways}:alive`, this.#id).then(end, end)
      setTimeout(end, 100).unref()
    }
  }
}

function at({ node }: Circuit): Record<string, string> {
  return node === '' ? {} : { node }
}

function reconnectAfter(times: number): number {
  return Math.min(50 * times, 500)
}

/** One question on its way. */
class Waiting implements Asked {
  deadline = 0
  settled = false
  readonly #settle: (answer: unknown) => void

  constructor(settle: (answer: unknown) => void) {
    this.#settle = settle
  }

  giveUp(): void {
    this.settled = true
    this.#settle(null)
  }
}
