// The thread that a reload reads and checks the file in; answers with faults, or deals the configuration out in slices.
import { parentPort, workerData } from 'node:worker_threads'
import { Catalog } from '../pipeline/catalog.ts'
import type { PluginDefinition } from '../pipeline/plugin.ts'
import type { Config } from './document.ts'
import type { Fault } from './fault.ts'
import { loadFile } from './load.ts'

/** Routes, or upstreams, of one message: what the main thread can take in without a request waiting for it. */
export const SLICE = 250

/** What the thread is started with. */
export interface CheckOrder {
  readonly file: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** URL of the module whose default export is the list of bundled plugins. */
  readonly bundled: string
  /** URLs of the modules that user plugins get for an import of that name. */
  readonly modules: Readonly<Record<string, string>>
}

/** What the thread says: first faults or the head, then, for each `next` it is told, one slice. */
export type CheckAnswer =
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }
  | { readonly kind: 'head'; readonly head: Omit<Config, 'routes' | 'upstreams'>; readonly shown: string }
  | { readonly kind: 'upstreams'; readonly slice: readonly (readonly [string, Config['upstreams'][string]])[] }
  | { readonly kind: 'routes'; readonly slice: Config['routes'] }
  | { readonly kind: 'done' }

function* slices(config: Config): Generator<CheckAnswer> {
  const upstreams = Object.entries(config.upstreams)
  for (let i = 0; i < upstreams.length; i += SLICE) yield { kind: 'upstreams', slice: upstreams.slice(i, i + SLICE) }
  for (let i = 0; i < config.routes.length; i += SLICE)
    yield { kind: 'routes', slice: config.routes.slice(i, i + SLICE) }
}

async function main(port: NonNullable<typeof parentPort>, order: CheckOrder): Promise<void> {
  const { default: definitions } = (await import(order.bundled)) as { default: readonly PluginDefinition[] }
  const modules: Record<string, unknown> = {}
  for (const [name, url] of Object.entries(order.modules)) modules[name] = await import(url)
  const say = (answer: CheckAnswer) => port.postMessage(answer)

  const loaded = await loadFile(order.file, { env: order.env, catalog: new Catalog(definitions, modules) })
  if (loaded.config === null) return say({ kind: 'faults', faults: loaded.faults })
  const { routes: _, upstreams: __, ...head } = loaded.config
  const left = slices(loaded.config)
  port.on('message', () => {
    const next = left.next()
    say(next.done === true ? { kind: 'done' } : next.value)
  })
  say({ kind: 'head', head, shown: loaded.shown })
}

// Off the main thread only: whoever imports a type from here must not start a check.
if (parentPort !== null && (workerData as { sluice?: string } | null)?.sluice === 'check') {
  await main(parentPort, (workerData as { order: CheckOrder }).order)
}
