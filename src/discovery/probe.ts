// Whether anybody listens at an address: one TCP connection, made and let go.
import { connect, type LookupFunction } from 'node:net'

/** Milliseconds that a connection may take. */
const PATIENCE = 1_000

/** False when the connection is refused, not made in time, or given up. */
export function isReachable(
  { host, port }: { readonly host: string; readonly port: number },
  lookup: LookupFunction,
  signal: AbortSignal,
): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, port, lookup })
    const settle = (reachable: boolean) => {
      signal.removeEventListener('abort', stop)
      socket.destroy()
      resolve(reachable)
    }
    const stop = () => settle(false)
    // Not by the option of `connect`: Node.js never takes back the listener that it adds for it, which holds the socket.
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop)
    socket.setTimeout(PATIENCE, () => settle(false))
    socket.once('connect', () => settle(true))
    socket.on('error', () => settle(false))
  })
}
