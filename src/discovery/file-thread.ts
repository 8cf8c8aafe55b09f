// Asking the thread that watches files: one for each registry, begun when it is first asked and again when it broke.
import { Worker } from 'node:worker_threads'
import { abortable } from './abortable.ts'
import { AnswerError } from './ask.ts'
import type { FileReading } from './file-reading.ts'
import type { FileAnswer, FileOrder } from './file-worker.ts'

/** Most memory that the thread may take, in MiB: some copies of the largest file. */
const MEMORY = 256

interface Waiting {
  readonly resolve: (reading: FileReading) => void
  readonly reject: (error: Error) => void
}

/** See the head of this file. */
export class FileThread {
  #worker: Worker | null = null
  #asks = 0
  #files = 0
  readonly #waiting = new Map<number, Waiting>()
  /** Asked for files as they are now: unlike a wait for a change these keep the process alive. */
  #urgent = 0

  /** A file to ask for; nothing is looked at yet. */
  file(path: string): ThreadFile {
    return new ThreadFile(this, ++this.#files, path)
  }

  /** See ThreadFile.read. */
  async ask(file: number, path: string, cursor: string | null, signal: AbortSignal): Promise<FileReading> {
    const ask = ++this.#asks
    const answered = new Promise<FileReading>((resolve, reject) => this.#waiting.set(ask, { resolve, reject }))
    this.#worker ??= this.#start()
    this.tell({ kind: 'ask', ask, file, path, cursor })
    if (cursor === null) {
      this.#urgent++
      this.#worker.ref()
    }
    try {
      return await abortable(answered, signal)
    } finally {
      if (cursor === null && --this.#urgent === 0) this.#worker?.unref()
      if (this.#waiting.delete(ask)) this.tell({ kind: 'stop', ask })
    }
  }

  /** Nothing where there is no thread. */
  tell(order: FileOrder): void {
    this.#worker?.postMessage(order)
  }

  #start(): Worker {
    const worker = new Worker(new URL('./file-worker.js', import.meta.url), {
      workerData: { sluice: 'files' },
      resourceLimits: { maxOldGenerationSizeMb: MEMORY },
    })
    worker.on('message', (answer: FileAnswer) => {
      const waiting = this.#waiting.get(answer.ask)
      this.#waiting.delete(answer.ask)
      if ('reading' in answer) waiting?.resolve(answer.reading)
      else waiting?.reject(new AnswerError(answer.error))
    })
    const broken = (why: string) => {
      if (this.#worker !== worker) return
      this.#worker = null
      for (const { reject } of this.#waiting.values()) reject(new Error(`the thread that reads files ended: ${why}`))
      this.#waiting.clear()
    }
    worker.on('error', error => broken((error as Error).message))
    worker.on('exit', code => broken(`exit code ${code}`))
    worker.unref()
    return worker
  }

  /** Nobody asks any more. */
  close(): void {
    const worker = this.#worker
    this.#worker = null
    void worker?.terminate()
  }
}

/** One file that is asked for again and again. */
export class ThreadFile {
  readonly path: string
  readonly #thread: FileThread
  readonly #id: number

  constructor(thread: FileThread, id: number, path: string) {
    this.#thread = thread
    this.#id = id
    this.path = path
  }

  /**
   * The file as it is now, or with a cursor once it is another than that (WatchedFile.changed). Rejects with an AnswerError
   * for what cannot be read, with another error where the thread broke, and with the signal's reason when that is aborted.
   */
  read(cursor: string | null, signal: AbortSignal): Promise<FileReading> {
    return this.#thread.ask(this.#id, this.path, cursor, signal)
  }

  /** Nobody asks any more. */
  forget(): void {
    this.#thread.tell({ kind: 'forget', file: this.#id })
  }
}
