// A client's key as it is remembered: short, and in memory of its own.
// Not `hash` by name: a Node.js without it must come as far as node-version.ts.
import crypto from 'node:crypto'

/** Longest key that is remembered as it is, in characters: a client may send kilobytes, and a million of them. */
const LONGEST = 128
/** V8 copies what is shorter than this; a longer piece of a text keeps all of the text alive. */
const SLICE = 13
/** Begins a hash. */
const HASHED = '#'
const HASHED_CODE = 0x23

/** The key itself, or a hash of a long one. One that begins as a hash does is hashed too: nobody can send another's. */
export function shortKey(key: string): string {
  return key.length > LONGEST || key.charCodeAt(0) === HASHED_CODE ? HASHED + crypto.hash('sha1', key) : key
}

const scratch = Buffer.allocUnsafe(2 * LONGEST)

/**
 * The same text in memory of its own, for whoever keeps it longer than its request: a path or a field's value is a piece
 * of that one's head, which would stay with it.
 */
export function ownText(text: string): string {
  if (text.length < SLICE) return text
  // Not by way of UTF-8, which makes one of all halves of surrogate pairs.
  if (text.length > LONGEST) return Buffer.from(text, 'utf16le').toString('utf16le')
  return scratch.toString('utf16le', 0, scratch.write(text, 'utf16le'))
}
