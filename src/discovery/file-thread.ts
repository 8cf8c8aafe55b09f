// Asking the thread that watches files: one for each registry, begun when it is first asked and again when it broke.
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { abortable } from './abortable.ts'
import type { FileAnswer, FileMessages, FileOrder, FileQuestion } from './file-worker.ts'

/** Most memory that the thread may take, in MiB: the largest file in some forms. */
const MEMORY = 512

interface Waiting {
  readonly resolve: (answer: FileAnswer) => void
  readonly reject: (error: Error) => void
}

/** See the head of this file. */
export class FileThread {
  #worker: Worker | null = null
  #asks = 0
  readonly #waiting = new Map<number, Waiting>()
  /** Questions about files as they are now: unlike waits for a change these keep the process alive. */
  #urgent = 0
  readonly #memory: number

  /** `memory` in MiB. */
  constructor(memory = MEMORY) {
    this.#memory = memory
  }

  /** Rejects where the thread broke, and with the signal's reason when that is aborted. */
  async ask(question: FileQuestion, signal: AbortSignal): Promise<FileAnswer> {
    const ask = ++this.#asks
    const answered = new Promise<FileAnswer>((resolve, reject) => this.#waiting.set(ask, { resolve, reject }))
    this.#worker ??= this.#start()
    this.#tell({ kind: 'ask', ask, question })
    const urgent = question.cursor === null
    if (urgent) {
      this.#urgent++
      this.#worker.ref()
    }
    try {
      return await abortable(answered, signal)
    } finally {
      if (urgent && --this.#urgent === 0) this.#worker?.unref()
      if (this.#waiting.delete(ask)) this.#tell({ kind: 'stop', ask })
    }
  }

  /** Nobody asks for this file any more. */
  forget(file: number): void {
    this.#tell({ kind: 'forget', file })
  }

  #tell(order: FileOrder): void {
    this.#worker?.postMessage(order)
  }

  /** Each in a turn of its own: what an answer changes takes time, and requests come in between. */
  async #pass(told: FileMessages): Promise<void> {
    for (const { ask, answer } of told) {
      await setImmediate()
      this.#waiting.get(ask)?.resolve(answer)
      this.#waiting.delete(ask)
    }
  }

  #start(): Worker {
    const worker = new Worker(new URL('./file-worker.js', import.meta.url), {
      workerData: { sluice: 'files' },
      resourceLimits: { maxOldGenerationSizeMb: this.#memory },
    })
    worker.on('message', (told: FileMessages) => void this.#pass(told))
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
