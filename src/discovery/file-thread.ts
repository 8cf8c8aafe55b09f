// The thread that watches files: one for each registry, begun with its first order and again after it broke.
import { Worker } from 'node:worker_threads'
import type { FileAnswer, FileOrder, FileWatch } from './file-worker.ts'

/** Most memory that the thread may take, in MiB: the largest file in some forms. */
const MEMORY = 512

/** Who gives orders to the thread. */
export interface FileListener {
  /** Called with what the thread tells, each answer in a turn of the event loop of its own. */
  told(answer: FileAnswer): void
  /** Called when the thread broke: it knows of no order any more. */
  broke(error: Error): void
}

/** See the head of this file. */
export class FileThread {
  readonly #listener: FileListener
  readonly #memory: number
  #worker: Worker | null = null
  #awaited = 0
  /** Not passed on yet. */
  #answers: FileAnswer[] = []
  #passing: NodeJS.Immediate | null = null

  /** `memory` in MiB. */
  constructor(listener: FileListener, memory = MEMORY) {
    this.#listener = listener
    this.#memory = memory
  }

  /** Tell of a file from now on, as it is now to begin with. */
  watch(order: FileWatch): void {
    this.#worker ??= this.#start()
    this.#tell({ kind: 'watch', ...order })
  }

  /** Nobody asks for this file any more. */
  forget(file: number): void {
    this.#tell({ kind: 'forget', file })
  }

  /** Keep the process alive, until `release` was called as often. */
  hold(): void {
    this.#awaited++
    this.#worker?.ref()
  }

  release(): void {
    if (--this.#awaited === 0) this.#worker?.unref()
  }

  #tell(order: FileOrder): void {
    this.#worker?.postMessage(order)
  }

  /** Each in a turn of its own: what an answer changes takes time, and requests come in between. */
  readonly #pass = (): void => {
    const answer = this.#answers.shift()
    this.#passing = this.#answers.length > 0 ? setImmediate(this.#pass) : null
    if (answer !== undefined) this.#listener.told(answer)
    // More would add up here while this thread has no time for it.
    if (this.#passing === null) this.#tell({ kind: 'taken' })
  }

  #start(): Worker {
    const worker = new Worker(new URL('./file-worker.js', import.meta.url), {
      workerData: { sluice: 'files' },
      resourceLimits: { maxOldGenerationSizeMb: this.#memory },
    })
    worker.on('message', (told: readonly FileAnswer[]) => {
      if (this.#worker !== worker) return
      this.#answers.push(...told)
      if (this.#passing === null) this.#pass()
    })
    const broken = (why: string) => {
      if (this.#worker !== worker) return
      this.close()
      this.#listener.broke(new Error(`the thread that reads files ended: ${why}`))
    }
    worker.on('error', error => broken((error as Error).message))
    worker.on('exit', code => broken(`exit code ${code}`))
    if (this.#awaited === 0) worker.unref()
    return worker
  }

  /** Nobody asks any more. */
  close(): void {
    const worker = this.#worker
    this.#worker = null
    this.#answers = []
    if (this.#passing !== null) clearImmediate(this.#passing)
    this.#passing = null
    void worker?.terminate()
  }
}
