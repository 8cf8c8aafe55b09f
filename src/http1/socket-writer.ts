// Writing small texts to a plain TCP socket without the stream machinery, which costs more than the write itself.
import type { Socket } from 'node:net'

// What is used of a libuv stream handle. None of it is documented, so each part is looked for before it is used, and
// where one is missing every write goes the documented way (docs/decisions/0008).
interface StreamHandle {
  /** 0 or an error. Node 26 takes no request: it makes one where bytes are left over, and gives it back. */
  writeLatin1String(request: WriteRequest | null, text: string): number | WriteRequest
  readonly writeQueueSize: number
}

interface WriteRequest {
  oncomplete: ((status: number) => void) | null
  handle: StreamHandle | null
  /** Of Node 26: how a write ended that did so before anybody listened. */
  writeStatus?: number | null
}

type WriteRequestClass = new () => WriteRequest

/** What Node itself writes with: null for none, which is for Node 26 to make; undefined until that was seen. */
let requestClass: WriteRequestClass | null | undefined
/** One request serves all writes that the kernel takes at once: libuv keeps it only when bytes are left over. */
let spare: WriteRequest | null = null

/** Node's own class of write requests, if it has one: seen when a socket first writes text by itself. */
function learn(handle: StreamHandle): void {
  const original = handle.writeLatin1String
  handle.writeLatin1String = function (request, text) {
    requestClass = request === null ? null : (request.constructor as WriteRequestClass)
    // The prototype's method again: the handle is as it was.
    delete (handle as { writeLatin1String?: unknown }).writeLatin1String
    return original.call(this, request, text)
  }
}

/** What one read brings, and room for the head or the framing around it. */
const SLAB = 72 * 1024
/** Slabs kept for the next chunk. Without them each chunk is garbage that V8 collects only when 30 MiB have gathered. */
const MAX_SLABS = 64
const slabs: Buffer[] = []

/** Writes to one socket, in order with what is written to the socket itself. */
export class SocketWriter {
  readonly socket: Socket
  /** Bytes handed over by this writer. */
  #submitted = 0
  #handle: StreamHandle | null
  /** Writes of ours that libuv still holds. */
  #held = 0
  #failed = false
  readonly #onDrain: () => void
  readonly #onFail: (() => void) | null
  /** Tells of a write of the stream's that failed: Node destroys the socket behind it. */
  readonly #written: ((error?: Error | null) => void) | undefined

  /**
   * `onDrain` is called when the kernel has taken all after a write that returned false. `onFail` is called after a write
   * failed, in a turn of its own and before the socket is destroyed for it; a write that failed at once returns false.
   */
  constructor(socket: Socket, fast: boolean, onDrain: () => void, onFail: (() => void) | null = null) {
    this.socket = socket
    this.#onDrain = onDrain
    this.#onFail = onFail
    if (onFail !== null) {
      this.#written = error => {
        if (error != null && !socket.destroyed) onFail()
      }
    }
    const handle = fast ? (socket as unknown as { _handle?: StreamHandle | null })._handle : null
    const usable =
      handle != null && typeof handle.writeLatin1String === 'function' && typeof handle.writeQueueSize === 'number'
    this.#handle = usable ? handle : null
    if (usable && requestClass === undefined) learn(handle)
    socket.on('drain', () => {
      if (this.#held === 0) onDrain()
    })
    socket.on('close', () => {
      this.#handle = null
    })
  }

  /** Write latin1 text. False: wait for the drain. */
  text(text: string): boolean {
    this.#submitted += text.length
    const handle = this.#handle
    const socket = this.socket
    if (handle === null || requestClass === undefined || socket.writableLength > 0) {
      return socket.write(text, 'latin1', this.#written)
    }
    const request = requestClass === null ? null : (spare ?? new requestClass())
    spare = null
    if (request !== null) request.oncomplete = null
    const result = handle.writeLatin1String(request, text)
    if (typeof result !== 'number') {
      this.#hold(result, handle)
      return false
    }
    if (result === 0 && request !== null && handle.writeQueueSize > 0) {
      this.#hold(request, handle)
      return false
    }
    spare = request
    return result === 0 || this.#fail()
  }

  /** libuv keeps the request until the kernel takes the rest. */
  #hold(request: WriteRequest, handle: StreamHandle): void {
    this.#held++
    request.handle = handle
    request.oncomplete = status => {
      this.#held--
      if (status < 0) this.#fail()
      else if (this.#held === 0 && this.socket.writableLength === 0) this.#onDrain()
    }
    const { writeStatus } = request
    if (writeStatus == null) return
    request.writeStatus = null
    request.oncomplete(writeStatus)
  }

  /** The connection is broken. False where the owner will hear of it. */
  #fail(): boolean {
    this.#failed = true
    const onFail = this.#onFail
    if (onFail === null) {
      this.socket.destroy()
      return true
    }
    process.nextTick(() => {
      if (!this.socket.destroyed) onFail()
      this.socket.destroy()
    })
    return false
  }

  /** Write text, borrowed bytes and text in one piece; all is copied. False: wait for the drain. */
  chunk(before: string, bytes: Uint8Array, after: string): boolean {
    const length = before.length + bytes.length + after.length
    this.#submitted += length
    // The stream knows nothing of what libuv still holds before it, and tells of no drain where it had room itself.
    const behind = this.#held > 0
    // A slab for little would let a slow reader hold much more than it is sent.
    const fits = length <= SLAB && length >= SLAB / 4
    const slab = fits ? (slabs.pop() ?? Buffer.allocUnsafeSlow(SLAB)) : Buffer.allocUnsafe(length)
    if (before !== '') slab.write(before, 0, 'latin1')
    slab.set(bytes, before.length)
    if (after !== '') slab.write(after, before.length + bytes.length, 'latin1')
    // Called when libuv has let go of the bytes, also when the socket is destroyed.
    const room = this.socket.write(slab.length === length ? slab : slab.subarray(0, length), error => {
      if (fits && slabs.length < MAX_SLABS) slabs.push(slab)
      this.#written?.(error)
      if (behind && error == null && this.#held === 0 && this.socket.writableLength === 0) this.#onDrain()
    })
    return !behind && room
  }

  /** Send the FIN behind what is written. */
  end(): void {
    // A socket that was told to end can no longer be reset: what waits has to be on its way before.
    if (this.pending === 0) this.socket.end()
    else this.socket.write('', 'latin1', error => void (error == null && this.socket.end()))
  }

  /** Close with a reset, and drop what is not written: `resetAndDestroy` would write that first, and a FIN behind it. */
  reset(): void {
    const socket = this.socket as Socket & { resetAndClosing?: boolean }
    socket.resetAndClosing = true
    socket.destroy()
  }

  /** A write failed: where it is the last one that returned false, nothing of that went out. */
  get failed(): boolean {
    return this.#failed || this.socket.errored !== null
  }

  /** Bytes that the kernel has not taken yet. */
  get pending(): number {
    return this.socket.writableLength + (this.#held > 0 && this.#handle !== null ? this.#handle.writeQueueSize : 0)
  }

  /** Bytes that the kernel has taken: what tells a slow reader from one that stands still. */
  get taken(): number {
    return this.#submitted - this.pending
  }
}
