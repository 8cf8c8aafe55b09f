// Whether anybody listens at an address: one TCP connection, made and let go.
import { connect, type LookupFunction } from 'node:net'

/** Milliseconds that a connection may take. */
const PATIENCE = 1_000

/** False when the connection is refused, or not made in time. */
export function isReachable(
  { host, port }: { readonly host: string; readonly port: number },
  lookup: LookupFunction,
  signal: AbortSignal,
): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, port, lookup, signal })
    const settle = (reachable: boolean) => {
      socket.destroy()
      resolve(reachable)
    }
    socket.setTimeout(PATIENCE, () => settle(false))
    socket.once('connect', () => settle(true))
    socket.on('error', () => settle(false))
  })
}
