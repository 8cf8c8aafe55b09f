// Counters in Redis, exact over any number of gateways: decisions by script, a bounded wait, and what is done without an answer.
// Over 300 lines because no other file names ioredis: what is set, and worked around, stands beside its use.
import { hash, randomUUID } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import type { Log } from '../log.ts'
import { countStoreSwitch, type ShownStore, showStore } from '../metrics.ts'
import { Batch, Decision, Waiting } from './batch.ts'
import { Circuit, type CircuitOwner } from './circuit.ts'
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
/** Questions that go out in one call: Redis serves nobody else meanwhile. */
const MAX_BATCH = 64
/** Keys that may stand in Redis as they are. Others could be long, or hold braces that name another slot. */
const PLAIN_KEY = /^[A-Za-z0-9.:/_-]{1,64}$/

/** See the head of this file. `now` stands in for Redis's clock in tests. */
export class RedisStore implements CounterStore, CircuitOwner, Decisions, ShownStore {
  readonly name: string
  readonly #options: StoreOptions
  readonly #log: Log
  readonly #now: Now | null
  readonly #memory: MemoryStore
  readonly #id = randomUUID()
  readonly #circuits = new Map<string, Circuit>()
  #client: Redis | Cluster | null = null
  /** What was asked and has not gone out. */
  #batch: Batch | null = null
  /** The end of this turn of the loop is waited for. */
  #turning = false
  /** Calls under way. */
  #calls = 0
  #beat: NodeJS.Timeout | null = null
  #closed = false
  /** What the last connection suffered from, in the words of the system or the server. */
  #trouble: string | null = null
  /** The server refused the database: the connection is ready all the same, and would count in another. */
  #misplaced = false
  readonly #hide: () => void
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
    this.#hide = showStore(this)
    this.ready = this.#connect()
  }

  async #connect(): Promise<void> {
    const { Cluster, Redis } = await import('ioredis')
    quickenStrings()
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
    client.on('error', (error: Error & { command?: { name: string } }) => {
      this.#trouble = error.message
      if (error.command?.name === 'select') this.#misplaced = true
    })
    client.on('connect', () => {
      this.#trouble = null
      this.#misplaced = false
    })
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

  /** No server of it is given up. */
  get up(): boolean {
    for (const { open } of this.#circuits.values()) if (open) return false
    return true
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
    return PLAIN_KEY.test(key) ? `${id}:${key}` : `${id}:#${hash('sha1', key)}`
  }

  decide(question: Question, tag: string, need: number, want: number, settle: Settle): void {
    const circuit = this.#circuitOf(tag)
    const { cluster, prefix } = this.#options
    if (!this.#connected(circuit, tag)) {
      settle(null)
      return
    }
    const heard = settle as (answer: unknown) => void
    const now = this.#now === null ? null : Math.floor(this.#now())
    this.#batch ??= new Batch()
    this.#batch.add(new Decision(circuit, heard, question, `${prefix}:{${tag}}:`, need, want, now))
    // The keys of one call must be on one server.
    if (cluster || this.#batch.size === MAX_BATCH) this.#send()
    else this.#awaitTurn()
  }

  /** False, and a failure, without a connection. */
  #connected(circuit: Circuit, tag: string): boolean {
    circuit.tag = tag
    if (this.#client?.status === 'ready' && !this.#misplaced) return true
    circuit.failed(this.#trouble ?? 'there is no connection')
    return false
  }

  #awaitTurn(): void {
    if (this.#turning) return
    this.#turning = true
    setImmediate(this.#turned)
  }

  /**
   * All that is asked in a turn of the loop goes out in one call, and what is asked while a call is under way in the
   * next: a call costs many times what a question does.
   */
  readonly #turned = (): void => {
    this.#turning = false
    this.#batch?.begin()
    if (this.#calls === 0) this.#send()
  }

  #send(): void {
    const batch = this.#batch
    this.#batch = null
    if (batch === null) return
    batch.begin()
    if (!batch.close()) return
    this.#calls++
    this.#call(DECIDE, batch.keys, batch.args, (error, answer) => {
      this.#calls--
      if (this.#batch !== null) this.#awaitTurn()
      batch.answered(error, answer)
    })
  }

  /** Run a script; `done` hears of it once. */
  #call(
    script: Script,
    keys: readonly string[],
    args: readonly string[],
    done: (error: Error | null, answer: unknown) => void,
  ): void {
    const client = this.#client
    if (client === null) {
      done(new Error('the store is closed'), null)
      return
    }
    client.evalsha(script.sha, keys.length, ...keys, ...args, (error, answer) => {
      // EVAL teaches the script as well. Even when nobody waits any more: those after it would miss it too.
      if (error?.message.startsWith('NOSCRIPT')) client.eval(script.text, keys.length, ...keys, ...args, told)
      else told(error, answer)
    })
    function told(error: Error | null | undefined, answer: unknown): void {
      done(error ?? null, answer)
    }
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
    if (!this.#connected(circuit, tag)) {
      done()
      return
    }
    const asked = new Waiting(circuit, answer => {
      if (tag === 'gateways' && typeof answer === 'number') {
        this.gateways = Math.max(1, answer)
      }
      done()
    })
    // Also while its circuit is open: this is what closes it.
    circuit.begin(asked)
    this.#call(ALIVE, [`${this.#options.prefix}:{${tag}}:alive`], [this.#id], (error, answer) => {
      if (error === null) asked.succeed(answer)
      else asked.fail(error.message)
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
    // What it has not answered must not count when it comes back. A cluster's other servers keep their connections.
    if (!this.#options.cluster && reason === 'no answer in time') this.#client?.disconnect(true)
  }

  closed(circuit: Circuit): void {
    this.#log.info('a store answers again', { store: this.name, ...at(circuit) })
    countStoreSwitch(this.name, 'up')
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#hide()
    if (this.#beat !== null) clearInterval(this.#beat)
    for (const circuit of this.#circuits.values()) circuit.giveUp()
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

/**
 * ioredis declares a class that extends String, and that leaves String.prototype in V8's slow form: every method of every
 * string in the process is then looked up in a dictionary, for some 10 µs a request. V8 puts it right when code
 * that has run a few times reads a method through an object.
 */
function quickenStrings(): void {
  const object = Object('')
  for (let i = 0; i < 16; i++) readMethod(object)
}

function readMethod(object: string): unknown {
  return object.charCodeAt
}

function reconnectAfter(times: number): number {
  return Math.min(50 * times, 500)
}
