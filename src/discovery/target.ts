// Where a registry may send traffic: to single machines, and to link-local addresses only where that is said.
import { lookup } from 'node:dns'
import { isIPv4, type LookupFunction } from 'node:net'
import { addressBytes } from '../http/cidr.ts'

const LINK_LOCAL = 'is a link-local address (allow them with `linkLocal: true`)'

/** What is wrong with an address that a registry told, or null. Names are judged by `lookupAllowed`, once they resolve. */
export function targetFault(host: string, linkLocal: boolean): string | null {
  if (isIPv4(host)) return ipv4Fault(host, linkLocal)
  const bytes = addressBytes(host)
  if (bytes === null) return null
  const four = ipv4Within(bytes)
  if (four !== null) return ipv4Fault(four, linkLocal)
  if (bytes[0] === 0xff) return 'is a multicast address'
  return !linkLocal && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80 ? LINK_LOCAL : null
}

function ipv4Fault(host: string, linkLocal: boolean): string | null {
  if (!linkLocal && host.startsWith('169.254.')) return LINK_LOCAL
  // Connecting to it means this machine itself.
  if (host === '0.0.0.0') return 'is the unspecified address'
  if (host === '255.255.255.255') return 'is the broadcast address'
  const first = Number.parseInt(host, 10)
  return first >= 224 && first < 240 ? 'is a multicast address' : null
}

/** The IPv4 address that an IPv6 address leads to: mapped, compatible (RFC 4291) or through NAT64 (RFC 6052); else null. */
function ipv4Within(bytes: Uint8Array): string | null {
  if (bytes.length === 4) return bytes.join('.')
  const nat64 = bytes[0] === 0 && bytes[1] === 0x64 && bytes[2] === 0xff && bytes[3] === 0x9b
  const zeros = bytes.subarray(nat64 ? 4 : 0, 12).every(byte => byte === 0)
  return zeros ? bytes.subarray(12).join('.') : null
}

/** Resolves names as the system does, without the addresses that `targetFault` refuses: for connections to what a registry told. */
export function lookupAllowed(linkLocal: boolean): LookupFunction {
  return (name, options, callback) => {
    lookup(name, { ...options, all: true }, (error, found) => {
      if (error !== null) {
        callback(error, [])
        return
      }
      const good = found.filter(({ address }) => targetFault(address, linkLocal) === null)
      if (good.length === 0) {
        const [bad] = found
        callback(new Error(`${name} means ${bad!.address}, which ${targetFault(bad!.address, linkLocal)}`), [])
      } else if (options.all) callback(null, good)
      else callback(null, good[0]!.address, good[0]!.family)
    })
  }
}
