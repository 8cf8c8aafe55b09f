// The kinds of plugin that a configuration may name: the bundled ones, and modules beside the YAML file; and balancers of users.
import { readFile, realpath, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, extname, resolve, sep } from 'node:path'
import { messageOf } from '../errors.ts'
import type { BalancerDefinition } from '../upstream/balance/user.ts'
import { type PluginDefinition, PluginOptionsError } from './plugin.ts'

/** How long a user's module may take to load, in milliseconds: a top-level await without end must not hold a reload. */
const LOAD_TIME = 10_000

/** What the compiler puts before a syntax error. */
const PARSE_ERROR = 'ParseError: '

/** True for a name that is a module beside the YAML file. */
export function isUserPlugin(name: string): boolean {
  return name.startsWith('./')
}

/** All kinds of plugin by name. One catalog serves one load: a later one reads changed modules anew. */
export class Catalog {
  readonly #bundled = new Map<string, PluginDefinition>()
  /** What the modules of users export, by file. */
  readonly #users = new Map<string, Promise<unknown>>()
  readonly #modules: Readonly<Record<string, unknown>>

  /**
   * `modules` are what a user's module gets for an import of that name instead of a file, such as `sluice`: it must
   * share the gateway's own classes. Throws where two definitions have one name, which is a defect and no fault.
   */
  constructor(definitions: readonly PluginDefinition[], modules: Readonly<Record<string, unknown>> = {}) {
    for (const definition of definitions) {
      if (this.#bundled.has(definition.name)) throw new Error(`two plugins are named ${definition.name}`)
      this.#bundled.set(definition.name, definition)
    }
    this.#modules = modules
  }

  /** A bundled plugin, or undefined. */
  get(name: string): PluginDefinition | undefined {
    return this.#bundled.get(name)
  }

  /** Names of the bundled plugins, in the order of the list. */
  names(): string[] {
    return [...this.#bundled.keys()]
  }

  /** True once a module beside the YAML file was asked for. */
  get hasUserModules(): boolean {
    return this.#users.size > 0
  }

  /** The definition behind any name: a bundled one at once, a user's with a promise; undefined when there is none. */
  find(name: string, baseDir: string): PluginDefinition | undefined | Promise<PluginDefinition> {
    return isUserPlugin(name) ? this.loadUser(name, baseDir) : this.#bundled.get(name)
  }

  /**
   * Load the module `name` (which begins with `./`) from `baseDir`, the folder of the YAML file; once for each catalog.
   * Rejects with PluginOptionsError when it is missing, throws, or exports no plugin.
   */
  async loadUser(name: string, baseDir: string): Promise<PluginDefinition> {
    const exported = await this.#loadOnce(name, baseDir)
    if (!isDefinition(exported)) throw new PluginOptionsError(`${name} ${lack(exported)}`)
    // In logs and on the admin page the plugin goes by its own name, or by that of its file.
    return exported.name ? exported : { ...exported, name: basename(name, extname(name)) }
  }

  /** Like `loadUser`, for a module that exports a balancer. */
  async loadBalancer(name: string, baseDir: string): Promise<BalancerDefinition> {
    const exported = await this.#loadOnce(name, baseDir)
    if (typeof (exported as Partial<BalancerDefinition> | null)?.create === 'function' && !isDefinition(exported))
      return exported as BalancerDefinition
    throw new PluginOptionsError(`${name} has no balancer as its default export; export default defineBalancer({ … })`)
  }

  #loadOnce(name: string, baseDir: string): Promise<unknown> {
    const file = resolve(baseDir, name)
    let loading = this.#users.get(file)
    if (loading === undefined) {
      loading = this.#load(name, file)
      // Whoever asks first awaits it; this keeps a later asker's absence from becoming an unhandled rejection.
      loading.catch(() => {})
      this.#users.set(file, loading)
    }
    return loading
  }

  async #load(name: string, file: string): Promise<unknown> {
    const found = await stat(file).catch(() => null)
    if (found === null) throw new PluginOptionsError(`there is no file ${name} beside the configuration file`)
    if (!found.isFile()) throw new PluginOptionsError(`${name} is not a file`)
    const real = await realpath(file)
    try {
      // Only those who have plugins of their own pay for the compiler.
      const { createJiti } = await import('jiti')
      forgetData()
      const jiti = createJiti(real, { moduleCache: false, fsCache: false, virtualModules: { ...this.#modules } })
      // Evaluated rather than imported: Node would remember a plain JavaScript module until it ends, and a reload would
      // get the old one; and the modules above are known only to what is transpiled.
      const source = await readFile(real, 'utf8')
      const loading = jiti.evalModule(source, { filename: real, ext: extname(real), async: true, forceTranspile: true })
      const module = (await within(Promise.resolve(loading))) as { default?: unknown } | null
      return module?.default ?? module
    } catch (error) {
      const line = firstLine(error).trimEnd()
      const why = line.startsWith(PARSE_ERROR) ? line.slice(PARSE_ERROR.length) : line
      throw new PluginOptionsError(`${name} does not load: ${why}${placeOf(error, name, dirname(real))}`)
    }
  }
}

/** JSON that a module imports is required: Node would give a reload what it read before. */
function forgetData(): void {
  const { cache } = createRequire(import.meta.url)
  for (const file of Object.keys(cache))
    if (file.endsWith('.json') && !file.includes(`${sep}node_modules${sep}`)) delete cache[file]
}

function within<T>(loading: Promise<T>): Promise<T> {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`it took longer than ${LOAD_TIME / 1000} s`)), LOAD_TIME)
    loading.then(done, fail).finally(() => clearTimeout(timer))
  })
}

function isDefinition(value: unknown): value is PluginDefinition {
  if (typeof value !== 'object' || value === null) return false
  const { options, create } = value as Partial<PluginDefinition>
  // Structural, because a user's module may bring its own copy of zod.
  return (
    typeof create === 'function' && typeof (options as { safeParse?: unknown } | undefined)?.safeParse === 'function'
  )
}

/** What a user's module lacks to be a plugin. */
function lack(exported: unknown): string {
  const { options, create } = (typeof exported === 'object' ? (exported ?? {}) : {}) as Partial<PluginDefinition>
  if (options === undefined && create === undefined)
    return 'has no plugin as its default export; export default definePlugin({ … })'
  if (typeof create !== 'function') return 'has no `create`; write `create(options, context) { return { … } }`'
  return options === undefined
    ? 'has no `options`; for a plugin without any write `options: z.strictObject({})`'
    : 'has `options` that are no zod schema; write `options: z.strictObject({ … })`'
}

/**
 * ` at FILE:LINE:COLUMN` of a syntax error, or ` at FILE:LINE` of a throw, where that is in the module or below its
 * folder: what is compiled keeps its lines alone.
 */
function placeOf(error: unknown, name: string, folder: string): string {
  const [first = '', ...lines] = error instanceof Error ? (error.stack ?? '').split('\n') : []
  for (const line of lines) {
    const from = line.indexOf(folder + sep)
    const found = from === -1 ? null : /^(.*:\d+):(\d+)\)?$/.exec(line.slice(from + folder.length + 1))
    if (found === null || line.includes('node_modules')) continue
    // The compiler counts columns from 0.
    const column = first.includes(PARSE_ERROR) ? `:${Number(found[2]) + 1}` : ''
    return ` at ${name.slice(0, name.lastIndexOf('/') + 1)}${found[1]}${column}`
  }
  return ''
}

/** First line of what was thrown, bounded. */
export function firstLine(error: unknown): string {
  return messageOf(error).split('\n', 1)[0]!.slice(0, 300)
}
