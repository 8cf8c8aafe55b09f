// Sets of IP networks as a binary trie, compiled at load: one lookup costs at most one step a bit.
import { isIP } from 'node:net'

/** The 4 or 16 bytes of an address, an IPv4-mapped IPv6 address as its 4; null when it is none. */
export function addressBytes(text: string): Uint8Array | null {
  const family = isIP(text)
  if (family === 4) return Uint8Array.from(text.split('.'), Number)
  if (family !== 6) return null
  let plain = text.split('%')[0]!
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(plain)
  if (tail !== null) {
    const [a, b, c, d] = tail[2]!.split('.').map(Number) as [number, number, number, number]
    plain = `${tail[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  }
  const [front = '', back] = plain.split('::')
  const left = front === '' ? [] : front.split(':')
  const right = back === undefined || back === '' ? [] : back.split(':')
  const groups = [...left, ...new Array(8 - left.length - right.length).fill('0'), ...right]
  const bytes = new Uint8Array(16)
  groups.forEach((group, i) => {
    const value = Number.parseInt(group, 16)
    bytes[2 * i] = value >> 8
    bytes[2 * i + 1] = value & 255
  })
  const mapped = bytes.subarray(0, 10).every(byte => byte === 0) && bytes[10] === 255 && bytes[11] === 255
  return mapped ? bytes.slice(12) : bytes
}

/** A network `address/bits` (or one address); null when the text is none, or names a zone (`%eth0`): none is compared. */
export function parseCidr(text: string): { bytes: Uint8Array; bits: number } | null {
  const found = /^([^/%]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text)
  const bytes = found === null ? null : addressBytes(found[1]!)
  if (found === null || bytes === null) return null
  const widest = bytes.length * 8
  if (found[2] === undefined) return { bytes, bits: widest }
  // A mapped network counts its prefix from the IPv6 form.
  const bits = Number(found[2]) - (widest === 32 && found[1]!.includes(':') ? 96 : 0)
  return bits >= 0 && bits <= widest ? { bytes, bits } : null
}

/** A set of networks, IPv4 and IPv6 apart. */
export class CidrSet {
  // Two children a node; 0 is no child, -1 as a child means that everything below is in the set.
  readonly #four: number[] = [0, 0]
  readonly #six: number[] = [0, 0]

  /** `networks` have been checked with parseCidr; what it refuses throws a TypeError. */
  constructor(networks: readonly string[]) {
    for (const text of networks) {
      const network = parseCidr(text)
      if (network === null) throw new TypeError(`${text} is no network`)
      this.#insert(network.bytes.length === 4 ? this.#four : this.#six, network.bytes, network.bits)
    }
  }

  #insert(nodes: number[], bytes: Uint8Array, bits: number): void {
    if (bits === 0) {
      nodes[0] = nodes[1] = -1
      return
    }
    let node = 0
    for (let i = 0; i < bits; i++) {
      const slot = node + ((bytes[i >> 3]! >> (7 - (i & 7))) & 1)
      const child = nodes[slot]!
      if (child === -1) return
      if (i === bits - 1) nodes[slot] = -1
      else if (child === 0) {
        nodes[slot] = nodes.length
        nodes.push(0, 0)
        node = nodes[slot]!
      } else node = child
    }
  }

  /** True when the address lies in one of the networks; false for what is no address. */
  has(address: string): boolean {
    const bytes = addressBytes(address)
    if (bytes === null) return false
    const nodes = bytes.length === 4 ? this.#four : this.#six
    let node = 0
    for (let i = 0; i < bytes.length * 8; i++) {
      const child = nodes[node + ((bytes[i >> 3]! >> (7 - (i & 7))) & 1)]!
      if (child === -1) return true
      if (child === 0) return false
      node = child
    }
    return false
  }
}
