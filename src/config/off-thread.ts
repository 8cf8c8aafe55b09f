// Loading a file while requests flow: parsing and checking happen in a thread of their own, and come over in slices.
import { Worker } from 'node:worker_threads'
import { firstLine } from '../pipeline/catalog.ts'
import type { CheckAnswer, CheckOrder, CheckSetup } from './check-worker.ts'
import type { Config } from './document.ts'
import type { Problem } from './explain.ts'
import type { Fault } from './fault.ts'
import { deepFreeze, type Loaded } from './load.ts'

/** Longest a check may take, in milliseconds: 10,000 routes are seconds of work, and a machine at its limit gives them a tenth of a core. */
const CHECK_TIME = 120_000
/** Most memory that a check may take, in MiB. */
const CHECK_MEMORY = 512
/** How long a thread is kept, in milliseconds: changes come in bursts, and to load its program is most of a check. */
const LINGER = 5_000

/** How a file is checked. */
export interface CheckOptions {
  /** URL of the module whose default export is the list of bundled plugins. */
  readonly bundled: string
  /** URLs of the modules that user plugins get for an import of that name, such as `sluice`. */
  readonly modules?: CheckSetup['modules']
  /** Longest a check may take, in milliseconds; 2 min unless a test is impatient. */
  readonly time?: number
  /** How long a thread waits for another file, in milliseconds; 5 s unless a test is impatient. */
  readonly linger?: number
}

/** Checks files for one gateway. */
export class FileChecker {
  readonly #setup: CheckSetup
  readonly #time: number
  readonly #linger: number
  /** A thread that has answered, and may answer again. */
  #spare: Worker | null = null
  #lingering: NodeJS.Timeout | null = null
  #closed = false

  constructor({ bundled, modules = {}, time = CHECK_TIME, linger = LINGER }: CheckOptions) {
    this.#setup = { bundled, modules }
    this.#time = time
    this.#linger = linger
  }

  /**
   * Like `loadFile`, but the event loop of requests never waits more than some milliseconds, however long the file is.
   * Never rejects: a thread that crashes, runs out of memory or out of time is a fault.
   */
  load(file: string, env: CheckOrder['env']): Promise<Loaded> {
    return this.#order({ file, env: { ...env } })
  }

  /** Like `faultsIn`, and as `load` is: to find a place, the file is parsed anew. */
  async faultsIn(file: string, problems: readonly Problem[], env: CheckOrder['env']): Promise<readonly Fault[]> {
    return (await this.#order({ file, env: { ...env }, problems })).faults
  }

  #order(order: CheckOrder): Promise<Loaded> {
    const { file } = order
    const worker = this.#spare ?? this.#start()
    this.#forget()
    return new Promise(done => {
      const finish = (loaded: Loaded, fit = false) => {
        clearTimeout(timer)
        // One by one: without a name they would take Node's own with them, and nothing more would be heard.
        for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
        // What still comes from a thread that is being ended concerns nobody.
        worker.on('error', () => {})
        if (fit && !this.#closed) this.#keep(worker)
        else void worker.terminate()
        done(loaded)
      }
      const fail = (message: string) => {
        finish({
          config: null,
          shown: null,
          faults: [{ file, line: 1, column: 1, path: '', message, code: 'SLUICE_CONFIG_FILE' }],
        })
      }
      const timer = setTimeout(() => fail(`the check took longer than ${this.#time / 1000} s`), this.#time)
      worker.on('error', error => fail(`the check failed: ${firstLine(error)}`))
      worker.on('exit', () => fail('the check ended without an answer'))
      worker.postMessage(order)

      let head: Extract<CheckAnswer, { kind: 'head' }> | null = null
      const upstreams: Config['upstreams'] = {}
      const routes: Config['routes'] = []
      worker.on('message', (answer: CheckAnswer) => {
        switch (answer.kind) {
          case 'faults':
            return finish({ config: null, shown: null, faults: answer.faults }, answer.fit)
          case 'head':
            head = answer
            break
          case 'upstreams':
            for (const [name, upstream] of answer.slice) upstreams[name] = deepFreeze(upstream)
            break
          case 'routes':
            for (const route of answer.slice) routes.push(deepFreeze(route))
            break
          case 'done': {
            deepFreeze(head!.head)
            // Their members are frozen, each in its slice.
            const config = Object.freeze({
              ...head!.head,
              upstreams: Object.freeze(upstreams),
              routes: Object.freeze(routes),
            })
            return finish({ config: config as Config, shown: head!.shown, faults: [] }, answer.fit)
          }
        }
        // Requests go first: the next slice is asked for when the loop has been around once.
        setImmediate(() => worker.postMessage('next'))
      })
    })
  }

  #start(): Worker {
    return new Worker(new URL('./check-worker.js', import.meta.url), {
      workerData: { sluice: 'check', setup: this.#setup },
      resourceLimits: { maxOldGenerationSizeMb: CHECK_MEMORY },
    })
  }

  #keep(worker: Worker): void {
    this.#end()
    this.#spare = worker
    worker.unref()
    worker.on('exit', () => {
      if (this.#spare === worker) this.#forget()
    })
    this.#lingering = setTimeout(() => this.#end(), this.#linger)
    this.#lingering.unref()
  }

  /** The spare thread is no longer one. */
  #forget(): void {
    if (this.#lingering !== null) clearTimeout(this.#lingering)
    this.#lingering = null
    this.#spare?.removeAllListeners('exit')
    this.#spare?.ref()
    this.#spare = null
  }

  #end(): void {
    const worker = this.#spare
    this.#forget()
    void worker?.terminate()
  }

  /** No file will be checked any more. A check under way ends by itself. */
  close(): void {
    this.#closed = true
    this.#end()
  }
}
