// MurmurHash3 (x86, 32 bits) over the UTF-16LE bytes of a text: the same number in every process, and in other languages.

/** Mix a 32-bit state until every bit of it hangs on every other (Appleby's fmix32). Unsigned. */
export function avalanche(state: number): number {
  let h = state ^ (state >>> 16)
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function scramble(block: number): number {
  const k = Math.imul(block, 0xcc9e2d51)
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593)
}

/**
 * An unsigned 32-bit hash, not meant to withstand somebody who looks for collisions. Allocates nothing; the text is read
 * as it is, lone surrogates too.
 */
export function murmur3(text: string, seed: number): number {
  const length = text.length
  const even = length & ~1
  let h = seed | 0
  for (let i = 0; i < even; i += 2) {
    h ^= scramble(text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16))
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  if (even !== length) h ^= scramble(text.charCodeAt(even))
  return avalanche(h ^ (length << 1))
}
