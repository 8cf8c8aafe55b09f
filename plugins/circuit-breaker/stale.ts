// The last good answers, to be given again while a breaker is open: those alone that a shared cache may keep (RFC 9111), in bounded memory.
import { type Exchange, GATEWAY_FIELDS, type HeaderList, ownText, type Reply } from '../../src/plugin-api.ts'

/** Largest body that is kept. */
const LARGEST_BODY = 1024 * 1024
/** Told anew each time, or by the gateway itself. */
const NOT_KEPT = new Set([...GATEWAY_FIELDS, 'age'])
/** What an entry costs beside its key, fields and body: an estimate. */
const OVERHEAD = 400

interface Entry {
  readonly headers: HeaderList
  readonly body: Buffer
  /** Request fields that the answer depends on, with the values that they had. */
  readonly vary: HeaderList
  /** It may be given to clients that said who they are. */
  readonly open: boolean
  /** When it was taken down, how old it was then, and when it must no longer be used. */
  readonly storedAt: number
  readonly age: number
  readonly usableUntil: number
  readonly cost: number
}

/** An answer whose body is being taken down. */
export interface Capture {
  readonly key: string
  readonly entry: Omit<Entry, 'body' | 'cost'>
  chunks: Buffer[]
  length: number
}

/** See the head of this file. Times in milliseconds of one monotonic clock. */
export class StaleAnswers {
  readonly #longest: number
  readonly #entries: number
  readonly #bytes: number
  readonly #largest: number
  /** In the order of their last storing. */
  readonly #kept = new Map<string, Entry>()
  #used = 0
  /** Bytes of bodies that are being taken down. */
  #pending = 0

  /** `longest` is the age in milliseconds up to which an answer is used. */
  constructor(longest: number, entries: number, bytes: number) {
    this.#longest = longest
    this.#entries = entries
    this.#bytes = bytes
    this.#largest = Math.min(LARGEST_BODY, bytes >> 2)
  }

  get size(): number {
    return this.#kept.size
  }

  /** Memory in use, kept and pending, as it is counted. */
  get used(): number {
    return this.#used + this.#pending
  }

  /** The answer to give instead, or null. */
  answer(x: Exchange, now: number): Reply | null {
    if (!isPlainGet(x)) return null
    const key = keyOf(x)
    const entry = this.#kept.get(key)
    if (entry === undefined) return null
    if (now >= entry.usableUntil) {
      this.#forget(key, entry)
      return null
    }
    if ((!entry.open && isPersonal(x)) || !fits(entry.vary, x)) return null
    const age = Math.floor((now - entry.storedAt) / 1000) + entry.age
    return { status: 200, headers: [...entry.headers, 'age', String(age)], body: entry.body }
  }

  /** Begin to take down the answer in `x.response`; null where it must not be kept, or too much is under way already. */
  begin(x: Exchange, now: number): Capture | null {
    const { head, response } = x
    if (!isPlainGet(x) || response === null || response.status !== 200) return null
    if (response.bodyLength > this.#largest || this.#pending + this.#largest > this.#bytes) return null
    const control = readControl(response.headers)
    if (control.forbidden || asksForNoStore(head.headers)) return null
    if (isPersonal(x) && !control.open) return null
    const vary = readVary(x)
    if (vary === null) return null
    const age = ageOf(response.headers)
    // With must-revalidate and its kin an answer may be used only while it is fresh (RFC 9111 4.2.4).
    const left = control.strict ? Math.min(this.#longest, (control.lifetime - age) * 1000) : this.#longest
    if (left <= 0) return null
    // The length of what is kept is known: no trailers follow it (RFC 9110 6.6.2).
    const headers = response.headers.filter((_, i) => !NOT_KEPT.has(response.headers[i & ~1]!))
    const entry = { headers, vary, open: control.open, storedAt: now, age, usableUntil: now + left }
    return { key: keyOf(x), entry, chunks: [], length: 0 }
  }

  /** Add a piece of the body, which is copied. False: it has grown too large, and the capture is over. */
  push(capture: Capture, chunk: Uint8Array): boolean {
    if (chunk.length === 0) return true
    if (capture.length + chunk.length > this.#largest || this.#pending + chunk.length > this.#bytes) {
      this.drop(capture)
      return false
    }
    capture.chunks.push(Buffer.from(chunk))
    capture.length += chunk.length
    this.#pending += chunk.length
    return true
  }

  /** The answer did not come to its end, or is not wanted. */
  drop(capture: Capture): void {
    this.#pending -= capture.length
    capture.chunks = []
    capture.length = 0
  }

  /** The answer is whole: keep it instead of the one before, and let go of the oldest where there is no room. */
  keep(capture: Capture): void {
    const { key, entry } = capture
    const known = this.#kept.get(key)
    const body = wholeOf(capture)
    this.drop(capture)
    // A long answer may end after one that began later: that one is the last.
    if (known !== undefined && known.storedAt > entry.storedAt) return
    let cost = OVERHEAD + 2 * key.length + body.length
    for (const text of entry.headers) cost += text.length
    for (const text of entry.vary) cost += text.length
    if (known !== undefined) this.#forget(key, known)
    if (cost > this.#bytes) return
    this.#kept.set(ownText(key), { ...entry, body, cost })
    this.#used += cost
    for (const [oldest, gone] of this.#kept) {
      if (this.#kept.size <= this.#entries && this.#used <= this.#bytes) break
      this.#forget(oldest, gone)
    }
  }

  #forget(key: string, entry: Entry): void {
    this.#kept.delete(key)
    this.#used -= entry.cost
  }
}

/** The body in memory of its own: a small piece is a slice of Node's pool, and would hold all of it. */
function wholeOf({ chunks, length }: Capture): Buffer {
  const [only] = chunks
  if (chunks.length === 1 && only!.buffer.byteLength === length) return only!
  const body = Buffer.allocUnsafeSlow(length)
  let at = 0
  for (const chunk of chunks) {
    body.set(chunk, at)
    at += chunk.length
  }
  return body
}

/** Nothing but the head says what is asked for: some searches are a GET with the question in its body. */
function isPlainGet({ head }: Exchange): boolean {
  return head.method === 'GET' && head.bodyLength === 0
}

function keyOf(x: Exchange): string {
  const { secure, host, path, hasQuery, query } = x.head
  const target = hasQuery ? `${path}?${query}` : path
  return `${x.route.name}\n${x.upstream!.name}\n${secure ? 'https' : 'http'}://${host.toLowerCase()}${target}`
}

/** The client said who it is: what it gets may be meant for it alone, whatever the answer's fields forget to say. */
function isPersonal(x: Exchange): boolean {
  if (x.claims !== null || x.consumer !== null) return true
  return x.requestHeader('authorization') !== undefined || x.requestHeader('cookie') !== undefined
}

const DIRECTIVE = /([\w-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s,]*)))?/g

interface Control {
  /** Must not be kept by a shared cache, or not be used without asking. */
  forbidden: boolean
  /** `public`: meant for all. */
  open: boolean
  /** Not to be used once it is stale. */
  strict: boolean
  /** Seconds for which it is fresh. */
  lifetime: number
}

/** What the answer's fields allow (RFC 9111 3 and 5.2.2). */
function readControl(headers: Readonly<HeaderList>): Control {
  const control: Control = { forbidden: false, open: false, strict: false, lifetime: 0 }
  let shared = Number.NaN
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === 'set-cookie') control.forbidden = true
    if (headers[i] !== 'cache-control') continue
    for (const [, name, quoted, bare] of headers[i + 1]!.matchAll(DIRECTIVE)) {
      const seconds = Number(quoted ?? bare ?? Number.NaN)
      switch (name!.toLowerCase()) {
        case 'no-store':
        case 'private':
        case 'no-cache':
          control.forbidden = true
          break
        case 'public':
          control.open = true
          break
        case 'must-revalidate':
        case 'proxy-revalidate':
          control.strict = true
          break
        case 's-maxage':
          control.strict = true
          shared = seconds
          break
        case 'max-age':
          if (seconds > 0) control.lifetime = seconds
          break
      }
    }
  }
  if (!Number.isNaN(shared)) control.lifetime = shared
  return control
}

function asksForNoStore(headers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === 'cache-control' && /\bno-store\b/i.test(headers[i + 1]!)) return true
  }
  return false
}

/** Seconds of the Age field; 0 without a sane one. */
function ageOf(headers: Readonly<HeaderList>): number {
  const at = headers.findIndex((name, i) => i % 2 === 0 && name === 'age')
  const text = at < 0 ? '' : headers[at + 1]!
  return /^\d{1,9}$/.test(text) ? Number(text) : 0
}

/** The request's values of the fields that Vary names; null when no other request can fit (RFC 9111 4.1). */
function readVary(x: Exchange): HeaderList | null {
  const { headers } = x.response!
  const found: HeaderList = []
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'vary') continue
    for (const part of headers[i + 1]!.split(',')) {
      const name = part.trim().toLowerCase()
      if (name === '*') return null
      if (name !== '') found.push(name, ownText(valuesOf(x.head.headers, name)))
    }
  }
  return found
}

function fits(vary: Readonly<HeaderList>, x: Exchange): boolean {
  for (let i = 0; i < vary.length; i += 2) if (valuesOf(x.head.headers, vary[i]!) !== vary[i + 1]) return false
  return true
}

/** All values of a field in one text. */
function valuesOf(headers: Readonly<HeaderList>, name: string): string {
  let text = ''
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) text += `${headers[i + 1]}\n`
  return text
}
