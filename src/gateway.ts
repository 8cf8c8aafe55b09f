// The gateway: ties configuration, snapshot, listeners and admin together; start, reload, stop.
//
// Over 300 lines because start, reload and stop are one life: what each opens, the others have to close.
import { resolve } from 'node:path'
import { AdminServer } from './admin/admin.ts'
import type { Config } from './config/document.ts'
import type { Problem } from './config/explain.ts'
import { type Fault, formatFault, type Path } from './config/fault.ts'
import { faultsIn, loadFile, remedyIn } from './config/load.ts'
import { FileChecker } from './config/off-thread.ts'
import { type Watching, watchFile } from './config/watch.ts'
import { abortable } from './discovery/abortable.ts'
import { messageOf } from './errors.ts'
import { hostPort } from './http/address.ts'
import { loadEngine } from './listener/engines.ts'
import { Handover } from './listener/handover.ts'
import type { Listener, ListenerOptions } from './listener/listener.ts'
import { createLog, type Log } from './log.ts'
import { countReload } from './metrics.ts'
import { Catalog } from './pipeline/catalog.ts'
import type { PluginDefinition } from './pipeline/plugin.ts'
import { EdgeProxy } from './proxy/proxy.ts'
import { type Compiled, CompileError, closeSites, compile } from './snapshot/compile.ts'
import type { Snapshot } from './snapshot/snapshot.ts'

/** How a gateway is made. */
export interface GatewayOptions {
  /** The YAML file. */
  readonly file: string
  /** URL of the module whose default export lists the bundled plugins; needed again in the checking thread. */
  readonly bundled: string
  /** The same list, loaded. */
  readonly plugins: readonly PluginDefinition[]
  /** What user plugins get for an import of that name, and the URLs of those modules for the checking thread. */
  readonly modules?: Readonly<Record<string, unknown>>
  readonly moduleUrls?: Readonly<Record<string, string>>
  /** Variables that the file may name; those of the process by default. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** JSON lines on standard error by default. */
  readonly log?: Log
  /** Reload when the file changes; true by default. */
  readonly watch?: boolean
}

/** The configuration has faults: nothing was started. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super(faults.map(formatFault).join('\n'))
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** A listener could not be opened. */
export class ListenError extends Error {
  /** The option that has to be another. */
  readonly option: 'engine' | 'host' | 'port'

  /** `name` is who wanted to: `listener web`, or `the admin pages`. */
  constructor(name: string, host: string, port: number, cause: Error & { code?: string }) {
    const why =
      cause.code === 'EADDRINUSE'
        ? 'the port is in use; stop what listens there or take another port (0 takes any free one)'
        : cause.code === 'EACCES'
          ? 'this user may not listen there; take a port above 1023'
          : cause.message
    super(`${name} cannot listen on ${hostPort(host, port)}: ${why}`)
    this.name = 'ListenError'
    const busy = cause.code === 'EADDRINUSE' || cause.code === 'EACCES'
    this.option = cause.code === 'ERR_UWS_UNAVAILABLE' ? 'engine' : busy ? 'port' : 'host'
  }
}

/** What became of the last reload, for /readyz. */
export interface ReloadState {
  readonly at: string
  readonly ok: boolean
  readonly faults: readonly string[]
}

interface Open {
  options: ListenerOptions
  readonly listener: Listener
  readonly proxy: EdgeProxy
}

/** See the head of this file. One start and one stop each. */
export class Gateway {
  readonly #options: GatewayOptions
  readonly #log: Log
  readonly #checker: FileChecker
  #snapshot: Snapshot | null = null
  #shown = '{}'
  #listeners: Open[] = []
  /** Listeners that a reload took away, until their last connection is gone. */
  readonly #leaving = new Map<Listener, Promise<void>>()
  #admin: AdminServer | null = null
  #watcher: Watching | null = null
  #reloading: Promise<boolean> | null = null
  #reloadAgain = false
  #starting: Promise<void> | null = null
  #started = false
  #lastReload: ReloadState | null = null
  #stopping: Promise<void> | null = null
  /** Aborted with the beginning of a stop: what a start or a reload waits for is not waited for then. */
  readonly #halt = new AbortController()

  constructor(options: GatewayOptions) {
    this.#options = options
    this.#log = options.log ?? createLog()
    this.#checker = new FileChecker({ bundled: options.bundled, modules: options.moduleUrls ?? {} })
  }

  /** The configuration in force. Throws before `start`. */
  get snapshot(): Snapshot {
    if (this.#snapshot === null) throw new Error('the gateway is not started')
    return this.#snapshot
  }

  /** The configuration as text for the admin page: JSON without secrets. */
  get shownConfig(): string {
    return this.#shown
  }

  /** Those that are open, with their real ports; empty before `start`. A reload may change them. */
  get listeners(): readonly Listener[] {
    return this.#listeners.map(open => open.listener)
  }

  /** Port of the admin pages; 0 when they are off. */
  get adminPort(): number {
    return this.#admin?.port ?? 0
  }

  /** Host of the admin pages. */
  get adminHost(): string {
    return this.#admin?.host ?? ''
  }

  /** Null until the first reload is over. */
  get lastReload(): ReloadState | null {
    return this.#lastReload
  }

  /** True from `stop` on. */
  get stopping(): boolean {
    return this.#stopping !== null
  }

  /** Load the file, listen and serve. Rejects with ConfigError or ListenError, having closed what it opened. */
  start(): Promise<void> {
    if (this.#stopping !== null) return Promise.reject(new Error('the gateway was stopped'))
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    const { file, env = process.env, plugins, modules = {} } = this.#options
    const catalog = new Catalog(plugins, modules)
    // Watched before it is read: a change in between must not be missed.
    if (this.#options.watch !== false) this.#watcher = watchFile(resolve(file), () => void this.reload())
    let compiled: Compiled | null = null
    let at: Path = []
    try {
      const loaded = await loadFile(file, { env, catalog })
      if (loaded.config === null) throw new ConfigError(loaded.faults)
      compiled = await this.#compile(loaded.config, catalog, null)
      this.#snapshot = compiled.snapshot
      this.#shown = loaded.shown
      for (const [i, options] of loaded.config.listeners.entries()) {
        at = ['listeners', i]
        this.#listeners.push(await this.#open(options))
      }
      at = ['admin']
      if (loaded.config.admin !== null) this.#admin = await this.#openAdmin(loaded.config.admin)
    } catch (error) {
      this.#watcher?.close()
      compiled?.discard()
      for (const { listener } of this.#listeners) listener.destroy()
      // All is closed: a stop has nothing left to close a second time.
      this.#snapshot = null
      if (error instanceof ListenError) {
        const remedy = await remedyIn(file, [...at, error.option], env)
        if (remedy !== '') error.message += `: ${remedy}`
      }
      throw error
    }
    compiled.commit()
    this.#started = true
    if (this.#reloadAgain) void this.reload()
  }

  /**
   * Load the file again beside what runs, then swap. False when it has faults: then nothing changes. Calls that come
   * while one is under way become one more after it, so that the last content wins; so do those that come
   * before `start` is over. Never rejects.
   */
  reload(): Promise<boolean> {
    if (this.#stopping !== null) return Promise.resolve(false)
    if (!this.#started) {
      this.#reloadAgain = true
      return Promise.resolve(false)
    }
    if (this.#reloading !== null) {
      this.#reloadAgain = true
      return this.#reloading
    }
    this.#reloading = this.#reloadUntilCurrent().finally(() => {
      this.#reloading = null
    })
    return this.#reloading
  }

  async #reloadUntilCurrent(): Promise<boolean> {
    let ok: boolean
    do {
      this.#reloadAgain = false
      ok = await this.#reloadOnce().catch(error => {
        // Nothing is wrong with the file then.
        if (this.#stopping !== null) return false
        return this.#rejected(
          error instanceof ConfigError
            ? error.faults.map(formatFault)
            : [`${this.#options.file}: the reload failed: ${messageOf(error)}`],
        )
      })
    } while (this.#reloadAgain && this.#stopping === null)
    return ok
  }

  /** Rejects with ConfigError for a faulty file. */
  async #reloadOnce(): Promise<boolean> {
    const { file, env = process.env, plugins, modules = {} } = this.#options
    const loaded = await abortable(this.#checker.load(file, env), this.#halt.signal)
    const { config } = loaded
    if (config === null) throw new ConfigError(loaded.faults)
    const compiled = await this.#compile(config, new Catalog(plugins, modules), this.snapshot)
    const kept = this.#kept(config.listeners)
    const keptAdmin = this.#keptAdmin(config.admin)
    const handover = new Handover([
      ...this.#listeners.filter(open => ![...kept.values()].includes(open)).map(open => open.listener),
      ...(this.#admin === null || this.#admin === keptAdmin ? [] : [this.#admin]),
    ])
    const opened = new Map<ListenerOptions, Open>()
    let admin = keptAdmin
    let at: Path = []
    try {
      // Where nobody has to make way first: what fails there costs nobody a moment.
      const fresh = config.listeners.filter(options => !kept.has(options))
      for (const options of [
        ...fresh.filter(({ port }) => !handover.concerns(port)),
        ...fresh.filter(({ port }) => handover.concerns(port)),
      ]) {
        this.#halt.signal.throwIfAborted()
        at = ['listeners', config.listeners.indexOf(options)]
        opened.set(options, await this.#open(options, () => handover.makeWay(options.port)))
      }
      at = ['admin']
      if (config.admin !== null && admin === null) admin = await this.#openAdmin(config.admin, handover)
      this.#halt.signal.throwIfAborted()
    } catch (error) {
      compiled.discard()
      for (const { listener } of opened.values()) this.#leave(listener)
      if (admin !== keptAdmin) await admin?.close()
      if (this.#stopping !== null) return false
      await this.#takeBack(handover)
      const { message } = error as Error
      if (!(error instanceof ListenError)) return this.#rejected([`${file}: ${message}`])
      const problem = { path: [...at, error.option], message, code: 'SLUICE_CONFIG_INVALID' } as const
      const faults = await this.#placed([problem])
      return this.#rejected(faults.map(formatFault))
    }
    this.#snapshot = compiled.snapshot
    this.#shown = loaded.shown
    compiled.commit()
    const left = this.#listeners
    this.#listeners = config.listeners.map(options => opened.get(options) ?? taken(kept.get(options)!, options))
    for (const open of left) if (!this.#listeners.includes(open)) this.#leave(open.listener)
    for (const { listener } of opened.values()) {
      const { name, host, port, engine } = listener
      this.#log.info('a listener was opened', { listener: name, host, port, engine })
    }
    if (admin !== this.#admin) {
      void this.#admin?.close()
      this.#admin = admin
      if (admin !== null) this.#log.info('the admin pages were opened', { host: admin.host, port: admin.port })
    }
    this.#lastReload = { at: new Date().toISOString(), ok: true, faults: [] }
    countReload(true)
    this.#log.info('configuration reloaded', { file, routes: config.routes.length })
    return true
  }

  #rejected(faults: readonly string[]): false {
    this.#lastReload = { at: new Date().toISOString(), ok: false, faults }
    countReload(false)
    this.#log.error('the new configuration is faulty; the old one goes on', {
      faults: faults.slice(0, 20),
      count: faults.length,
    })
    return false
  }

  async #compile(config: Config, catalog: Catalog, previous: Snapshot | null): Promise<Compiled> {
    const { file, env = process.env } = this.#options
    try {
      return await compile(config, previous, { catalog, log: this.#log, file, stop: this.#halt.signal })
    } catch (error) {
      if (!(error instanceof CompileError)) throw error
      // A start has no requests that would wait, and shall not wait for a thread.
      throw new ConfigError(
        previous === null ? await faultsIn(file, error.problems, env) : await this.#placed(error.problems),
      )
    }
  }

  /** Faults of the file that a reload has read, found where requests do not wait for it. */
  #placed(problems: readonly Problem[]): Promise<readonly Fault[]> {
    const { file, env = process.env } = this.#options
    return abortable(this.#checker.faultsIn(file, problems, env), this.#halt.signal)
  }

  /** Open listeners that serve on under new options, because address and engine are the same. */
  #kept(wanted: readonly ListenerOptions[]): Map<ListenerOptions, Open> {
    const kept = new Map<ListenerOptions, Open>()
    const free = new Set(this.#listeners)
    const keep = (options: ListenerOptions, fits: (open: Open) => boolean) => {
      for (const open of free) {
        if (open.options.host !== options.host || open.options.engine !== options.engine || !fits(open)) continue
        free.delete(open)
        kept.set(options, open)
        return
      }
    }
    // First those that name their port, be it one that was given for 0 before.
    for (const options of wanted)
      if (options.port !== 0) keep(options, ({ listener }) => listener.port === options.port)
    for (const options of wanted) {
      if (options.port === 0) keep(options, open => open.options.port === 0 && open.options.name === options.name)
    }
    return kept
  }

  /** No connection comes by it any more; it lives on until the last one is gone. */
  #leave(listener: Listener): void {
    const drained = listener.drain().then(() => void this.#leaving.delete(listener))
    this.#leaving.set(listener, drained)
  }

  /** A reload fails: those that made way have their ports again. */
  async #takeBack(handover: Handover): Promise<void> {
    for (const door of handover.madeWay) {
      try {
        await door.acceptAgain()
      } catch (error) {
        // Somebody else took it in the moment between. Not to be kept for open: the next reload opens it anew.
        this.#log.error('a port could not be had again', { port: door.port, error: (error as Error).message })
        const lost = this.#listeners.find(open => open.listener === door)
        if (lost === undefined) this.#admin = null
        else {
          this.#listeners = this.#listeners.filter(open => open !== lost)
          this.#leave(lost.listener)
        }
      }
    }
  }

  async #open(options: ListenerOptions, makeWay = () => {}): Promise<Open> {
    try {
      const engine = await loadEngine(options.engine)
      const proxy = new EdgeProxy(this, options.paths.encodedSlash === 'keep', this.#log)
      return { options, proxy, listener: await engine.listen(options, proxy, makeWay) }
    } catch (error) {
      throw new ListenError(`listener ${options.name}`, options.host, options.port, error as Error)
    }
  }

  /** The admin server that serves on, because its address stays; null where there is none. */
  #keptAdmin(at: Config['admin']): AdminServer | null {
    const running = this.#admin
    if (at === null || running === null || running.host !== at.host) return null
    return at.port === running.wantedPort || at.port === running.port ? running : null
  }

  async #openAdmin(at: NonNullable<Config['admin']>, handover?: Handover): Promise<AdminServer> {
    const admin = new AdminServer(this)
    try {
      await admin.listen(at.host, at.port, () => handover?.makeWay(at.port))
    } catch (error) {
      throw new ListenError('the admin pages', at.host, at.port, error as Error)
    }
    return admin
  }

  /**
   * Stop: /readyz says so, no new connections, requests in flight finish within the grace, then all closes; a start that
   * is under way is waited for. Further calls give the same promise. Never rejects.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    this.#halt.abort()
    // Whoever starts it hears of what went wrong.
    if (!this.#started) await this.#starting?.catch(() => {})
    this.#watcher?.close()
    this.#checker.close()
    const snapshot = this.#snapshot
    if (snapshot === null) return
    const drains = this.listeners.map(listener => listener.drain())
    // A reload that is under way gives up by itself.
    await within(Promise.all([...drains, ...this.#leaving.values(), this.#reloading]), snapshot.config.shutdown.grace)
    this.destroy()
    // Plugins hear of the exchanges that were cut before they are closed.
    await within(new Promise<void>(idle => this.snapshot.retire(null, idle)), CUT_TIME)
    closeSites(this.snapshot.sites.values(), this.#log)
    for (const { store } of this.snapshot.stores.values()) store.close()
    for (const upstream of this.snapshot.upstreams.values()) upstream.close()
    for (const { registry } of this.snapshot.registries.values()) registry.close()
    await this.#admin?.close()
  }

  /** Give up at once. */
  destroy(): void {
    for (const listener of [...this.listeners, ...this.#leaving.keys()]) listener.destroy()
  }
}

/** Longest that the end of exchanges whose connections were destroyed is waited for, in milliseconds. */
const CUT_TIME = 1_000

/** Resolve as soon as `promise` does, at the latest after `ms`. */
async function within(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(done => {
    timer = setTimeout(done, ms)
  })
  await Promise.race([promise, late])
  clearTimeout(timer)
}

/** An open listener under new options. */
function taken(open: Open, options: ListenerOptions): Open {
  open.options = options
  open.listener.reconfigure(options)
  open.proxy.keepEncodedSlash = options.paths.encodedSlash === 'keep'
  return open
}
