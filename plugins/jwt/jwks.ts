// The keys of an issuer that publishes them: fetched at start, refreshed, kept through outages, shared by all who ask.
// Over 200 lines because when to fetch, what to take from an answer and how long it counts are one state.
import type { Agent } from 'undici'
import type { Clock } from './clock.ts'
import { type KeySet, readKeySet } from './keys.ts'

/** Without Cache-Control; and the bounds of what Cache-Control may say. */
const REFRESH = 10 * 60_000
const SOONEST = 60_000
const LATEST = 24 * 3_600_000
/** One look for a key id that is not known, in this time, for all requests together. */
const COOLDOWN = 30_000
const BACKOFF = 1_000
const LONGEST_BACKOFF = 60_000
/** How long keys count after the first refresh that failed. */
const STALE = 24 * 3_600_000
/** The whole of one fetch, in milliseconds. */
const TIMEOUT = 2_000
/** Largest answer, in bytes. */
const MAX_BODY = 1024 * 1024

/** Who is told of what happens to the keys. */
export interface JwksObserver {
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, fields?: Record<string, unknown>): void
  /** `jwks_refreshed`, `jwks_failed`. */
  count(event: 'jwks_refreshed' | 'jwks_failed'): void
}

/** See the head of this file. One of each URL lives in a process: get it with `acquireJwks`. */
export class JwksSource {
  readonly url: string
  /** The URL as it is told: without its query, which may hold a key. */
  readonly place: string
  /** Null before the first fetch that went well, and after a day of failures. */
  current: KeySet | null = null
  /** When it was last fetched well; 0 before that. */
  fetchedAt = 0
  /** When the first of the last failures in a row was; 0 while all is well. */
  failingSince = 0
  /** When the next fetch is due, by the clock. */
  nextAt = 0
  readonly observers: JwksObserver[] = []
  readonly #clock: Clock
  readonly #timeout: number
  #agent: Agent | null = null
  #underWay: Promise<void> | null = null
  #abort: AbortController | null = null
  #takeBack: () => void = () => {}
  #lookedAt = Number.NEGATIVE_INFINITY
  #failures = 0
  #leftOut = ''
  #closed = false

  /** `timeout` is of one fetch, in real milliseconds. Nothing is fetched before `start`. */
  constructor(url: string, clock: Clock, timeout = TIMEOUT) {
    this.url = url
    this.place = url.split('?', 1)[0]!
    this.#clock = clock
    this.#timeout = timeout
  }

  /** Begin fetching; returns at once. */
  start(): void {
    void this.#fetch()
  }

  /** While nothing was ever fetched: the fetch that is under way, or null when the next one is only due later. */
  get first(): Promise<void> | null {
    return this.#underWay
  }

  /**
   * A key id is not known: the fetch to wait for before looking again, the same for all who ask meanwhile; null when
   * another look must wait. Never rejects.
   */
  lookAgain(): Promise<void> | null {
    if (this.#underWay !== null) return this.#underWay
    const now = this.#clock.now()
    // A clock that was set back must not stop the looking.
    if (now - this.#lookedAt < COOLDOWN && now >= this.#lookedAt) return null
    this.#lookedAt = now
    return this.#fetch()
  }

  /** Seconds until the next fetch while there are no keys, at least one: for Retry-After. */
  get retryAfter(): number {
    // By a clock that was set back it would be hours.
    const wait = Math.min(this.nextAt - this.#clock.now(), LONGEST_BACKOFF)
    return Math.max(1, Math.ceil(wait / 1000))
  }

  /** Stop fetching and let go of the connection. What waits gets to know. */
  close(): void {
    this.#closed = true
    this.#takeBack()
    this.#abort?.abort()
    this.current?.end()
    this.current = null
    void this.#agent?.destroy()
  }

  /** One fetch at a time. Never rejects. */
  #fetch(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#underWay ??= this.#once().finally(() => {
      this.#underWay = null
    })
    return this.#underWay
  }

  async #once(): Promise<void> {
    this.#takeBack()
    try {
      const { set, leftOut, keepFor } = await this.#ask()
      if (this.#closed) return
      this.current = set.succeed(this.current)
      this.fetchedAt = this.#clock.now()
      this.#tellOfSuccess(set.keys.length, leftOut)
      this.failingSince = 0
      this.#failures = 0
      this.#again(keepFor)
    } catch (error) {
      if (!this.#closed) this.#failed(error as Error)
    }
  }

  async #ask(): Promise<{ set: KeySet; leftOut: readonly string[]; keepFor: number }> {
    const abort = new AbortController()
    this.#abort = abort
    // Only those who have keys to fetch pay for the client, and its loading is no time of the server's.
    const { Agent, request } = await import('undici')
    const late = () => abort.abort(new Error(`no whole answer within ${this.#timeout} ms`))
    // Of real time, and of the whole: an answer that drips is as good as none. What has arrived is read before.
    const timer = setTimeout(() => setImmediate(late), this.#timeout)
    try {
      this.#agent ??= new Agent({
        allowH2: false,
        connections: 1,
        pipelining: 1,
        connect: { timeout: this.#timeout },
        keepAliveTimeout: 1,
      })
      // No redirect is followed: who may name keys is settled by the configuration.
      const { statusCode, headers, body } = await request(this.url, {
        dispatcher: this.#agent,
        signal: abort.signal,
        headers: { accept: 'application/jwk-set+json, application/json', 'accept-encoding': 'identity' },
      })
      // Left unread it would hold the connection; an error of the rest concerns nobody.
      body.on('error', () => {})
      if (statusCode !== 200) {
        body.destroy()
        throw new Error(`the answer is ${statusCode}`)
      }
      const pieces: Buffer[] = []
      let size = 0
      for await (const piece of body as AsyncIterable<Buffer>) {
        size += piece.length
        if (size > MAX_BODY) {
          body.destroy()
          throw new Error(`the answer has more than ${MAX_BODY} bytes`)
        }
        pieces.push(piece)
      }
      return { ...readKeySet(parse(Buffer.concat(pieces), headers['content-encoding'])), keepFor: keepFor(headers) }
    } finally {
      clearTimeout(timer)
      this.#abort = null
    }
  }

  #tellOfSuccess(usable: number, leftOut: readonly string[]): void {
    const [observer] = this.observers
    observer?.count('jwks_refreshed')
    if (this.failingSince !== 0) observer?.log('info', 'the keys can be fetched again', { url: this.place })
    const text = leftOut.join('; ')
    if (text !== this.#leftOut || usable === 0) {
      this.#leftOut = text
      if (usable === 0) observer?.log('warn', 'no key can be used', { url: this.place, leftOut })
      else if (text !== '') observer?.log('info', 'some keys are left out', { url: this.place, leftOut })
    }
  }

  #failed(error: Error): void {
    const now = this.#clock.now()
    const [observer] = this.observers
    observer?.count('jwks_failed')
    if (this.failingSince === 0) {
      this.failingSince = now
      observer?.log('warn', 'the keys cannot be fetched', {
        url: this.place,
        error: reason(error),
        keepsOld: this.current !== null,
      })
    }
    if (this.current !== null && now - this.failingSince >= STALE) {
      this.current.end()
      this.current = null
      observer?.log('error', 'the keys could not be fetched for a day and no longer count', { url: this.place })
    }
    const pause = Math.min(BACKOFF * 2 ** Math.min(this.#failures, 6), LONGEST_BACKOFF)
    this.#failures++
    this.#again(pause)
  }

  #again(ms: number): void {
    this.nextAt = this.#clock.now() + ms
    this.#takeBack = this.#clock.later(ms, () => void this.#fetch())
  }
}

/** `coding` is what Content-Encoding says: none was asked for, but a server may send it all the same. */
function parse(bytes: Buffer, coding: string | string[] = ''): unknown {
  try {
    // TextDecoder takes off a byte order mark, with which Windows writes files (RFC 8259 8.1).
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    throw new Error(`the answer is no JSON${coding.length === 0 ? '' : `, its Content-Encoding is ${coding}`}`)
  }
}

/** The system's word for what happened, where the library wraps it. */
function reason(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error
  return cause.message === '' ? ((cause as NodeJS.ErrnoException).code ?? cause.name) : cause.message
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** How long an answer may be kept, in milliseconds (RFC 9111 5.2.2), within this plugin's bounds. */
export function keepFor(headers: Headers): number {
  const control = String(headers['cache-control'] ?? '').toLowerCase()
  if (/(?:^|[\s,])no-(?:store|cache)\b/.test(control)) return SOONEST
  const age = /(?:^|[\s,])max-age="?(\d+)\b/.exec(control)?.[1]
  if (age === undefined) return REFRESH
  const spent = /^\d{1,10}$/.exec(String(headers.age ?? ''))?.[0] ?? '0'
  return Math.min(Math.max((Number(age) - Number(spent)) * 1000, SOONEST), LATEST)
}

/** Sources in use, by URL, with the number of users. */
const sources = new Map<string, { readonly source: JwksSource; users: number }>()

/** A source that is in use, until `release`. */
export interface JwksLease {
  readonly source: JwksSource
  release(): void
}

/**
 * The process's one source for a URL; the first to ask starts it. So a hundred routes fetch as often as one, and a
 * reload that changes a plugin's options finds the keys where they were.
 */
export function acquireJwks(url: string, observer: JwksObserver, clock: Clock): JwksLease {
  let entry = sources.get(url)
  if (entry === undefined) {
    entry = { source: new JwksSource(url, clock), users: 0 }
    entry.source.observers.push(observer)
    sources.set(url, entry)
    entry.source.start()
  } else entry.source.observers.push(observer)
  entry.users++
  const { source } = entry
  let released = false
  return {
    source,
    release() {
      if (released) return
      released = true
      source.observers.splice(source.observers.indexOf(observer), 1)
      const held = sources.get(url)!
      if (--held.users > 0) return
      sources.delete(url)
      source.close()
    },
  }
}
