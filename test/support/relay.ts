// A relay in front of a real server: passes bytes on, stands still, breaks off, or answers itself what no server would.
import { once } from 'node:events'
import net from 'node:net'
import type { Test } from 'tap'

/** See the head of this file. Closed when the test is over. */
export class Relay {
  readonly address: string
  readonly #server: net.Server
  readonly #sockets: Set<net.Socket>
  readonly #state: RelayState

  constructor(server: net.Server, sockets: Set<net.Socket>, state: RelayState) {
    this.#server = server
    this.#sockets = sockets
    this.#state = state
    this.address = `127.0.0.1:${(server.address() as net.AddressInfo).port}`
  }

  /** Let bytes wait, in both directions, until it is turned off again. */
  stall(on: boolean): void {
    this.#state.stalled = on
    for (const socket of this.#sockets) on ? socket.pause() : socket.resume()
  }

  /** Answer every new connection with this once it has said something, instead of asking the server; null asks it again. */
  answer(bytes: string | null): void {
    this.#state.answer = bytes
    if (bytes !== null) this.breakOff()
  }

  /** Reset every new connection as soon as it says something. */
  reset(on: boolean): void {
    this.#state.resetting = on
    if (on) this.breakOff()
  }

  /** Reset all connections that there are. */
  breakOff(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** Told of what each connection says, in pieces. */
  set onData(listener: (data: Buffer) => void) {
    this.#state.onData = listener
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.breakOff()
    await once(this.#server, 'close')
  }
}

interface RelayState {
  stalled: boolean
  resetting: boolean
  answer: string | null
  onData: (data: Buffer) => void
}

/** Start one in front of `target` (`host:port`). */
export async function startRelay(t: Pick<Test, 'teardown'>, target: string): Promise<Relay> {
  const [host, port] = target.split(':') as [string, string]
  const sockets = new Set<net.Socket>()
  const state: RelayState = { stalled: false, resetting: false, answer: null, onData: () => {} }
  const keep = (socket: net.Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    if (state.stalled) socket.pause()
  }
  const server = net.createServer({ allowHalfOpen: true }, client => {
    keep(client)
    let upstream: net.Socket | null = null
    client.on('data', data => {
      state.onData(data)
      if (state.resetting) return client.resetAndDestroy()
      if (state.answer !== null) return void client.end(state.answer)
      upstream ??= connect(client)
      upstream.write(data)
    })
    client.on('end', () => upstream?.end())
    client.on('close', () => upstream?.destroy())
    // After the listeners: one that reads begins to flow.
    if (state.stalled) client.pause()
  })
  const connect = (client: net.Socket) => {
    const upstream = net.connect(Number(port), host)
    keep(upstream)
    upstream.on('data', data => client.write(data))
    upstream.on('end', () => client.end())
    upstream.on('close', () => client.destroy())
    return upstream
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay = new Relay(server, sockets, state)
  t.teardown(() => relay.close())
  return relay
}
