// The native engine: our HTTP/1.1 codec on node:net.
import { createServer, type Server, Socket } from 'node:net'
import type { Receiver } from '../http/downstream.ts'
import { Connection } from './connection.ts'
import { takePort } from './handover.ts'
import type { Engine, Listener, ListenerOptions } from './listener.ts'

/**
 * Reads of all plain connections land here: what a callback does not use at once it copies. Saves an allocation and
 * the stream machinery on each read.
 */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024)

class NativeListener implements Listener {
  readonly name: string
  readonly host: string
  readonly engine = 'native'
  port = 0
  #options: ListenerOptions
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  #onEmpty: (() => void) | null = null

  constructor(options: ListenerOptions, receiver: Receiver) {
    this.name = options.name
    this.host = options.host
    this.#options = options
    // pauseOnConnect: nothing is read until the handle has our buffer.
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true, highWaterMark: 64 * 1024 })
    // Accepting can fail later (EMFILE): the listener goes on and the client sees a refused connection.
    this.#server.on('error', () => {})
    this.#server.on('connection', accepted => {
      const connection = new Connection(this.#options, receiver, this)
      this.#connections.add(connection)
      connection.attach(withReadBuffer(accepted, this.#server, connection))
    })
  }

  listen(port: number, makeWay: () => void): Promise<void> {
    return takePort(this.#server, { host: this.host, port, backlog: 4096 }, makeWay).then(real => {
      this.port = real
      if (this.draining) this.#server.close()
    })
  }

  stopAccepting(): void {
    this.#server.close()
  }

  acceptAgain(): Promise<void> {
    return this.listen(this.port, () => {})
  }

  get connections(): number {
    return this.#connections.size
  }

  /** True once no further request may begin on an open connection. */
  draining = false

  forget(connection: Connection): void {
    this.#connections.delete(connection)
    if (this.#connections.size === 0) this.#onEmpty?.()
  }

  reconfigure(options: ListenerOptions): void {
    this.#options = options
  }

  drain(): Promise<void> {
    this.draining = true
    this.#server.close()
    return new Promise(resolve => {
      this.#onEmpty = resolve
      for (const connection of this.#connections) connection.drain()
      if (this.#connections.size === 0) resolve()
    })
  }

  destroy(): void {
    this.draining = true
    this.#server.close()
    for (const connection of this.#connections) connection.destroy()
  }
}

interface HandleHolder {
  _handle: unknown
  _server?: unknown
}

/**
 * Give an accepted connection our read buffer. Node takes `onread` only where a socket is made, so the handle moves
 * to a socket made for it; without a handle (never seen) the accepted socket is read by events.
 */
function withReadBuffer(accepted: Socket, server: Server, connection: Connection): Socket {
  const holder = accepted as unknown as HandleHolder
  const handle = holder._handle
  if (handle === null || handle === undefined) {
    accepted.on('data', chunk => connection.read(chunk, chunk.length))
    accepted.resume()
    return accepted
  }
  holder._handle = null
  const socket = new Socket({
    handle,
    allowHalfOpen: true,
    highWaterMark: 64 * 1024,
    onread: {
      buffer: readBuffer,
      callback: (length: number, bytes: Uint8Array) => {
        connection.read(bytes as Buffer, length)
        return true
      },
    },
  } as unknown as ConstructorParameters<typeof Socket>[0])
  // The server counts its connections through this field; without it close() would never report the end.
  ;(socket as unknown as HandleHolder)._server = server
  socket.resume()
  return socket
}

/** The default engine. */
export const nativeEngine: Engine = {
  listen(options: ListenerOptions, receiver: Receiver, makeWay = () => {}): Promise<Listener> {
    const listener = new NativeListener(options, receiver)
    return listener.listen(options.port, makeWay).then(() => listener)
  },
}
