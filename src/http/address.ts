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
  if (six !== undefined) {
    if (!isIPv6(six) || six.includes('%')) return `[${six}] is not an IPv6 address`
    const canonical = new URL(`http://[${six}]`).hostname
    return { address: `${canonical}:${port}`, host: canonical.slice(1, -1), port }
  }
  const host = name!.toLowerCase()
  if (!isHost(host)) return `${JSON.stringify(name)} is neither a host name nor an IP address`
  return { address: `${host}:${port}`, host, port }
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

/** The address of a host and a port that stand apart, as registries tell them; a string says what is wrong. */
export function joinAddress(host: string, port: number): EndpointAddress | string {
  return parseEndpoint(isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`)
}
