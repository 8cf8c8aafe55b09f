// Addresses of endpoints: `host:port` as people and registries write it, taken apart and held to one form.
import { isIPv4, isIPv6 } from 'node:net'

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/

/** Where an endpoint listens, its address taken apart. */
export interface EndpointAddress {
  /** `host:port`, lower-case, IPv6 in brackets: the endpoint's identity. */
  readonly address: string
  /** As net.connect takes it: IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

/** Take `host:port` apart; a string says what is wrong with it. */
export function parseEndpoint(text: string): EndpointAddress | string {
  const shape = 'host:port is due, such as 127.0.0.1:9001, orders.internal:80 or [::1]:9001'
  if (/[\s,]/.test(text)) return `holds a blank or a comma: one address an entry; ${shape}`
  if (/^(?:unix:|\/)/.test(text)) return `Unix sockets are not supported; ${shape}`
  if (text.includes('://')) return `must not have a scheme (that is the upstream's \`scheme\`); ${shape}`
  if (text.includes('@')) return `must not hold credentials; ${shape}`
  if (/[/?#]/.test(text)) return `must not have a path or query (a route's \`rewrite\` changes paths); ${shape}`
  if (!text.includes('[') && text.indexOf(':') !== text.lastIndexOf(':'))
    return `an IPv6 address stands in brackets; ${shape}`
  const found = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/.exec(text)
  if (found === null) return shape
  const [, six, name, portText] = found
  if (portText === undefined) return `has no port; ${shape}`
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : 0
  if (port < 1 || port > 65535) return 'a port between 1 and 65535 is due'
  if (six !== undefined && !isIPv6(six)) return `[${six}] is not an IPv6 address`
  return joinAddress(six ?? name!, port)
}

/** A host held to one form. */
export interface ParsedHost {
  /** As net.connect takes it: IPv6 without brackets. */
  readonly host: string
  /** As it stands in addresses: IPv6 in brackets. */
  readonly authority: string
}

/** `host:port` of a host as it is listened on, which has no brackets of its own. */
export function hostPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Read a host that stands alone, IPv6 with brackets or without; a string says what is wrong with it. */
export function parseHost(text: string): ParsedHost | string {
  // Most are such, and there may be ten thousand of them.
  if (isIPv4(text)) return { host: text, authority: text }
  if (text.includes(':')) {
    const six = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
    if (!isIPv6(six) || six.includes('%')) return `[${six}] is not an IPv6 address`
    const authority = new URL(`http://[${six}]`).hostname
    return { host: authority.slice(1, -1), authority }
  }
  const host = text.toLowerCase()
  return isHost(host) ? { host, authority: host } : `${JSON.stringify(text)} is neither a host name nor an IP address`
}

/** True for an IPv4 address or a name that a host can have; both lower-case. */
export function isHost(host: string): boolean {
  if (host.length > 253) return false
  const labels = host.replace(/\.$/, '').split('.')
  // What ends in a number must be a whole IPv4 address (WHATWG URL): `127.1` and `0x7f000001` are addresses to some readers.
  if (/^(?:0x[0-9a-f]*|\d+)$/.test(labels.at(-1)!)) return isIPv4(host)
  return labels.every(label => LABEL.test(label))
}

/** What the configuration or a registry says of an endpoint. */
export interface EndpointFacts extends EndpointAddress {
  /** Share of the traffic beside the others; 0 gets none. */
  readonly weight: number
  readonly labels: Readonly<Record<string, string>>
}

/** The address of a host and a port that stand apart; a string says what is wrong with the host. */
export function joinAddress(text: string, port: number): EndpointAddress | string {
  const parsed = parseHost(text)
  if (typeof parsed === 'string') return parsed
  return { address: `${parsed.authority}:${port}`, host: parsed.host, port }
}
