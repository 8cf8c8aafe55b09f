// What the kernel knows of a connection that the upstream broke off, and Node does not tell: the bytes before the reset,
// and that it was one.
import { readSync } from 'node:fs'
import type { Socket } from 'node:net'

// None of it is documented; where a part is missing, what was sent is lost as before (docs/decisions/0008).
interface BrokenHandle {
  readonly fd?: number
  /** Of TLS: takes bytes as if they came from the network. */
  receive?(bytes: Uint8Array): void
}

const SIZE = 64 * 1024
/** The connection is broken. */
const BROKEN = -1

/**
 * Read what the kernel still holds for a connection on which a write failed: nothing can follow it. `plain` takes it,
 * borrowed; TLS brings it by itself, as at any read. The socket may be destroyed meanwhile.
 */
export function readRemains(socket: Socket, plain: ((bytes: Buffer, length: number) => void) | null): void {
  const handle = handleOf(socket)
  const fd = handle?.fd ?? -1
  if (handle == null || fd < 0 || (plain === null && typeof handle.receive !== 'function')) return
  // The shared buffer may be in use: its bytes can lead to the write that failed.
  const bytes = Buffer.allocUnsafe(SIZE)
  // A descriptor that was closed may be another's by now.
  while (!socket.destroyed) {
    const length = readNow(fd, bytes)
    if (length <= 0) return
    if (plain !== null) plain(bytes, length)
    else handle.receive!(bytes.subarray(0, length))
  }
}

/** Whether the end that a socket told of was a reset: libuv takes one that comes with the last bytes for a FIN. */
export function wasReset(socket: Socket): boolean {
  const fd = handleOf(socket)?.fd ?? -1
  return fd >= 0 && readNow(fd, Buffer.allocUnsafe(1)) === BROKEN
}

function handleOf(socket: Socket): BrokenHandle | null | undefined {
  return (socket as unknown as { _handle?: BrokenHandle | null })._handle
}

/** Bytes that are there, 0 for none, or BROKEN. Sockets of libuv do not block. */
function readNow(fd: number, into: Buffer): number {
  try {
    return readSync(fd, into)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 0 : BROKEN
  }
}
