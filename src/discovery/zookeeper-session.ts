// One session with ZooKeeper over one connection: node-zookeeper-client, held to what a gateway can live with.
// The client connects anew by itself for ever, throws out of its socket's events over bytes it does not understand, never
// notices a server that stands still, and cannot be closed before it is connected. Here a session ends with its
// connection, whatever ends that; nothing is lost by it, since a reader keeps nothing in a session but watches.
import type { Socket } from 'node:net'
import type { Client, Event, Exception } from 'node-zookeeper-client'
import { AnswerError } from './ask.ts'
import { MAX_ANSWER } from './provider.ts'

/** The package, as `import()` gives it. */
export type Package = typeof import('node-zookeeper-client')

/** Milliseconds that one server may take to open a session. */
const PATIENCE = 1_500
/** Milliseconds that the goodbye may take. */
const GOODBYE = 1_000
/** Milliseconds after which the server forgets a session that it does not hear of. */
const SESSION_TIMEOUT = 30_000

// Codes of the protocol.
const NO_NODE = -101
const NO_AUTH = -102
// States of the client's connection manager.
const CLOSING = -1
const CONNECTED = 2
const CONNECTED_READ_ONLY = 3

/** What is reached for inside the client, as it is in 1.1.3. */
interface Manager {
  socket?: Socket
  pendingBuffer: Buffer | null
  connectTimeoutHandler: NodeJS.Timeout | null
  connect(): void
  setState(state: number): void
  onSocketData(data: Buffer): void
  on(event: 'state', listener: (state: number) => void): void
}

/** Where to open a session, and as who. */
export interface SessionOptions {
  /** `host:port` of each server. */
  readonly servers: readonly string[]
  /** `''` or a path that all others start from. */
  readonly chroot: string
  /** `user:password`. */
  readonly digest: string | null
}

/** Told once when a watch fires. The same function may be given for many paths, and again for one that has it. */
export type Watcher = (event: Event) => void

/** See the head of this file. */
export class Session {
  /** When the server last said anything, by `performance.now()`. */
  heardAt = 0
  readonly #client: Client
  readonly #manager: Manager
  readonly #onEnd = new Set<(failure: Error) => void>()
  #failure: Error | null = null

  private constructor(client: Client) {
    this.#client = client
    this.#manager = (client as unknown as { connectionManager: Manager }).connectionManager
    const manager = this.#manager
    const read = manager.onSocketData
    manager.onSocketData = data => {
      this.heardAt = performance.now()
      try {
        read.call(manager, data)
      } catch {
        this.destroy(new AnswerError('zookeeper says what is not understood'))
      }
      if ((manager.pendingBuffer?.length ?? 0) > MAX_ANSWER)
        this.destroy(new AnswerError('zookeeper says something too large'))
    }
  }

  /** Open a session at one of the servers, whichever answers first in a random order. Rejects when none does. */
  static async open(zookeeper: Package, options: SessionOptions, signal: AbortSignal): Promise<Session> {
    const left = [...options.servers]
    for (;;) {
      const [server] = left.splice(Math.floor(Math.random() * left.length), 1)
      const client = zookeeper.createClient(`${server}${options.chroot}`, { sessionTimeout: SESSION_TIMEOUT })
      if (options.digest !== null) client.addAuthInfo('digest', Buffer.from(options.digest))
      const session = new Session(client)
      try {
        await session.#connect(server!, signal)
        return session
      } catch (error) {
        if (signal.aborted || left.length === 0) throw error
      }
    }
  }

  #connect(server: string, signal: AbortSignal): Promise<void> {
    const manager = this.#manager
    return new Promise<void>((resolve, reject) => {
      let reason = 'the connection was closed'
      const abort = () => this.destroy(signal.reason)
      const late = setTimeout(() => this.destroy(new AnswerError(`zookeeper at ${server} opens no session`)), PATIENCE)
      const settle = () => {
        clearTimeout(late)
        signal.removeEventListener('abort', abort)
      }
      this.onEnd(error => {
        settle()
        reject(error)
      })
      manager.on('state', state => {
        if (state === CONNECTED || state === CONNECTED_READ_ONLY) {
          settle()
          resolve()
        } else if (state <= 0 && state !== CLOSING) this.destroy(new AnswerError(`zookeeper at ${server}: ${reason}`))
      })
      this.#client.connect()
      manager.connect = () => {}
      // The client makes its socket in the next tick.
      process.nextTick(() => {
        manager.socket?.on('error', error => {
          reason = error.message
        })
      })
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort)
    })
  }

  get ended(): boolean {
    return this.#failure !== null
  }

  /** Be told when the session ends, unless it has; returns what takes that back. */
  onEnd(listener: (failure: Error) => void): () => void {
    this.#onEnd.add(listener)
    return () => void this.#onEnd.delete(listener)
  }

  /** Names of a node's children; null when there is no such node, and then `watcher` is told of its creation. */
  async children(path: string, watcher: Watcher): Promise<readonly string[] | null> {
    for (;;) {
      const names = await this.#ask<string[]>(path, done => this.#client.getChildren(path, watcher, done))
      if (names !== null) return names
      const stat = await this.#ask<object>(path, done => this.#client.exists(path, watcher, done))
      if (stat === null) return null
    }
  }

  /** A node's data; null when there is no such node, and then nothing is watched. */
  async data(path: string, watcher: Watcher): Promise<Buffer | null> {
    const data = await this.#ask<Buffer | { none: true }>(path, done => {
      // Nodes without data give none.
      this.#client.getData(path, watcher, (error, data) => done(error, data ?? { none: true }))
    })
    return data !== null && 'none' in data ? Buffer.alloc(0) : data
  }

  /** One question; null for "no node". Rejects too when the session ends: the client forgets what it has not sent. */
  #ask<T>(path: string, ask: (done: (error: Error | Exception | null, value: T) => void) => void): Promise<T | null> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure)
      const forget = this.onEnd(reject)
      ask((error, value) => {
        forget()
        const code = error === null ? 0 : (error as Exception).code
        if (code === 0) resolve(value ?? null)
        else if (code === NO_NODE) resolve(null)
        else if (code === NO_AUTH) reject(new AnswerError(`zookeeper does not let us read ${path}`))
        else reject(new AnswerError(`zookeeper at ${path}: ${(error as Error).message}`))
      })
    })
  }

  /** End the session as it should be: the server is told, and has a moment to say goodbye. */
  close(): void {
    if (this.#failure !== null) return
    const { socket } = this.#manager
    this.#client.close()
    setTimeout(() => socket?.destroy(), GOODBYE).unref()
    this.#end(new Error('the session was closed'))
  }

  /** End the session now. */
  destroy(failure: Error): void {
    if (this.#failure !== null) return
    const manager = this.#manager
    this.#end(failure)
    if (manager.connectTimeoutHandler !== null) clearTimeout(manager.connectTimeoutHandler)
    manager.setState(CLOSING)
    if (manager.socket !== undefined) manager.socket.destroy()
    else
      process.nextTick(() => {
        if (manager.connectTimeoutHandler !== null) clearTimeout(manager.connectTimeoutHandler)
        manager.socket?.destroy()
      })
  }

  #end(failure: Error): void {
    this.#failure = failure
    for (const listener of [...this.#onEnd]) listener(failure)
    this.#onEnd.clear()
  }
}
