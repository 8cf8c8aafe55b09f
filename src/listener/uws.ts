// The uws engine: uWebSockets.js in front, on request. What it cannot do stands in docs/engines.md.
import { createServer } from 'node:net'
import type { Receiver } from '../http/downstream.ts'
import { bodyLimit, type Engine, type Listener, type ListenerOptions, listenerOptions } from './listener.ts'
import { UwsDownstream, type UwsOwner } from './uws-downstream.ts'
import { addressText, UwsHeadReader } from './uws-head.ts'
import {
  headRoom,
  type LoadedUws,
  loadUws,
  type UwsApp,
  type UwsListenSocket,
  type UwsRequest,
  type UwsResponse,
} from './uws-load.ts'

/** Fields that the library has room for, compiled in: with Host. */
const MOST_FIELDS = 98
/** Its one timeout, compiled in: between requests, to a complete head, and to any progress of an answer. */
const IDLE = 30_000
/** As of the native engine: a first request may be on its way (listener/connection.ts). */
const JUST_COME = 500
/** It comes at most this late: the library's clock ticks every four seconds. */
const IDLE_AT_MOST = 34_000

/**
 * What a listener asks for that this engine cannot do, one sentence each; empty when it can be served. Needs no
 * library: for the check of a configuration. Defaults always pass, as nobody asked for them.
 */
export function uwsFaults(options: Pick<ListenerOptions, 'limits' | 'timeouts'>): string[] {
  const byDefault = listenerOptions.parse({ name: 'any', port: 0 })
  const faults: string[] = []
  const { idle, requestHeader } = options.timeouts
  if (options.limits.headers > headRoom()) {
    faults.push(
      `limits.headers: engine uws takes at most ${headRoom()} bytes, or UWS_HTTP_MAX_HEADERS_SIZE where it is set`,
    )
  }
  if (options.limits.headerCount > MOST_FIELDS && options.limits.headerCount !== byDefault.limits.headerCount) {
    faults.push(`limits.headerCount: engine uws takes at most ${MOST_FIELDS} fields`)
  }
  if (options.limits.pipelining !== byDefault.limits.pipelining) {
    faults.push('limits.pipelining: engine uws serves one request of a connection at a time')
  }
  if (idle !== IDLE && idle !== byDefault.timeouts.idle) {
    faults.push('timeouts.idle: engine uws closes idle connections after 30s, whatever is asked for')
  }
  if (requestHeader !== IDLE && requestHeader !== byDefault.timeouts.requestHeader) {
    faults.push('timeouts.requestHeader: engine uws waits 30s for a head, whatever is asked for')
  }
  return faults
}

class UwsListener implements Listener, UwsOwner {
  readonly name: string
  readonly host: string
  readonly engine: string
  maxBody: number
  port = 0
  connections = 0
  draining = false

  readonly #library: LoadedUws
  readonly #receiver: Receiver
  #heads: UwsHeadReader
  readonly #app: UwsApp
  #socket: UwsListenSocket | null = null
  /**
   * The address of all clients since there was last none, '' where there are several. The library asks the kernel for it
   * at each request, which costs a microsecond; behind a balancer one address is the rule.
   */
  #peer = ''
  #inFlight = 0
  /** Until then the library may hold bytes of an answer that is over for us. */
  #pendingUntil = 0
  /** When the last connection came, by performance.now(). */
  #cameAt = Number.NEGATIVE_INFINITY
  #closed = false
  #onEmpty: (() => void) | null = null

  constructor(options: ListenerOptions, receiver: Receiver, library: LoadedUws) {
    this.name = options.name
    this.host = options.host
    this.engine = `uws (${library.how})`
    this.maxBody = bodyLimit(options)
    this.#library = library
    this.#receiver = receiver
    this.#heads = headReader(options)
    this.#app = library.uws.App({})
    this.#app.filter((res, count) => this.#counted(res, count))
    this.#app.any('/*', (res, req) => this.#request(res, req))
  }

  /** False when the address cannot be had. */
  listen(port: number): boolean {
    const { uws } = this.#library
    // By default it would share the port with whoever listens on it already.
    this.#app.listen(this.host, port, uws.LIBUS_LISTEN_EXCLUSIVE_PORT, socket => {
      if (socket !== false) this.#socket = socket
    })
    if (this.#socket === null) return false
    this.port = uws.us_socket_local_port(this.#socket)
    return true
  }

  /** From the next request on; timeouts are the library's own. */
  reconfigure(options: ListenerOptions): void {
    this.maxBody = bodyLimit(options)
    this.#heads = headReader(options)
  }

  drain(): Promise<void> {
    this.draining = true
    this.stopAccepting()
    return new Promise(resolve => {
      this.#onEmpty = resolve
      if (this.connections === 0) resolve()
      else if (this.#inFlight === 0) this.#closeIdle()
    })
  }

  destroy(): void {
    this.draining = true
    this.stopAccepting()
    if (this.#closed) return
    this.#closed = true
    this.#app.close()
  }

  finished(pending: boolean): void {
    this.#inFlight--
    if (pending) this.#pendingUntil = performance.now() + IDLE_AT_MOST
    // Not from within the write that ends the answer: its bytes leave when that returns.
    if (this.draining && this.#inFlight === 0) setImmediate(() => this.#closeIdle())
  }

  stopAccepting(): void {
    if (this.#socket === null) return
    this.#library.uws.us_listen_socket_close(this.#socket)
    this.#socket = null
  }

  async acceptAgain(): Promise<void> {
    if (!this.draining && !this.listen(this.port)) throw await listenFault(this.host, this.port)
  }

  /**
   * The library can close all connections or none. So all go once no request is in flight; unless it may still hold
   * bytes of an answer: then its own idle timeout ends them.
   */
  #closeIdle(): void {
    const now = performance.now()
    if (this.#inFlight > 0 || now < this.#pendingUntil) return
    const left = this.#cameAt + JUST_COME - now
    if (left > 0) setTimeout(() => this.#closeIdle(), left)
    else this.destroy()
  }

  /** A connection came or went. */
  #counted(res: UwsResponse, count: number): void {
    this.connections += count
    if (count > 0) {
      this.#cameAt = performance.now()
      const address = addressText(res.getRemoteAddress())
      if (this.connections === 1) this.#peer = address
      else if (address !== this.#peer) this.#peer = ''
    } else if (this.connections === 0) this.#onEmpty?.()
  }

  #request(res: UwsResponse, req: UwsRequest): void {
    const heads = this.#heads
    const head = heads.read(req, this.#peer !== '' ? this.#peer : addressText(res.getRemoteAddress()))
    this.#inFlight++
    if (head === null) {
      this.#refuse(res, req.getCaseSensitiveMethod())
      return
    }
    const down = new UwsDownstream(this, res, head.method, head.bodyLength, heads.close, heads.closesItself)
    try {
      this.#receiver.receive(head, down)
    } finally {
      down.attach()
    }
  }

  /**
   * Answered only after this read: what else stands in it may be read as a next request by the library, and must meet
   * an answer that is due, for then the library closes the connection and hands on nothing.
   */
  #refuse(res: UwsResponse, method: string): void {
    const { error, closesItself } = this.#heads
    const down = new UwsDownstream(this, res, method, 0, true, closesItself)
    down.attach()
    setImmediate(() => this.#receiver.refuse(error, down))
  }
}

function headReader(options: ListenerOptions): UwsHeadReader {
  const { headers, headerCount } = options.limits
  return new UwsHeadReader({ bytes: headers, count: headerCount, body: bodyLimit(options) })
}

/** The system's reason why an address cannot be had: the library tells none, so Node is asked to try the same. */
function listenFault(host: string, port: number): Promise<Error> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', resolve)
    server.listen({ host, port }, () => {
      server.close(() => {
        const text = `uWebSockets.js cannot listen on ${host}:${port}`
        resolve(Object.assign(new Error(text), { code: 'EADDRINUSE', address: host, port }))
      })
    })
  })
}

/**
 * The engine on uWebSockets.js, which is loaded by the first `listen`. Rejects with ERR_UWS_UNAVAILABLE, what was tried
 * and what to install where it cannot be; with ERR_UWS_UNSUPPORTED for what it cannot do; else with the system's code.
 */
export const uwsEngine: Engine = {
  async listen(options: ListenerOptions, receiver: Receiver, makeWay = () => {}): Promise<Listener> {
    const faults = uwsFaults(options)
    if (faults.length > 0) {
      const text = `listener ${options.name}: ${faults.join('; ')}`
      throw Object.assign(new Error(text), { code: 'ERR_UWS_UNSUPPORTED' })
    }
    const listener = new UwsListener(options, receiver, loadUws())
    makeWay()
    if (listener.listen(options.port)) return listener
    throw await listenFault(options.host, options.port)
  },
}
