// The cookie that keeps a user without a name where they are: it holds a random number, and no version.
import { type Attribute, compileAttribute, cookieValues, type Exchange } from '../../src/plugin-api.ts'
import { BUCKETS } from './split.ts'

/** What of a cookie may be chosen. */
export interface TicketOptions {
  readonly name: string
  /** Milliseconds. */
  readonly maxAge: number
}

/** A number as it stands in the cookie; -1 for all else: the client may send anything. */
function parseTicket(text: string): number {
  if (text.length === 0 || text.length > 4 || (text.length > 1 && text.charCodeAt(0) === 0x30)) return -1
  let ticket = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return -1
    ticket = ticket * 10 + digit
  }
  return ticket
}

/** A ticket for a newcomer. */
export function drawTicket(): number {
  return Math.floor(Math.random() * BUCKETS)
}

/** See the head of this file. */
export class TicketCookie {
  readonly #name: string
  readonly #first: Attribute
  readonly #attributes: string

  constructor({ name, maxAge }: TicketOptions) {
    this.#name = name
    this.#first = compileAttribute(`cookie.${name}`)
    this.#attributes = `; Path=/; Max-Age=${Math.floor(maxAge / 1000)}; HttpOnly; SameSite=Lax`
  }

  /** The ticket that the client brings, or -1. */
  read(x: Exchange): number {
    const first = this.#first(x)
    if (first === undefined) return -1
    const ticket = parseTicket(first)
    if (ticket >= 0) return ticket
    // A bad one with a longer path comes first (RFC 6265 5.4) and must not hide a good one for ever.
    for (const value of cookieValues(x.head.headers, this.#name)) {
      const other = parseTicket(value)
      if (other >= 0) return other
    }
    return -1
  }

  /** Value of the Set-Cookie field. Secure where the client's side is TLS, also that of a trusted proxy. */
  text(x: Exchange, ticket: number): string {
    const secure = x.head.secure || (x.peerTrusted && x.requestHeader('x-forwarded-proto') === 'https')
    return `${this.#name}=${ticket}${this.#attributes}${secure ? '; Secure' : ''}`
  }
}
