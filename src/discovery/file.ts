// A YAML or JSON file as a registry: a list of instances, or a map from services to such lists, read again when it changes.
import { resolve } from 'node:path'
import { z } from 'zod'
import { AnswerError } from './ask.ts'
import { type FileListener, FileThread } from './file-thread.ts'
import type { FileAnswer, ToldInstance } from './file-worker.ts'
import { type DiscoveryProvider, defineProvider, type Found } from './provider.ts'

/** Options of `kind: file`. */
export const fileOptions = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      'YAML or JSON file, relative to the YAML file of the gateway; `{service}` stands for the name of the service.',
    ),
})

/** The file of one service, and what the thread told of it. */
class ServiceFile {
  readonly file: number
  readonly path: string
  /** The last order to watch it. */
  order = 0
  /** What was told last of that order; null before. */
  answer: FileAnswer | null = null
  /** What was found in it last; null before. */
  found: Found | null = null
  /** Those who wait for what is told next. */
  readonly waiting = new Set<Waiting>()

  constructor(file: number, path: string) {
    this.file = file
    this.path = path
  }

  /** Resolves with what is told next; rejects when the thread breaks, and with the signal's reason when it is aborted. */
  next(signal: AbortSignal): Promise<FileAnswer> {
    return new Promise((resolve, reject) => {
      const settled = () => {
        signal.removeEventListener('abort', stop)
        this.waiting.delete(waiting)
      }
      const waiting = {
        resolve: (answer: FileAnswer) => {
          settled()
          resolve(answer)
        },
        reject: (error: Error) => {
          settled()
          reject(error)
        },
      }
      const stop = () => waiting.reject(signal.reason)
      this.waiting.add(waiting)
      signal.addEventListener('abort', stop, { once: true })
    })
  }
}

interface Waiting {
  resolve(answer: FileAnswer): void
  reject(error: Error): void
}

class FileRegistry implements DiscoveryProvider, FileListener {
  readonly #path: string
  readonly #baseDir: string
  readonly #thread = new FileThread(this)
  readonly #services = new Map<string, ServiceFile>()
  /** By their numbers. */
  readonly #files = new Map<number, ServiceFile>()
  #opened = 0

  constructor(path: string, baseDir: string) {
    this.#path = path
    this.#baseDir = baseDir
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    const known = this.#services.get(service) ?? this.#open(service)
    let { answer } = known
    if (cursor === null) {
      // Unlike waits for a change this keeps the process alive.
      this.#thread.hold()
      try {
        answer = await this.#now(known, service, signal)
      } finally {
        this.#thread.release()
      }
    } else if (answer === null) answer = await this.#now(known, service, signal)
    // What was told since the poll before is told at once.
    else if (answer.digest === cursor) answer = await known.next(signal)
    const { digest, fault } = answer
    // It is watched on: whoever mends the file need not wait for a backoff.
    if (fault !== null) throw new AnswerError(fault, 0, digest)
    return known.found!
  }

  /** Have it watched anew, beginning with what it is now. */
  #now(known: ServiceFile, service: string, signal: AbortSignal): Promise<FileAnswer> {
    const { file, path } = known
    known.answer = null
    this.#thread.watch({ file, path, service, order: ++known.order })
    return known.next(signal)
  }

  told(answer: FileAnswer): void {
    const known = this.#files.get(answer.file)
    if (known === undefined) return
    if (answer.instances !== null) {
      // Whatever order it answers, the next answer refers to it.
      const told = JSON.parse(answer.instances) as ToldInstance[]
      const before = known.found?.instances ?? []
      const instances = told.map(one => (typeof one === 'number' ? before[one]! : one))
      known.found = { instances, cursor: answer.digest }
    }
    if (answer.order !== known.order) return
    known.answer = answer
    for (const { resolve } of known.waiting) resolve(answer)
  }

  broke(error: Error): void {
    for (const known of this.#files.values()) {
      known.answer = null
      known.found = null
      for (const { reject } of known.waiting) reject(error)
    }
  }

  #open(service: string): ServiceFile {
    const path = resolve(
      this.#baseDir,
      this.#path.replaceAll('{service}', () => service),
    )
    const known = new ServiceFile(this.#opened++, path)
    this.#services.set(service, known)
    this.#files.set(known.file, known)
    return known
  }

  forget(service: string): void {
    const known = this.#services.get(service)
    if (known === undefined) return
    this.#thread.forget(known.file)
    this.#services.delete(service)
    this.#files.delete(known.file)
  }

  close(): void {
    this.#thread.close()
  }
}

/** The definition of `kind: file`. */
export const file = defineProvider({
  kind: 'file',
  options: fileOptions,
  create: ({ path }, { baseDir }) => new FileRegistry(path, baseDir),
})
