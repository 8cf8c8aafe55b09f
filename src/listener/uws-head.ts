// Reads a request head out of uWebSockets.js and holds it to the rules that the library does not hold it to.
import { type ErrorCode, GatewayError } from '../errors.ts'
import { type HeaderList, type RequestHead, removeHeaders, UNKNOWN_LENGTH } from '../http/head.ts'
import {
  type ConnectionOptions,
  isChunked,
  isHostField,
  isTarget,
  isToken,
  parseContentLength,
  readConnection,
} from '../http1/framing.ts'
import type { UwsRequest } from './uws-load.ts'

/** What a head and a body may measure. */
export interface UwsLimits {
  /** Largest head in bytes. */
  readonly bytes: number
  /** Most field lines. */
  readonly count: number
  /** Largest body in bytes, Infinity for any. */
  readonly body: number
}

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS']
/** The library refuses controls but DEL, and hands over what is above it decoded as UTF-8. */
const NOT_PLAIN = /[^\t\x20-\x7e]/
const NOT_TEXT = /[\x00-\x08\x0a-\x1f\x7f\ufffd]/

/**
 * Reads one head at a time; what stands in the fields belongs to the last one. One instance serves a listener,
 * because the handler of a request is synchronous and the library's request object dies with it.
 */
export class UwsHeadReader {
  /** Why the last head was refused. */
  error = new GatewayError('SLUICE_BAD_REQUEST', '')
  /** The connection is to be closed after the answer: the client wants it, or has asked for an upgrade. */
  close = false
  /** The library closes it without being told: it takes a first Connection value of five characters for `close`. */
  closesItself = false

  readonly #limits: UwsLimits
  #code: ErrorCode = 'SLUICE_BAD_REQUEST'
  #reason = ''
  #headers: HeaderList = []
  #host: string | null = null
  #goodHost = ''
  #contentLength = -1
  #chunked = false
  #codings = 0
  #connections = 0
  #count = 0
  #size = 0
  #hasUnderscore = false
  #upgrade = false
  readonly #connection: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, named: null }

  constructor(limits: UwsLimits) {
    this.#limits = limits
  }

  /**
   * The head, or null with the reason in `error`: then nothing may be taken from this connection any more. `peer` is
   * the client's address. Called inside the library's handler.
   */
  read(req: UwsRequest, peer: string): RequestHead | null {
    this.#reset()
    const method = this.#method(req.getCaseSensitiveMethod())
    const path = req.getUrl()
    const query = req.getQuery()
    req.forEach(this.#visit)
    this.#settle(method, path, query)
    if (this.#reason !== '') {
      this.error = new GatewayError(this.#code, this.#reason)
      return null
    }
    return {
      method,
      rawPath: path,
      path,
      query: query ?? '',
      hasQuery: query !== undefined,
      minor: 1,
      secure: false,
      host: this.#host!,
      remoteAddress: peer,
      headers: this.#headers,
      bodyLength: this.#chunked ? UNKNOWN_LENGTH : Math.max(this.#contentLength, 0),
      hasUnderscore: this.#hasUnderscore,
      // The client may take trailers, yet the library cannot send them: asking for them would promise what is dropped.
      acceptsTrailers: false,
    }
  }

  #reset(): void {
    this.#code = 'SLUICE_BAD_REQUEST'
    this.#reason = ''
    this.#headers = []
    this.#host = null
    this.#contentLength = -1
    this.#chunked = false
    this.#codings = 0
    this.#connections = 0
    this.#count = 0
    this.#size = 0
    this.#hasUnderscore = false
    this.#upgrade = false
    this.close = false
    this.closesItself = false
    const options = this.#connection
    options.close = options.keepAlive = options.upgrade = false
    options.named = null
  }

  /** Keep the first fault. */
  #refuse(reason: string, code: ErrorCode = 'SLUICE_BAD_REQUEST'): void {
    if (this.#reason !== '') return
    this.#reason = reason
    this.#code = code
  }

  /** One of a few constants where it is one: comparing those later is a pointer comparison. */
  #method(sent: string): string {
    for (const known of METHODS) if (sent === known) return known
    if (!isToken(sent)) this.#refuse('the method is no token')
    else if (sent === 'CONNECT') this.#refuse('CONNECT is not served', 'SLUICE_NOT_IMPLEMENTED')
    return sent
  }

  /** One field line. Names arrive lower-case and are tokens: the library sees to that. */
  readonly #visit = (name: string, value: string): void => {
    this.#count++
    this.#size += name.length + value.length + 4
    if (NOT_PLAIN.test(value)) value = this.#bytes(value)
    // By length first, because these strings are fresh and a comparison reads them.
    switch (name.length) {
      case 2:
        if (name === 'te') return
        break
      case 4:
        if (name !== 'host') break
        if (this.#host !== null) this.#refuse('more than one Host')
        this.#host = value
        return
      case 6:
        if (name !== 'expect') break
        // The library has sent 100 Continue by now, where the value was exactly that.
        if (value !== '' && value.toLowerCase() !== '100-continue')
          this.#refuse('unknown expectation', 'SLUICE_EXPECTATION_FAILED')
        return
      case 7:
        if (name === 'upgrade') this.#upgrade = true
        else if (name !== 'trailer') break
        return
      case 10:
        if (name === 'keep-alive') return
        if (name !== 'connection') break
        if (!readConnection(value, this.#connection)) this.#refuse('a Connection option is no token')
        if (this.#connections++ === 0) this.closesItself = value.length === 5
        return
      case 14:
        if (name === 'http2-settings') return
        if (name !== 'content-length') break
        if (this.#contentLength >= 0) this.#refuse('more than one Content-Length')
        this.#contentLength = parseContentLength(value)
        if (this.#contentLength < 0) this.#refuse('Content-Length is no number')
        return
      case 16:
        if (name === 'proxy-connection') return
        break
      case 17:
        if (name !== 'transfer-encoding') break
        if (++this.#codings > 1 || !isChunked(value)) this.#refuse('Transfer-Encoding is not exactly one chunked')
        this.#chunked = true
        return
      case 18:
        if (name === 'proxy-authenticate') return
        break
      case 19:
        if (name === 'proxy-authorization') return
        break
      case 25:
        if (name === 'proxy-authentication-info') return
    }
    if (name.includes('_')) this.#hasUnderscore = true
    this.#headers.push(name, value)
  }

  /** The value as the bytes that were sent, one character each, where the library's decoding can be undone. */
  #bytes(value: string): string {
    if (NOT_TEXT.test(value)) this.#refuse('a field value holds a control character or is no UTF-8')
    return Buffer.from(value, 'utf8').toString('latin1')
  }

  /** What only the whole head tells. */
  #settle(method: string, path: string, query: string | undefined): void {
    const options = this.#connection
    // What follows an upgrade that was asked for is no request, whoever takes the answer for a switch.
    this.close = options.close || this.closesItself || (this.#upgrade && options.upgrade)
    if (options.named !== null) removeHeaders(this.#headers, new Set(options.named))
    // `HTTP/1.1`, its spaces and two line ends stand in no string.
    this.#size += method.length + path.length + (query === undefined ? 0 : query.length + 1) + 14
    if (this.#count > this.#limits.count) {
      this.#refuse(`more than ${this.#limits.count} fields`, 'SLUICE_HEADERS_TOO_LARGE')
    }
    if (this.#size > this.#limits.bytes) this.#refuse('the head is too large', 'SLUICE_HEADERS_TOO_LARGE')
    // The library lets `#`, DEL and everything above it through.
    if (!isTarget(path) || (query !== undefined && !isTarget(query))) {
      this.#refuse('bad byte in the request target')
    }
    if (path.charCodeAt(0) !== 0x2f && !(path === '*' && method === 'OPTIONS'))
      this.#refuse('the request target is no path')
    const host = this.#host
    if (host === null || host === '') this.#refuse('no Host')
    else if (host !== this.#goodHost) {
      if (isHostField(host)) this.#goodHost = host
      else this.#refuse('bad Host')
    }
    if (this.#chunked && this.#contentLength >= 0) this.#refuse('Content-Length beside Transfer-Encoding')
    if (this.#contentLength > this.#limits.body) {
      this.#refuse(`Content-Length ${this.#contentLength}`, 'SLUICE_BODY_TOO_LARGE')
    }
  }
}

const OCTETS = Array.from({ length: 256 }, (_, octet) => String(octet))

/** An address of 4 or 16 bytes as text; an IPv4-mapped one unmapped, the rest as RFC 5952 writes it; '' for none. */
export function addressText(address: ArrayBuffer): string {
  const bytes = new Uint8Array(address)
  if (bytes.length === 4) return dotted(bytes, 0)
  if (bytes.length !== 16) return ''
  let zeros = 0
  while (zeros < 10 && bytes[zeros] === 0) zeros++
  if (zeros === 10 && bytes[10] === 0xff && bytes[11] === 0xff) return dotted(bytes, 12)
  return groups(bytes)
}

function dotted(bytes: Uint8Array, at: number): string {
  return `${OCTETS[bytes[at]!]}.${OCTETS[bytes[at + 1]!]}.${OCTETS[bytes[at + 2]!]}.${OCTETS[bytes[at + 3]!]}`
}

function groups(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!)
  // The longest run of two or more zero groups becomes `::`, the first one of equals (RFC 5952 4.2).
  let from = -1
  let longest = 1
  for (let i = 0; i < 8; i++) {
    let end = i
    while (end < 8 && words[end] === 0) end++
    if (end - i > longest) {
      from = i
      longest = end - i
    }
  }
  const text = words.map(word => word.toString(16))
  if (from < 0) return text.join(':')
  return `${text.slice(0, from).join(':')}::${text.slice(from + longest).join(':')}`
}
