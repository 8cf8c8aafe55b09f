// Loading a file while requests flow: parsing and checking happen in a thread of their own, and come over in slices.
import { Worker } from 'node:worker_threads'
import type { CheckAnswer, CheckOrder } from './check-worker.ts'
import type { Config } from './document.ts'
import { deepFreeze, type Loaded } from './load.ts'

/** Longest a check may take, in milliseconds. */
const CHECK_TIME = 30_000
/** Most memory that a check may take, in MiB. */
const CHECK_MEMORY = 512

/**
 * The thread's program. A build has it as JavaScript; from sources it is TypeScript, and Node 20 gives a thread none of
 * the loaders that the process was started with, so that the development loader is registered in it first.
 */
function script(): URL | string {
  if (!import.meta.url.endsWith('.ts')) return new URL('./check-worker.js', import.meta.url)
  const program = JSON.stringify(new URL('./check-worker.ts', import.meta.url).href)
  const loader = JSON.stringify(new URL('../../scripts/loader/register.mjs', import.meta.url).href)
  return `import(${loader}).then(() => import(${program}))`
}

/** What the thread needs to know that it cannot ask for. */
export interface CheckOptions {
  readonly env: CheckOrder['env']
  /** URL of the module whose default export is the list of bundled plugins. */
  readonly bundled: string
  /** URLs of the modules that user plugins get for an import of that name, such as `sluice`. */
  readonly modules?: CheckOrder['modules']
  /** Longest the whole may take, in milliseconds; 30 s unless a test is impatient. */
  readonly time?: number
}

/**
 * Like `loadFile`, but the event loop of requests never waits more than some milliseconds, however long the file is.
 * Never rejects: a thread that crashes, runs out of memory or out of time is a fault.
 */
export function loadInWorker(file: string, options: CheckOptions): Promise<Loaded> {
  const { env, bundled, modules = {}, time = CHECK_TIME } = options
  const order: CheckOrder = { file, env: { ...env }, bundled, modules }
  return new Promise(done => {
    const finish = (loaded: Loaded) => {
      clearTimeout(timer)
      worker.removeAllListeners()
      // What still comes from a thread that is being ended concerns nobody.
      worker.on('error', () => {})
      void worker.terminate()
      done(loaded)
    }
    const fail = (message: string) => {
      finish({
        config: null,
        shown: null,
        faults: [{ file, line: 1, column: 1, path: '', message, code: 'SLUICE_CONFIG_FILE' }],
      })
    }
    const program = script()
    const worker = new Worker(program, {
      eval: typeof program === 'string',
      workerData: { sluice: 'check', order },
      resourceLimits: { maxOldGenerationSizeMb: CHECK_MEMORY },
    })
    const timer = setTimeout(() => fail(`the check took longer than ${time / 1000} s`), time)
    worker.on('error', error => fail(`the check failed: ${(error as Error).message.split('\n', 1)[0]}`))
    worker.on('exit', () => fail('the check ended without an answer'))

    let head: Extract<CheckAnswer, { kind: 'head' }> | null = null
    const upstreams: Config['upstreams'] = {}
    const routes: Config['routes'] = []
    worker.on('message', (answer: CheckAnswer) => {
      switch (answer.kind) {
        case 'faults':
          return finish({ config: null, shown: null, faults: answer.faults })
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
          return finish({ config: config as Config, shown: head!.shown, faults: [] })
        }
      }
      // Requests go first: the next slice is asked for when the loop has been around once.
      setImmediate(() => worker.postMessage('next'))
    })
  })
}
