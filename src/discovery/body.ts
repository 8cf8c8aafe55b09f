// The body of a registry's answer: whole, within bounds, and without the gzip that it may come in.
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { Dispatcher } from 'undici'
import { MAX_ANSWER } from './provider.ts'

const TOO_LARGE = `the answer is larger than ${MAX_ANSWER / 1024 / 1024} MiB`

const unzip = promisify(gunzip)

/** Read it to its end; a string says what is wrong with it. Rejects when it breaks off. */
export async function readBody(
  body: Dispatcher.ResponseData['body'],
  encoding: string | string[] | undefined,
): Promise<Buffer | string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    length += (chunk as Buffer).length
    if (length > MAX_ANSWER) {
      body.destroy()
      return TOO_LARGE
    }
    chunks.push(chunk as Buffer)
  }
  return decode(Buffer.concat(chunks), String(encoding ?? 'identity').toLowerCase())
}

/**
 * No encoding is asked for, and then a server may choose one (RFC 9110, 12.5.3): a Eureka whose filter for that is turned
 * on sends gzip, and none but it.
 */
async function decode(bytes: Buffer, encoding: string): Promise<Buffer | string> {
  if (encoding === 'identity') return bytes
  if (encoding !== 'gzip') return `the answer is encoded as ${encoding.slice(0, 100)}`
  try {
    return await unzip(bytes, { maxOutputLength: MAX_ANSWER })
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? TOO_LARGE : 'the answer is no gzip'
  }
}
