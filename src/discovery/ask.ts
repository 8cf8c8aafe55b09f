// Asking a registry over HTTP: one request with a bound on its time and on the size of its answer, or a stream of lines.
import { hash } from 'node:crypto'
import type { SecureContext } from 'node:tls'
import type { Agent, Dispatcher } from 'undici'
import { FORBIDDEN_KEYS, isRecord } from '../value-at.ts'
import { abortable } from './abortable.ts'
import { readBody } from './body.ts'
import { MAX_ENTRIES, WAIT } from './provider.ts'

/**
 * Longest line of a stream, in characters: room for an EndpointSlice of a thousand endpoints and for a thousand events of
 * etcd. Parsing more would stop all traffic for longer than a few hundredths of a second.
 */
const MAX_LINE = 4 * 1024 * 1024

/** Milliseconds that a connection to one of several servers may take: the time of a poll is to last for another. */
const PATIENCE = 1_500

/** A registry answered with something other than what was asked for. The message is fit for a log. */
export class AnswerError extends Error {
  /** HTTP status; 0 when it was not the status that was wrong. */
  readonly status: number
  /** What the next poll may wait from, at a registry that can tell when it is mended; null for none. */
  readonly cursor: string | null

  constructor(message: string, status = 0, cursor: string | null = null) {
    super(message)
    this.name = 'AnswerError'
    this.status = status
    this.cursor = cursor
  }
}

/** One question. */
export interface Question {
  readonly method?: 'GET' | 'POST' | 'PUT'
  /** Path and query, put behind the address. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON when given. */
  readonly body?: unknown
  /** Sent as a form when given, instead of `body`. */
  readonly form?: string
  /** The answer may take as long as nothing changes: where it fails, no other server is asked in its time. */
  readonly waits?: boolean
  readonly signal: AbortSignal
}

/** A whole answer with status 2xx. */
export interface Answer<T = unknown> {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Its body, parsed as JSON, or what was made of that. */
  readonly value: T
}

/** TLS towards a registry. */
export interface AskTls {
  /** Authorities to trust, and the certificate to show; null for the usual authorities and none. */
  readonly context: SecureContext | null
  /** Check the certificate of the registry. */
  readonly verify: boolean
}

/** A registry's HTTP interface at one address, or at several that are tried in turn when one does not answer. */
export class HttpRegistry {
  readonly #addresses: readonly URL[]
  readonly #tls: AskTls
  /** What was made of the last answer about each service, and what that answer is known by. */
  readonly #made = new Map<string, { readonly digest: string; readonly value: unknown }>()
  #at = 0
  #agent: Agent | null = null

  /** `addresses` are http or https URLs, checked before; a path in one is put before each question's. */
  constructor(addresses: readonly string[], tls: AskTls = { context: null, verify: true }) {
    this.#addresses = addresses.map(text => new URL(text))
    this.#tls = tls
  }

  /**
   * Ask and read the whole answer. Rejects with AnswerError for any status but 2xx, for more than MAX_ANSWER bytes and for
   * what is no JSON.
   */
  ask(question: Question): Promise<Answer> {
    return this.#ask(question, body => parseJson(body.toString()))
  }

  /**
   * As `ask`, and `make` turns what came about `service` into something else: the same object again for the bytes of the
   * last answer about it, which are not parsed then. What matches `passing` says nothing of the service, such as the time.
   * Rejects with what `make` throws, too.
   */
  askAbout<T>(
    service: string,
    question: Question,
    make: (value: unknown) => T,
    passing: RegExp | null = null,
  ): Promise<Answer<T>> {
    return this.#ask(question, body => {
      const digest = digestOf(passing === null ? body : body.toString().replace(passing, ''))
      const last = this.#made.get(service)
      if (last?.digest === digest) return last.value as T
      const value = make(parseJson(body.toString()))
      this.#made.set(service, { digest, value })
      return value
    })
  }

  /** Nobody asks about this service any more: what was made of its last answer is let go. */
  forget(service: string): void {
    this.#made.delete(service)
  }

  /** At one server after the other, for as long as they fail. */
  async #ask<T>(question: Question, read: (body: Buffer) => T): Promise<Answer<T>> {
    for (let left = question.waits ? 1 : this.#addresses.length; ; left--) {
      const at = this.#at
      try {
        const { headers, body } = await this.#send(question, at)
        const bytes = await readBody(body, headers['content-encoding'])
        if (typeof bytes === 'string') throw new AnswerError(bytes)
        return { headers, value: read(bytes) }
      } catch (error) {
        this.#passOver(at, error)
        if (left === 1 || at === this.#at || question.signal.aborted) throw error
      }
    }
  }

  /** As `ask`, the body alone. */
  async askJson(question: Question): Promise<unknown> {
    return (await this.ask(question)).value
  }

  /**
   * Ask for an answer without an end and yield its lines as they come. Ends when the registry ends it; leaving the loop
   * closes the connection. Rejects like `ask`, and for a line of more than MAX_LINE characters.
   */
  async *lines(question: Question): AsyncGenerator<string, void, undefined> {
    const at = this.#at
    const response = await this.#send(question, at).catch(error => {
      this.#passOver(at, error)
      throw error
    })
    const decoder = new TextDecoder()
    // Of the line under way: what came before is not looked at again, however small the pieces.
    let pieces: string[] = []
    let length = 0
    try {
      for await (const chunk of response.body) {
        const [first, ...others] = decoder.decode(chunk as Buffer, { stream: true }).split('\n') as [
          string,
          ...string[],
        ]
        pieces.push(first)
        length += first.length
        for (const next of others) {
          const line = pieces.join('')
          pieces = [next]
          length = next.length
          if (line.trim() !== '') yield line
        }
        if (length > MAX_LINE)
          throw new AnswerError(`a line of the answer is longer than ${MAX_LINE / 1024 / 1024} MiB`)
      }
      const rest = pieces.join('')
      if (rest.trim() !== '') yield rest
    } finally {
      response.body.destroy()
    }
  }

  /**
   * Ask for an answer without an end and wait for a line that is news, WAIT at most. `registry` when the registry ended
   * the answer before there was one. Rejects like `lines`, and as soon as the question's signal is aborted.
   */
  async news(question: Question, isNews: (line: unknown) => boolean): Promise<'news' | 'waited' | 'registry'> {
    const { signal } = question
    signal.throwIfAborted()
    const end = new AbortController()
    const stop = () => end.abort()
    const timer = setTimeout(stop, WAIT).unref()
    signal.addEventListener('abort', stop)
    try {
      for await (const line of this.lines({ ...question, signal: end.signal }))
        if (isNews(parseJson(line))) return 'news'
      return 'registry'
    } catch (error) {
      signal.throwIfAborted()
      if (end.signal.aborted) return 'waited'
      throw error
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
  }

  /** At the address with the number `at`. */
  async #send(question: Question, at: number): Promise<Dispatcher.ResponseData> {
    const { method = 'GET', path, headers, body, form, signal } = question
    // Loaded on need: who lists their endpoints does not pay for it.
    const { Agent, request } = await import('undici')
    const { context, verify } = this.#tls
    this.#agent ??= new Agent({
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        rejectUnauthorized: verify,
        ...(this.#addresses.length > 1 && { timeout: PATIENCE }),
        ...(context !== null && { secureContext: context }),
      },
    })
    const address = this.#addresses[at % this.#addresses.length]!
    const url = new URL(address.href.replace(/\/$/, '') + path)
    const basic = credentials(url)
    const sent = request(url, {
      dispatcher: this.#agent,
      method,
      signal,
      headers: {
        accept: 'application/json',
        ...(basic !== null && { authorization: basic }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(form !== undefined && { body: form }),
    })
    // A connection under way hears no signal in undici.
    const response = await abortable(sent, signal)
    if (response.statusCode >= 200 && response.statusCode < 300) return response
    // Destroying tells of an error; without a listener it would end the process.
    response.body.on('error', () => {}).destroy()
    // Without the query, where Nacos has its token; the credentials are out of the URL.
    const asked = `${method} ${url.origin}${url.pathname}`
    throw new AnswerError(`answered ${response.statusCode} to ${asked}`, response.statusCode)
  }

  /** Another of several servers may know better: what comes next goes there, however many failed at this one. */
  #passOver(at: number, error: unknown): void {
    const status = error instanceof AnswerError ? error.status : 0
    if ((status === 0 || status >= 500) && this.#at === at) this.#at++
  }

  close(): void {
    void this.#agent?.destroy()
    this.#agent = null
  }
}

/** The Authorization field for credentials in an address, which are taken out of it. */
function credentials(url: URL): string | null {
  if (url.username === '' && url.password === '') return null
  const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
  url.username = url.password = ''
  return `Basic ${Buffer.from(pair).toString('base64')}`
}

/** What an answer is known by: no two that differ have the same. */
export function digestOf(content: string | Uint8Array): string {
  return hash('sha256', content, 'base64')
}

/** Parse JSON from a registry. Throws AnswerError. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new AnswerError('the answer is no JSON')
  }
}

/** The value as a map; what is none becomes an empty one. */
export function asMap(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {}
}

/** The value as a list of up to MAX_ENTRIES. Throws AnswerError about `what`. */
export function asList(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new AnswerError(`${what} is no list`)
  if (value.length > MAX_ENTRIES) throw new AnswerError(`${what} is a list of more than ${MAX_ENTRIES} entries`)
  return value
}

/** Those entries of a map that are texts, numbers or booleans, as texts: what labels are made of. Put into `labels`. */
export function asLabels(value: unknown, labels: Record<string, string> = {}): Record<string, string> {
  const map = asMap(value)
  for (const key of Object.keys(map)) {
    const inner = map[key]
    if (FORBIDDEN_KEYS.has(key)) continue
    if (typeof inner === 'string') labels[key] = inner
    else if (typeof inner === 'number' || typeof inner === 'boolean') labels[key] = String(inner)
  }
  return labels
}
