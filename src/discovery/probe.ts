// Whether anybody listens at an address: one TCP connection, made and let go.
import { connect } from 'node:net'
import type { Instance } from './provider.ts'

/** Milliseconds that a connection may take. */
const PATIENCE = 1_000

/** False when the connection is refused, or not made in time. An instance without a port counts as reachable. */
export function isReachable({ host, port }: Instance, signal: AbortSignal): Promise<boolean> {
  if (port === 0) return Promise.resolve(true)
  return new Promise(resolve => {
    const socket = connect({ host, port, signal })
    const settle = (reachable: boolean) => {
      socket.destroy()
      resolve(reachable)
    }
    socket.setTimeout(PATIENCE, () => settle(false))
    socket.once('connect', () => settle(true))
    socket.on('error', () => settle(false))
  })
}
