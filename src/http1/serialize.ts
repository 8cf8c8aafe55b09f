// Heads as bytes: request and status lines, field lines and the framing that is ours alone.
import { STATUS_CODES } from 'node:http'
import { GATEWAY_FIELDS, type HeaderList, type RequestHead, type RequestLine } from '../http/head.ts'
import { isFieldValue, isTarget, isToken, remembering } from './framing.ts'
import { KNOWN_NAMES } from './known-fields.ts'

const statusLines: string[] = []

/** `HTTP/1.1 200 OK`. The reason is ours: an upstream's own text has no meaning (RFC 9112 4). */
export function statusLine(status: number): string {
  statusLines[status] ??= `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}`
  return statusLines[status]
}

const begun = (name: string) => `\r\n${name}: `
// Of the names that most heads are made of alone: what a stranger invents is not kept.
const openings = new Map(KNOWN_NAMES.map(name => [name, begun(name)]))

/** The end of the line before, the name and the colon in one piece: a head is joined from half as many then. */
export function opening(name: string): string {
  return openings.get(name) ?? begun(name)
}

/** Field lines of a flat list, each with CRLF before it and none behind. */
export function fieldLines(headers: Readonly<HeaderList>): string {
  let text = ''
  for (let i = 0; i < headers.length; i += 2) text += opening(headers[i]!) + headers[i + 1]!
  return text
}

/** A request head for an upstream: origin-form, Host first, framing from the body's length (RFC 9112 3, 6). */
export function requestHead(head: RequestHead, host: string): string {
  let text = `${head.method} ${head.path}`
  if (head.hasQuery) text += `?${head.query}`
  text += ` HTTP/1.1\r\nhost: ${host}${fieldLines(head.headers)}`
  if (head.acceptsTrailers) text += '\r\nte: trailers\r\nconnection: te'
  const length = head.bodyLength
  if (length > 0) text += `\r\ncontent-length: ${length}`
  else if (length < 0) text += '\r\ntransfer-encoding: chunked'
  // A method that promises content says so even when there is none (RFC 9110 8.6).
  else if (head.method === 'POST' || head.method === 'PUT' || head.method === 'PATCH') text += '\r\ncontent-length: 0'
  return `${text}\r\n\r\n`
}

/** Bytes as text of a character each. Of a plain Uint8Array too, whose own toString would list numbers. */
export function latin1(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return buffer.toString('latin1')
}

let dateSecond = 0
let dateText = ''

/** The field line of the current IMF-fixdate (RFC 9110 5.6.7) with CRLF before it, made once a second. */
export function dateLine(): string {
  const second = Math.floor(Date.now() / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = `\r\ndate: ${new Date(second * 1000).toUTCString()}`
  }
  return dateText
}

/** A name that others than the gateway may write: framing that somebody else made would stand beside ours. */
const isName = remembering(name => isToken(name) && !GATEWAY_FIELDS.has(name.toLowerCase()))
const isMethod = remembering(isToken)

/**
 * What is wrong with a header list that others than the parser wrote to, or null.
 * `proven` are names and values that are known to be good: what stands among them in this order is not looked at again.
 */
export function headerListFault(
  headers: Readonly<HeaderList>,
  proven: Readonly<HeaderList> | null = null,
): string | null {
  if (!Array.isArray(headers)) return 'the headers are no flat list'
  const known = proven === null ? 0 : proven.length
  let from = 0
  // Looked at together: asking the expression's engine costs more than what it then reads.
  let written = ''
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]
    const value = headers[i + 1]
    let at = from
    while (at < known && (proven![at] !== name || proven![at + 1] !== value)) at += 2
    if (at < known) {
      from = at + 2
      continue
    }
    if (typeof name !== 'string' || !isName(name)) return nameFault(name)
    if (typeof value !== 'string') return valueFault(name)
    written += value
  }
  if (written === '' || isFieldValue(written)) return null
  const at = headers.findIndex((text, i) => i % 2 === 1 && !isFieldValue(text))
  return valueFault(headers[at - 1]!)
}

function valueFault(name: string): string {
  return `the value of ${name} holds a control character`
}

function nameFault(name: unknown): string {
  const ours = typeof name === 'string' && GATEWAY_FIELDS.has(name.toLowerCase())
  return ours ? `the header ${name} is set by the gateway itself` : 'a header name is no token'
}

/** What is wrong with the line and the host of a request head that others than the parser wrote to, or null. */
export function requestLineFault({ method, path, query, host }: RequestLine): string | null {
  for (const text of [method, path, query, host])
    if (typeof text !== 'string') return 'the request line holds what is no text'
  if (!isMethod(method)) return 'the method is no token'
  // Another beginning is another form of target (RFC 9112 3.2), which names a host of its own.
  if (path[0] !== '/' && (path !== '*' || method !== 'OPTIONS')) return 'the path does not begin with a /'
  if (!isTarget(path) || !isTarget(query)) return 'the target holds what is no visible ASCII, or a #'
  return isFieldValue(host) ? null : 'the host holds a control character'
}
