// The thread that a reload reads and checks the file in; answers with faults, or deals the configuration out in slices.
import { statSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { Catalog } from '../pipeline/catalog.ts'
import type { PluginDefinition } from '../pipeline/plugin.ts'
import type { Config } from './document.ts'
import type { Problem } from './explain.ts'
import type { Fault } from './fault.ts'
import { faultsIn, loadFile } from './load.ts'

/** Routes, or upstreams, of one message: what the main thread can take in without a request waiting for it. */
const SLICE = 250
/** Bytes of a file after which the thread takes no other order: what it holds then is better given back. */
const FIT_FILE = 256 * 1024

/** What the thread is started with. */
export interface CheckSetup {
  /** URL of the module whose default export is the list of bundled plugins. */
  readonly bundled: string
  /** URLs of the modules that user plugins get for an import of that name. */
  readonly modules: Readonly<Record<string, string>>
}

/** One file to check, or to find the places of `problems` in, which are then the faults that are answered. */
export interface CheckOrder {
  readonly file: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly problems?: readonly Problem[]
}

/**
 * What the thread says to an order: first faults or the head, then, for each `next` it is told, one slice. With the last
 * it says whether it is fit for another order: not when modules of a user ran in it, or a large file filled its memory.
 */
export type CheckAnswer =
  | { readonly kind: 'faults'; readonly faults: readonly Fault[]; readonly fit: boolean }
  | { readonly kind: 'head'; readonly head: Omit<Config, 'routes' | 'upstreams'>; readonly shown: string }
  | { readonly kind: 'upstreams'; readonly slice: readonly (readonly [string, Config['upstreams'][string]])[] }
  | { readonly kind: 'routes'; readonly slice: Config['routes'] }
  | { readonly kind: 'done'; readonly fit: boolean }

function* slices(config: Pick<Config, 'routes' | 'upstreams'>): Generator<CheckAnswer> {
  const upstreams = Object.entries(config.upstreams)
  for (let i = 0; i < upstreams.length; i += SLICE) yield { kind: 'upstreams', slice: upstreams.slice(i, i + SLICE) }
  for (let i = 0; i < config.routes.length; i += SLICE)
    yield { kind: 'routes', slice: config.routes.slice(i, i + SLICE) }
}

/** In bytes; 0 where the file cannot be looked at, which is told as a fault. */
function sizeOf(file: string): number {
  try {
    return statSync(file).size
  } catch {
    return 0
  }
}

async function main(port: NonNullable<typeof parentPort>, setup: CheckSetup): Promise<void> {
  const { default: definitions } = (await import(setup.bundled)) as { default: readonly PluginDefinition[] }
  const modules: Record<string, unknown> = {}
  for (const [name, url] of Object.entries(setup.modules)) modules[name] = await import(url)
  const say = (answer: CheckAnswer) => port.postMessage(answer)
  let left: Generator<CheckAnswer> = slices({ upstreams: {}, routes: [] })
  let fit = true

  async function check({ file, env, problems }: CheckOrder): Promise<void> {
    if (problems !== undefined) {
      const faults = await faultsIn(file, problems, env)
      return say({ kind: 'faults', faults, fit: sizeOf(file) < FIT_FILE })
    }
    const catalog = new Catalog(definitions, modules)
    const loaded = await loadFile(file, { env, catalog })
    fit = !catalog.hasUserModules && sizeOf(file) < FIT_FILE
    if (loaded.config === null) return say({ kind: 'faults', faults: loaded.faults, fit })
    const { routes, upstreams, ...head } = loaded.config
    left = slices({ upstreams, routes })
    say({ kind: 'head', head, shown: loaded.shown })
  }

  port.on('message', (message: CheckOrder | 'next') => {
    if (message !== 'next') {
      void check(message)
      return
    }
    const next = left.next()
    say(next.done === true ? { kind: 'done', fit } : next.value)
  })
}

// Off the main thread only: whoever imports a type from here must not start a check.
if (parentPort !== null && (workerData as { sluice?: string } | null)?.sluice === 'check') {
  await main(parentPort, (workerData as { setup: CheckSetup }).setup)
}
