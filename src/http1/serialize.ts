// Heads as bytes: request and status lines, field lines and the framing that is ours alone.
import { STATUS_CODES } from 'node:http'
import type { HeaderList, RequestHead } from '../http/head.ts'
import { isFieldValue, isTarget, isToken, remembering } from './framing.ts'

const statusLines: string[] = []

/** `HTTP/1.1 200 OK` and CRLF. The reason is ours: an upstream's own text has no meaning (RFC 9112 4). */
export function statusLine(status: number): string {
  statusLines[status] ??= `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`
  return statusLines[status]
}

/** Field lines of a flat list. */
export function fieldLines(headers: Readonly<HeaderList>): string {
  let text = ''
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return text
}

/** A request head for an upstream: origin-form, Host first, framing from the body's length (RFC 9112 3, 6). */
export function requestHead(head: RequestHead, host: string): string {
  let text = `${head.method} ${head.path}`
  if (head.hasQuery) text += `?${head.query}`
  text += ` HTTP/1.1\r\nhost: ${host}\r\n`
  text += fieldLines(head.headers)
  if (head.acceptsTrailers) text += 'te: trailers\r\nconnection: te\r\n'
  const length = head.bodyLength
  if (length > 0) text += `content-length: ${length}\r\n`
  else if (length < 0) text += 'transfer-encoding: chunked\r\n'
  // A method that promises content says so even when there is none (RFC 9110 8.6).
  else if (head.method === 'POST' || head.method === 'PUT' || head.method === 'PATCH') text += 'content-length: 0\r\n'
  return `${text}\r\n`
}

/** Bytes as text of a character each. Of a plain Uint8Array too, whose own toString would list numbers. */
export function latin1(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return buffer.toString('latin1')
}

let dateSecond = 0
let dateText = ''

/** The current IMF-fixdate (RFC 9110 5.6.7), made once a second. */
export function httpDate(): string {
  const second = Math.floor(Date.now() / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = new Date(second * 1000).toUTCString()
  }
  return dateText
}

const isName = remembering(isToken)

/**
 * What is wrong with a header list that others than the parser wrote to, or null: the write-side check (PITFALLS 5).
 * `proven` are names and values that are known to be good: what stands among them in this order is not looked at again.
 */
export function headerListFault(
  headers: Readonly<HeaderList>,
  proven: Readonly<HeaderList> | null = null,
): string | null {
  const known = proven === null ? 0 : proven.length
  let from = 0
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]
    const value = headers[i + 1]
    let at = from
    while (at < known && (proven![at] !== name || proven![at + 1] !== value)) at += 2
    if (at < known) {
      from = at + 2
      continue
    }
    if (typeof name !== 'string' || !isName(name)) return 'a header name is no token'
    if (typeof value !== 'string' || !isFieldValue(value)) return `the value of ${name} holds a control character`
  }
  return null
}

/** What is wrong with a request head that others than the parser wrote to, or null; `proven` as above. */
export function requestHeadFault(head: RequestHead, proven: Readonly<HeaderList> | null): string | null {
  if (!isTarget(head.path) || !isTarget(head.query)) return 'the target holds what is no visible ASCII, or a #'
  if (!isFieldValue(head.host)) return 'the host holds a control character'
  return headerListFault(head.headers, proven)
}
