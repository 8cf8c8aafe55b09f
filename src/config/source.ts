// Reading the configuration file: a regular file of bounded size in strict UTF-8, or a fault that says why not.
import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Largest configuration file, in bytes. */
const MAX_BYTES = 10 * 1024 * 1024

/** Why a file cannot be read; becomes a fault. */
export class SourceError extends Error {
  readonly kind: 'file' | 'limit' | 'syntax'
  /** Place in the bytes before the first bad one, for wrong UTF-8. */
  readonly before: string

  constructor(kind: 'file' | 'limit' | 'syntax', message: string, before = '') {
    super(message)
    this.kind = kind
    this.before = before
  }
}

/**
 * The bytes of the file. It is looked at before it is opened, because opening a FIFO waits for a writer, and at most
 * one byte more than allowed is read, because a file may grow and /dev/zero has no end. Rejects with SourceError.
 */
export async function readSource(file: string): Promise<Uint8Array> {
  try {
    const found = await stat(file)
    if (!found.isFile()) {
      throw new SourceError(
        'file',
        found.isDirectory() ? 'is a directory; name the YAML file in it' : 'is not a regular file',
      )
    }
    if (found.size > MAX_BYTES) throw new SourceError('limit', 'the file is larger than 10 MiB')
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const buffer = Buffer.allocUnsafe(Math.min(found.size, MAX_BYTES) + 1)
      let length = 0
      while (length < buffer.length) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length)
        if (bytesRead === 0) return buffer.subarray(0, length)
        length += bytesRead
      }
    } finally {
      await handle.close()
    }
    throw new SourceError('file', 'the file grew while it was read; try again')
  } catch (error) {
    if (error instanceof SourceError) throw error
    throw new SourceError('file', reason(error, file))
  }
}

/** What may not stand in YAML as it is, not even in a comment (YAML 1.2.2 5.1). */
const UNPRINTABLE = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/

/** Text of the bytes, a byte order mark dropped. Throws SourceError for what is not UTF-8, not printable or too large. */
export function decodeSource(bytes: Uint8Array): string {
  if (bytes.length > MAX_BYTES) throw new SourceError('limit', 'the file is larger than 10 MiB')
  const text = decodeText(bytes)
  const at = text.search(UNPRINTABLE)
  if (at >= 0) throw new SourceError('syntax', 'holds a control character; write it as an escape', text.slice(0, at))
  return text
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    const loose = new TextDecoder('utf-8').decode(bytes)
    throw new SourceError('syntax', 'is not UTF-8 text', loose.slice(0, Math.max(0, loose.indexOf('\ufffd'))))
  }
}

function reason(error: unknown, file: string): string {
  const { code, message } = error as NodeJS.ErrnoException
  switch (code) {
    case 'ENOENT':
      return `there is no such file in ${dirname(resolve(file))}; name another with -c FILE`
    case 'EACCES':
    case 'EPERM':
      return 'the file may not be read (permission denied)'
    case 'ELOOP':
      return 'the symbolic links go in a circle'
    case 'ENOTDIR':
      return 'a part of the path is not a directory'
    default:
      return `the file cannot be read (${code ?? message})`
  }
}
