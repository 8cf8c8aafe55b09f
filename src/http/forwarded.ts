// Who the client is and what the upstream is told of it: X-Forwarded-For, -Proto, -Host, and Via.
import type { CidrSet } from './cidr.ts'
import { addressBytes } from './cidr.ts'
import { dashed, type HeaderList, type RequestHead } from './head.ts'

/** The name this gateway signs with (RFC 9110 7.6.3). */
const VIA = '1.1 sluice'
/** Gateways in a row are fine; a request that was here this often is in a loop. */
const MAX_PASSES = 5

/**
 * The client's address: the peer, or, where the peer is a trusted proxy, the right-most address of X-Forwarded-For
 * that is not itself one. An entry that is no address ends the search at the last good one.
 */
export function clientAddress(head: RequestHead, trusted: CidrSet | null): string {
  if (trusted === null || !trusted.has(head.remoteAddress)) return head.remoteAddress
  let client = head.remoteAddress
  const chain: string[] = []
  for (let i = 0; i < head.headers.length; i += 2) {
    if (head.headers[i] === 'x-forwarded-for') chain.push(...head.headers[i + 1]!.split(','))
  }
  for (let i = chain.length - 1; i >= 0; i--) {
    const address = bareAddress(chain[i]!.trim())
    if (address === null) break
    client = address
    if (!trusted.has(address)) break
  }
  return client
}

/** An address without brackets and port, a mapped one unmapped; null when it is none. */
function bareAddress(text: string): string | null {
  const found = /^\[([^\]]+)\](?::\d+)?$|^(\d+\.\d+\.\d+\.\d+)(?::\d+)?$/.exec(text)
  const address = found === null ? text : (found[1] ?? found[2]!)
  const bytes = addressBytes(address)
  if (bytes === null) return null
  return bytes.length === 4 ? bytes.join('.') : address.toLowerCase()
}

/** An IPv6 address shortened to its /64, which is what one customer has; others as they are. */
export function addressKey(address: string): string {
  if (!address.includes(':')) return address
  const bytes = addressBytes(address)
  if (bytes === null || bytes.length === 4) return address
  let text = ''
  for (let i = 0; i < 8; i += 2) text += `${((bytes[i]! << 8) | bytes[i + 1]!).toString(16)}:`
  return `${text}:/64`
}

/**
 * Take out what an untrusted peer says of the way here, and from anybody the underscore twins of that: whoever reads `_`
 * as `-` must not find a second one. Called before anything else looks at the head, so that no route and no
 * plugin believes it either.
 */
export function dropClaims(head: RequestHead, trusted: CidrSet | null): void {
  const believed = trusted?.has(head.remoteAddress) ?? false
  if (believed && !head.hasUnderscore) return
  const headers = head.headers
  let kept = 0
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (head.hasUnderscore && name.includes('_')) {
      const twin = dashed(name)
      if (isClaim(twin) || FRAMING.has(twin)) continue
    } else if (!believed && isClaim(name)) continue
    if (kept !== i) {
      headers[kept] = name
      headers[kept + 1] = headers[i + 1]!
    }
    kept += 2
  }
  // Setting a length costs more than the loop.
  if (kept !== headers.length) headers.length = kept
}

/**
 * Write onto a request's list what the upstream is told of the way here. What stands there already is a trusted proxy's
 * or a plugin's: the peer is appended to its X-Forwarded-For, the others stay. Called once an exchange. False when the
 * request bears this gateway's mark so often that it must be going round in a circle.
 */
export function addForwarding(head: RequestHead): boolean {
  const headers = head.headers
  let via = ''
  let chain = ''
  let proto = false
  let host = head.host === ''
  let kept = 0
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    // An empty value is an empty list (RFC 9110 5.6.1.1).
    if (name === 'via') {
      if (headers[i + 1] !== '') via += `${headers[i + 1]}, `
      continue
    }
    if (name === 'x-forwarded-for') {
      if (headers[i + 1] !== '') chain += `${headers[i + 1]}, `
      continue
    }
    // An empty one tells nothing: a proxy had no value for it.
    if (name === 'x-forwarded-proto') {
      if (headers[i + 1] === '') continue
      proto = true
    } else if (name === 'x-forwarded-host') {
      if (headers[i + 1] === '') continue
      host = true
    }
    if (kept !== i) {
      headers[kept] = name
      headers[kept + 1] = headers[i + 1]!
    }
    kept += 2
  }
  if (kept !== headers.length) headers.length = kept
  headers.push('x-forwarded-for', chain + head.remoteAddress)
  if (!proto) headers.push('x-forwarded-proto', head.secure ? 'https' : 'http')
  if (!host) headers.push('x-forwarded-host', head.host)
  headers.push('via', via + VIA)
  return via === '' || passes(via) < MAX_PASSES
}

/** How often this gateway stands in a Via: as a member, and not within a comment or another's name. */
function passes(via: string): number {
  let count = 0
  const members = via.includes('(') ? withoutComments(via) : via
  for (const member of members.split(',')) if (member.trim() === VIA) count++
  return count
}

/**
 * The text without its comments (RFC 9110 5.6.5); one that nobody closes is text like any other, or a client could hide in it
 * what follows. One pass, because a client writes it: an expression would look for the end anew from each parenthesis.
 */
function withoutComments(text: string): string {
  let kept = ''
  let from = 0
  let open = 0
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char === '\\' && depth > 0) i++
    else if (char === '(') {
      if (depth++ === 0) open = i
    } else if (char === ')' && depth > 0 && --depth === 0) {
      kept += text.slice(from, open)
      from = i + 1
    }
  }
  return kept + text.slice(from)
}

/**
 * Count down Max-Forwards of an OPTIONS or TRACE (RFC 9110 7.6.2). False when it has come to its end here: then it must
 * not go on. Called once an exchange.
 */
export function countForward(head: RequestHead): boolean {
  if (head.method !== 'OPTIONS' && head.method !== 'TRACE') return true
  const headers = head.headers
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'max-forwards' || !/^\d{1,9}$/.test(headers[i + 1]!)) continue
    const left = Number(headers[i + 1])
    if (left === 0) return false
    headers[i + 1] = String(left - 1)
  }
  return true
}

const FRAMING = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'upgrade', 'te', 'trailer'])

/** What a client may not say of itself; only a trusted proxy may. */
export function isClaim(name: string): boolean {
  // Only names with x or f can be one: spares the rest for most.
  const first = name.charCodeAt(0)
  if (first === 0x66) return name === 'forwarded'
  if (first !== 0x78) return false
  return (
    name === 'x-real-ip' || (name.startsWith('x-forwarded') && (name.length === 11 || name.charCodeAt(11) === 0x2d))
  )
}

/** Append our mark to an answer's Via: to the last, where there are several (RFC 9110 7.6.3). */
export function addVia(headers: HeaderList): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i] === 'via') {
      headers[i + 1] = headers[i + 1] === '' ? VIA : `${headers[i + 1]}, ${VIA}`
      return
    }
  }
  headers.push('via', VIA)
}
