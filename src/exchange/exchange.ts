// One request and its answer on their way through the gateway: what every room above speaks about.
import type { GatewayError } from '../errors.ts'
import type { CidrSet } from '../http/cidr.ts'
import type { Downstream } from '../http/downstream.ts'
import { clientAddress } from '../http/forwarded.ts'
import {
  dashed,
  GATEWAY_FIELDS,
  type HeaderList,
  header,
  type RequestHead,
  type ResponseHead,
  removeHeader,
} from '../http/head.ts'
import { isFieldValue, isToken, remembering } from '../http1/framing.ts'
import type { Endpoint } from '../upstream/endpoint.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { uuidV7 } from './uuid.ts'

/** What an exchange needs of the configuration it began under. A snapshot is one. */
export interface ExchangeWorld {
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly trusted: CidrSet | null
}

/** What an exchange needs of its route. */
export interface ExchangeRoute {
  readonly name: string
}

/** See the head of this file. Every field is set here once, so that all exchanges share one shape. */
export class Exchange<R extends ExchangeRoute = ExchangeRoute> {
  /** The request's head: what request plugins write to it goes upstream. */
  readonly head: RequestHead
  /** The client's side. The proxy's to write to, and no plugin's. */
  readonly down: Downstream
  readonly route: R
  /** The configuration that it began under, whatever a reload brings meanwhile. */
  readonly world: ExchangeWorld
  /** Place of the path pattern that matched, among the route's. */
  readonly patternIndex: number
  /** Plugin state, by Slot. */
  readonly slots: unknown[] = []
  /** Where it goes; a plugin may change it in the request and the attempt phase. Null for routes that answer themselves. */
  upstream: Upstream | null
  /** The endpoint of the current or last attempt. */
  endpoint: Endpoint | null = null
  /** In the attempt phase: plugins have passed over every endpoint of the upstream. */
  exhausted = false
  /** Attempts begun. */
  attempts = 0
  /** The answer's head: an upstream's, or the gateway's own. Null before it is known. */
  response: ResponseHead | null = null
  /** The error that ended the exchange, or that its answer tells of. */
  error: GatewayError | null = null
  /** Claims of a verified token, set by an authentication plugin. */
  claims: Readonly<Record<string, unknown>> | null = null
  /** Who the client is, by name, set by an authentication plugin. */
  consumer: string | null = null
  /** Time of the wheel (clock.ts) at which the route's timeout ends it; Infinity without one. */
  deadline = Number.POSITIVE_INFINITY
  /** Request plugins whose turn has come: only these see the answer. Bits of those that `when` left out. */
  reached = 0
  skipped = 0
  /** It is over: nothing that comes later counts. */
  finished = false
  /**
   * Names and values that are known to be well-formed, where plugins may write to the header lists: what was parsed of
   * the request and then of the answer, and what the methods below have added.
   */
  proven: HeaderList | null = null
  #requestId = ''
  #clientIp = ''

  constructor(
    head: RequestHead,
    down: Downstream,
    route: R,
    patternIndex: number,
    upstream: Upstream | null,
    world: ExchangeWorld,
  ) {
    this.head = head
    this.down = down
    this.route = route
    this.patternIndex = patternIndex
    this.upstream = upstream
    this.world = world
  }

  /** The client's address; behind trusted proxies the one they tell. */
  get clientIp(): string {
    if (this.#clientIp === '') this.#clientIp = clientAddress(this.head, this.world.trusted)
    return this.#clientIp
  }

  /** True when the peer is one of `trustedProxies`. */
  get peerTrusted(): boolean {
    return this.world.trusted?.has(this.head.remoteAddress) ?? false
  }

  /** What the exchange is known by in logs and error bodies; made on first need. */
  get requestId(): string {
    if (this.#requestId === '') this.#requestId = uuidV7()
    return this.#requestId
  }

  set requestId(id: string) {
    this.#requestId = id
  }

  /** Send the request to another upstream. False when there is none of that name. In the request and the attempt phase. */
  routeTo(name: string): boolean {
    const upstream = this.world.upstreams.get(name)
    if (upstream === undefined) return false
    this.upstream = upstream
    return true
  }

  /** First value of a request header. `name` is lower-case. */
  requestHeader(name: string): string | undefined {
    return header(this.head.headers, name)
  }

  /** Replace a request header before it goes upstream; its twins go too. Throws on CR, LF and the like. */
  setRequestHeader(name: string, value: string): void {
    const good = checked(name, value)
    this.removeRequestHeader(name)
    this.addProven(this.head.headers, name, good)
  }

  /** Add a request header beside those of that name. Throws on CR, LF and the like. */
  addRequestHeader(name: string, value: string): void {
    this.addProven(this.head.headers, name, checked(name, value))
  }

  /** Take a header out of the request, with its twins: names that differ in `_` and `-` alone. */
  removeRequestHeader(name: string): void {
    const { head } = this
    const headers = head.headers
    const plain = dashed(name)
    removeHeader(headers, name)
    noteRemoved(head, plain)
    if (!head.hasUnderscore && plain === name) return
    for (let i = headers.length - 2; i >= 0; i -= 2) if (dashed(headers[i]!) === plain) headers.splice(i, 2)
  }

  /** Add a field to a header list of this exchange unchecked: for whoever makes the value of parts that were checked before. */
  addProven(list: HeaderList, name: string, good: string): void {
    list.push(name, good)
    this.proven?.push(name, good)
  }

  /** First value of an answer's header, in the response phase. */
  responseHeader(name: string): string | undefined {
    return this.response === null ? undefined : header(this.response.headers, name)
  }

  /** Replace a header of the answer, in the response phase. Throws on CR, LF and the like. */
  setResponseHeader(name: string, value: string): void {
    if (this.response === null) return
    const good = checked(name, value)
    removeHeader(this.response.headers, name)
    this.addProven(this.response.headers, name, good)
    if (name === 'date') this.response.hasDate = true
  }

  /** Add a header to the answer beside those of that name, in the response phase. */
  addResponseHeader(name: string, value: string): void {
    if (this.response === null) return
    this.addProven(this.response.headers, name, checked(name, value))
    if (name === 'date') this.response.hasDate = true
  }

  /** Take a header out of the answer, in the response phase. */
  removeResponseHeader(name: string): void {
    const { response } = this
    if (response === null) return
    removeHeader(response.headers, name)
    if (name === 'date') response.hasDate = false
    noteRemoved(response, dashed(name))
  }
}

/** What was taken out of a head must not come back as a trailer; only a body without a length can end with some. */
function noteRemoved(head: RequestHead | ResponseHead, plain: string): void {
  if (head.bodyLength >= 0) return
  head.removed ??= []
  head.removed.push(plain)
}

const isSettable = remembering(name => isToken(name) && name === name.toLowerCase() && !GATEWAY_FIELDS.has(name))

function checked(name: string, value: string): string {
  if (!isSettable(name)) {
    const gateways = GATEWAY_FIELDS.has(name)
    throw new TypeError(
      gateways ? `the header ${name} is set by the gateway itself` : `"${name}" is no lower-case header name`,
    )
  }
  if (!isFieldValue(value)) throw new TypeError(`the value for header ${name} holds a control character`)
  return value
}
