// The ids that requests get: UUIDs of version 7, which sort by when they were made.
import { randomFillSync } from 'node:crypto'

const DIGITS = Buffer.from('0123456789abcdef', 'latin1')
/** Randomness, fetched so many bytes at a time. */
const entropy = Buffer.allocUnsafeSlow(4096)
let entropyAt = entropy.length

/** The last id: one text out of bytes, for one joined from pieces is copied at every use. */
const text = Buffer.from('00000000-0000-7000-8000-000000000000', 'latin1')
/** Its millisecond, and which id of that it was. */
let time = 0
let count = 0

/** A UUID of version 7 (RFC 9562 5.7): time, a counter within the millisecond, randomness. Sorts by time. */
export function uuidV7(): string {
  const now = Date.now()
  if (now > time || ++count > 0xfff) {
    time = Math.max(now, time + 1)
    count = 0
    const digits = time.toString(16).padStart(12, '0')
    text.write(`${digits.slice(0, 8)}-${digits.slice(8)}`, 'latin1')
  }
  if (entropyAt === entropy.length) {
    randomFillSync(entropy)
    entropyAt = 0
  }
  text[15] = digit(count >> 8)
  text[16] = digit(count >> 4)
  text[17] = digit(count)
  let byte = entropy[entropyAt++]!
  // Two bits of it, behind those of the variant.
  text[19] = digit(0x8 | (byte & 0x3))
  text[20] = digit(byte >> 4)
  byte = entropy[entropyAt++]!
  text[21] = digit(byte >> 4)
  text[22] = digit(byte)
  for (let at = 24; at < 36; at += 2) {
    byte = entropy[entropyAt++]!
    text[at] = digit(byte >> 4)
    text[at + 1] = digit(byte)
  }
  return text.toString('latin1')
}

function digit(value: number): number {
  return DIGITS[value & 0xf]!
}
