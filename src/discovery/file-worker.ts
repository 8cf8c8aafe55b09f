// The thread that the files of one registry are watched, read and parsed in: what that takes holds up no request.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { parseFile } from './file-parse.ts'
import { type FileReading, NONE, WatchedFile } from './file-reading.ts'
import type { Instance } from './provider.ts'

/** Milliseconds in which changes are gathered: the thread of requests wakes up once for all of them. */
const TOGETHER = 50
/** So many are told in one message at the most: to take it in holds up requests. */
const MOST = 10

/** A file to tell of: as it is now, and from then on whenever it changes. Nobody needs to ask again. */
export interface FileWatch {
  /** The asker's number for the file of this service. */
  readonly file: number
  readonly path: string
  readonly service: string
  /** The asker's number for this order: a later one about the same file begins anew. */
  readonly order: number
}

/** What the thread is told; `taken`: that all it told was dealt with. */
export type FileOrder =
  | ({ readonly kind: 'watch' } & FileWatch)
  | { readonly kind: 'forget'; readonly file: number }
  | { readonly kind: 'taken' }

/** An instance, or its place in the list that was told last. */
export type ToldInstance = Instance | number

/** What is told of a file, after WAIT also where nothing is new. */
export interface FileAnswer {
  readonly file: number
  /** The order that it answers. */
  readonly order: number
  /** Of its text; NONE where there is none. */
  readonly digest: string
  /** ToldInstance[] as JSON; null for the same as last, and where there is a fault. */
  readonly instances: string | null
  /** Why it cannot be used, fit for a log; null where it can. */
  readonly fault: string | null
}

/** One file that is told of. */
class Told {
  readonly #path: string
  readonly #service: string
  /** Digest of the text whose instances were told last; null before. */
  #known: string | null = null
  /** Those instances as JSON, with their places. */
  #places = new Map<string, number>()
  #abort = new AbortController()

  constructor({ path, service }: FileWatch) {
    this.#path = path
    this.#service = service
  }

  /** Tell of the file until `stop`, or until it is begun anew. It is looked at again once what was found is on its way. */
  async watch({ file, order }: FileWatch, tell: (answer: FileAnswer) => Promise<void>): Promise<void> {
    this.stop()
    const abort = new AbortController()
    this.#abort = abort
    const watched = new WatchedFile(this.#path)
    for (let cursor: string | null = null; ; ) {
      const { digest, instances, fault } = await this.#look(watched, cursor, abort.signal)
      if (abort.signal.aborted) break
      cursor = digest
      await tell({ file, order, digest, instances: instances === null ? null : this.#told(digest, instances), fault })
    }
    watched.close()
  }

  stop(): void {
    this.#abort.abort()
  }

  /** What there is to tell, once the file is another than `cursor` says. */
  async #look(watched: WatchedFile, cursor: string | null, signal: AbortSignal) {
    const refused = (digest: string, fault: string) => ({ digest, instances: null, fault })
    let reading: FileReading
    try {
      reading = cursor === null ? watched.now() : await watched.changed(cursor, signal)
      if (reading.digest === this.#known) return { digest: reading.digest, instances: null, fault: null }
      // As broken as it was: that is told again.
      if (reading.text === undefined) reading = watched.now()
    } catch (error) {
      return refused(NONE, (error as Error).message)
    }
    const { text, digest } = reading
    if (text == null) return refused(NONE, `there is no file ${this.#path}`)
    try {
      return { digest, instances: parseFile(text, this.#service), fault: null }
    } catch (error) {
      return refused(digest, `${this.#path}:${(error as Error).message}`)
    }
  }

  /** The instances as JSON. What is told again is not read again by those who are told. */
  #told(digest: string, instances: readonly Instance[]): string {
    this.#known = digest
    const places = new Map<string, number>()
    const told = instances.map((instance, i) => {
      const text = JSON.stringify(instance)
      places.set(text, i)
      return this.#places.get(text) ?? text
    })
    this.#places = places
    return `[${told.join()}]`
  }
}

/** Answers on their way: those of some moments in one message, and no other message before that is taken. */
class Post {
  readonly #port: MessagePort
  readonly #answers: { readonly answer: FileAnswer; readonly sent: () => void }[] = []
  #soon: NodeJS.Timeout | undefined
  #free = true

  constructor(port: MessagePort) {
    this.#port = port
  }

  /** Resolves once it is sent, within `ms` where the others are taken: of each file one answer waits at the most. */
  send(answer: FileAnswer, ms: number): Promise<void> {
    return new Promise(sent => {
      if (this.#answers.push({ answer, sent }) >= MOST) this.#send()
      else this.#soon ??= setTimeout(() => this.#send(), ms)
    })
  }

  taken(): void {
    this.#free = true
    if (this.#soon === undefined) this.#send()
  }

  #send(): void {
    clearTimeout(this.#soon)
    this.#soon = undefined
    if (!this.#free || this.#answers.length === 0) return
    this.#free = false
    const some = this.#answers.splice(0, MOST)
    this.#port.postMessage(some.map(({ answer }) => answer))
    for (const { sent } of some) sent()
  }
}

function main(port: MessagePort): void {
  const files = new Map<number, Told>()
  const post = new Post(port)

  function watch(order: FileWatch): void {
    const file = files.get(order.file) ?? new Told(order)
    files.set(order.file, file)
    let first = true
    void file.watch(order, answer => {
      const ms = first ? 0 : TOGETHER
      first = false
      return post.send(answer, ms)
    })
  }

  port.on('message', (order: FileOrder) => {
    if (order.kind === 'watch') watch(order)
    else if (order.kind === 'taken') post.taken()
    else {
      files.get(order.file)?.stop()
      files.delete(order.file)
    }
  })
}

// Off the main thread only: whoever imports a type from here must not wait for orders.
if (parentPort !== null && (workerData as { sluice?: string } | null)?.sluice === 'files') main(parentPort)
