// What an upstream sent before it broke the connection off: the kernel keeps it behind the reset, where Node drops it.
import { readSync } from 'node:fs'
import type { Socket } from 'node:net'

// None of it is documented; where a part is missing, what was sent is lost as before (docs/decisions/0008).
interface BrokenHandle {
  readonly fd?: number
  /** Of TLS: takes bytes as if they came from the network. */
  receive?(bytes: Uint8Array): void
}

const SIZE = 64 * 1024

/**
 * Read what the kernel still holds for a connection on which a write failed: nothing can follow it. `plain` takes it,
 * borrowed; TLS brings it by itself, as at any read. The socket may be destroyed meanwhile.
 */
export function readRemains(socket: Socket, plain: ((bytes: Buffer, length: number) => void) | null): void {
  const handle = (socket as unknown as { _handle?: BrokenHandle | null })._handle
  const fd = handle?.fd ?? -1
  if (handle == null || fd < 0 || (plain === null && typeof handle.receive !== 'function')) return
  // The shared buffer may be in use: its bytes can lead to the write that failed.
  const bytes = Buffer.allocUnsafe(SIZE)
  // A descriptor that was closed may be another's by now.
  while (!socket.destroyed) {
    const length = readNow(fd, bytes)
    if (length === 0) return
    if (plain !== null) plain(bytes, length)
    else handle.receive!(bytes.subarray(0, length))
  }
}

/** Bytes that are there, 0 for none. Sockets of libuv do not block. */
function readNow(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into)
  } catch {
    return 0
  }
}
