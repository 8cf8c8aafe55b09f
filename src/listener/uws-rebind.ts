// Rebinds the prebuilt uWebSockets.js of Linux x64 so that it loads on glibc 2.36 and 2.37, for files known by their SHA-256 only.
import { hash } from 'node:crypto'

/**
 * SHA-256 of every file that may be rebound, with its Node ABI: those of @btc-vision/uwebsockets.js 20.57.0. A file
 * that is not here is never changed nor loaded by this way, whatever it looks like.
 */
export const REBINDABLE: ReadonlyMap<string, string> = new Map([
  ['5b126ee00bf754b02e97e4c27090365a8562c5820c93f93918ac2212d4503e91', '115'],
  ['4b55b1f2cb7a7913febbb65a89496412b96af77e838552980092ba6b33723aac', '127'],
  ['98128405dba2fb608448e921a979530f70c946a2cc9889c15f2fa70c2d00ab05', '137'],
  ['813d788b347c6fd76b779d8932311ec05a044e612b4b83af220f16e6ea789683', '141'],
])

// C23 gave strtol and its like a second meaning (0b prefixes), and glibc 2.38 a second name for it. The old name is the
// tail of the new one, so that a symbol is renamed by moving its offset into the string table.
const PREFIX = '__isoc23_'
const NEWER = new Set([`${PREFIX}strtol`, `${PREFIX}strtoul`, `${PREFIX}sscanf`])
const NEW_VERSION = 'GLIBC_2.38'
const OLD_VERSION = 'GLIBC_2.2.5'
const LIBC = 'libc.so.6'

// Sizes and tags of the ELF-64 gABI and its GNU extensions.
const PT_LOAD = 1
const PT_DYNAMIC = 2
const DT_STRTAB = 5
const DT_SYMTAB = 6
const DT_GNU_HASH = 0x6ffffef5
const DT_VERSYM = 0x6ffffff0
const DT_VERNEED = 0x6ffffffe
const DT_VERNEEDNUM = 0x6fffffff
const SYM_SIZE = 24

/**
 * A copy of `image` that asks glibc for nothing newer than 2.36: three symbols take their names and version of before
 * 2.38. Throws an Error when the file is not on the list or not built as expected; the argument is never changed.
 */
export function rebind(image: Buffer): Buffer {
  const digest = hash('sha256', image)
  if (!REBINDABLE.has(digest)) throw new Error(`its SHA-256 ${digest} is not on the list of files that may be rebound`)
  const elf = new Elf(Buffer.from(image))
  const { newer, older } = elf.versions()
  const changed = elf.rename(newer.index, older.index)
  if (changed !== NEWER.size) throw new Error(`expected ${NEWER.size} symbols of ${NEW_VERSION}, found ${changed}`)
  // No symbol uses the entry any more, yet the loader checks every entry: it becomes a second one of the old version.
  elf.bytes.writeUInt32LE(older.hash, newer.at)
  elf.bytes.writeUInt32LE(older.name, newer.at + 8)
  return elf.bytes
}

/** One entry of the list of versions that a library is asked for (Elf64_Vernaux). */
interface NeededVersion {
  at: number
  hash: number
  index: number
  name: number
}

class Elf {
  readonly bytes: Buffer
  readonly #segments: Array<{ address: number; offset: number; size: number }> = []
  readonly #dynamic = new Map<number, number>()

  constructor(bytes: Buffer) {
    this.bytes = bytes
    // 64 bits, little-endian.
    if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
      throw new Error('not an ELF file of 64 bits')
    const headers = this.#word(32)
    const size = bytes.readUInt16LE(54)
    const count = bytes.readUInt16LE(56)
    let dynamic = -1
    let dynamicEnd = -1
    for (let i = 0; i < count; i++) {
      const at = headers + i * size
      const type = bytes.readUInt32LE(at)
      const offset = this.#word(at + 8)
      const fileSize = this.#word(at + 32)
      if (type === PT_LOAD) this.#segments.push({ address: this.#word(at + 16), offset, size: fileSize })
      if (type !== PT_DYNAMIC) continue
      dynamic = offset
      dynamicEnd = offset + fileSize
    }
    for (let at = dynamic; at < dynamicEnd; at += 16) this.#dynamic.set(this.#word(at), this.#word(at + 8))
  }

  /** The entries of libc for the new and the old version. */
  versions(): { newer: NeededVersion; older: NeededVersion } {
    const strings = this.#table(DT_STRTAB)
    let newer: NeededVersion | undefined
    let older: NeededVersion | undefined
    let at = this.#table(DT_VERNEED)
    for (let left = this.#tag(DT_VERNEEDNUM); left > 0; left--) {
      const library = this.#text(strings + this.bytes.readUInt32LE(at + 4))
      let aux = at + this.bytes.readUInt32LE(at + 8)
      for (let more = this.bytes.readUInt16LE(at + 2); more > 0; more--) {
        const found = {
          at: aux,
          hash: this.bytes.readUInt32LE(aux),
          index: this.bytes.readUInt16LE(aux + 6),
          name: this.bytes.readUInt32LE(aux + 8),
        }
        const version = this.#text(strings + found.name)
        if (version === NEW_VERSION && library !== LIBC) throw new Error(`${library} is asked for ${NEW_VERSION} too`)
        if (version === NEW_VERSION) newer = found
        if (version === OLD_VERSION && library === LIBC) older = found
        aux += this.bytes.readUInt32LE(aux + 12)
      }
      at += this.bytes.readUInt32LE(at + 12)
    }
    if (newer === undefined || older === undefined)
      throw new Error(`it does not ask for ${NEW_VERSION} and ${OLD_VERSION}`)
    return { newer, older }
  }

  /** Give every symbol of version `from` its old name and version `to`; returns how many there were. */
  rename(from: number, to: number): number {
    const symbols = this.#table(DT_SYMTAB)
    const strings = this.#table(DT_STRTAB)
    const versions = this.#table(DT_VERSYM)
    // Undefined symbols stand before the first hashed one, whose index is the second word of the hash table.
    const end = this.bytes.readUInt32LE(this.#table(DT_GNU_HASH) + 4)
    let changed = 0
    for (let i = 1; i < end; i++) {
      // The top bit only says "hidden".
      if ((this.bytes.readUInt16LE(versions + i * 2) & 0x7fff) !== from) continue
      const name = this.bytes.readUInt32LE(symbols + i * SYM_SIZE)
      const text = this.#text(strings + name)
      if (!NEWER.has(text)) throw new Error(`${text} has no older name that means the same`)
      this.bytes.writeUInt32LE(name + PREFIX.length, symbols + i * SYM_SIZE)
      this.bytes.writeUInt16LE(to, versions + i * 2)
      changed++
    }
    return changed
  }

  #tag(tag: number): number {
    const value = this.#dynamic.get(tag)
    if (value === undefined) throw new Error(`its dynamic section has no tag 0x${tag.toString(16)}`)
    return value
  }

  /** Offset in the file of a table that the dynamic section names by its address. */
  #table(tag: number): number {
    const address = this.#tag(tag)
    for (const s of this.#segments)
      if (address >= s.address && address < s.address + s.size) return s.offset + address - s.address
    throw new Error(`address 0x${address.toString(16)} lies in no segment`)
  }

  #text(at: number): string {
    return this.bytes.toString('latin1', at, this.bytes.indexOf(0, at))
  }

  #word(at: number): number {
    return Number(this.bytes.readBigUInt64LE(at))
  }
}
