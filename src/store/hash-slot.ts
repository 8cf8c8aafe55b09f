// Which of a Redis Cluster's 16,384 slots a hash tag belongs to: CRC-16/XMODEM, as its specification has it.

/** The slot of a text, taken as UTF-8. */
export function hashSlot(tag: string): number {
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc & 16383
}
