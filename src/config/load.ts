// From a file to a checked configuration, or to every fault in it at once; nothing of it runs and nothing throws.
// Over 300 lines because the outline, the plugins and the references between sections are one reading in one order.
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { compileKey } from '../exchange/attribute.ts'
import { listenerOptions } from '../listener/listener.ts'
import { uwsFaults } from '../listener/uws.ts'
import { hint, noSuch, quote } from '../nearest.ts'
import { type Catalog, firstLine, isUserPlugin } from '../pipeline/catalog.ts'
import { ENTRY_OPTIONS, type PluginEntry, pluginEntry } from '../pipeline/entry.ts'
import type { PluginDefinition, PluginOptionsError, PluginSurroundings } from '../pipeline/plugin.ts'
import { conflicts } from '../route/entry.ts'
import { routeOptions } from '../route/options.ts'
import { MEMORY_STORE } from '../store/kinds.ts'
import { isUserBalancer } from '../upstream/options.ts'
import { isRecord, valueAt } from '../value-at.ts'
import { certificateProblems } from './certificates.ts'
import { type Config, document } from './document.ts'
import { examine, type Problem } from './explain.ts'
import { FAULTY, type Fault, type FaultCode, formatPath, type Path, sortFaults } from './fault.ts'
import { fitEnvironment } from './fit-environment.ts'
import { listenAddressProblems } from './listen-address.ts'
import { concealer, redact } from './redact.ts'
import { decodeSource, readSource, SourceError } from './source.ts'
import { readTree, type Tree } from './tree.ts'

/** A name that is meant to be a file. */
const MODULE = /\.[cm]?[jt]s$/

/** More than this many faults are counted and not told one by one. */
const MAX_FAULTS = 1_000

/** What a file comes to: a configuration without faults, or faults. */
export type Loaded =
  | {
      readonly config: Config
      /** The file as the admin page may show it: JSON text without secrets. */
      readonly shown: string
      readonly faults: readonly []
    }
  | { readonly config: null; readonly shown: null; readonly faults: readonly Fault[] }

/** What a load depends on beside the file. */
export interface LoadContext {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly catalog: Catalog
}

/** Read and check a file. Never rejects. */
export async function loadFile(file: string, context: LoadContext): Promise<Loaded> {
  let text: string
  try {
    text = decodeSource(await readSource(file))
  } catch (error) {
    return failed([sourceFault(file, error)])
  }
  return loadText(text, file, context)
}

/** Check a text, or bytes, as if `file` held it: relative paths start at its folder. Never rejects. */
export async function loadText(source: string | Uint8Array, file: string, context: LoadContext): Promise<Loaded> {
  try {
    const text = typeof source === 'string' ? source.replace(/^\ufeff/, '') : decodeSource(source)
    const tree = readTree(text, file, context.env)
    return await check(tree, file, context)
  } catch (error) {
    return failed([sourceFault(file, error)])
  }
}

/**
 * Faults of the file as it is now, for what is found only after the load (such as by a plugin's `create`). At the file's
 * first line when it can no longer be read. Never rejects.
 */
export async function faultsIn(file: string, problems: readonly Problem[], env: LoadContext['env']): Promise<Fault[]> {
  const tree = await treeOf(file, env).catch(() => readTree('', file, {}))
  return bounded(problemFaults(problems.slice(0, MAX_FAULTS), tree), file, problems.length)
}

/**
 * What to change for another value at `path`: `set PORT, or change gateway.yaml:3:11` where it comes from the
 * environment, the option's name where it does not stand in the file. `''` when that cannot be read. Never rejects.
 */
export async function remedyIn(file: string, path: Path, env: LoadContext['env']): Promise<string> {
  try {
    const tree = await treeOf(file, env)
    if (valueAt(tree.value, path) === undefined) return `write ${formatPath(path)} into ${file}`
    const { line, column } = tree.fault(path, '', 'SLUICE_CONFIG_INVALID')
    const names = tree.substituted.find(found => formatPath(found.path) === formatPath(path))?.names ?? []
    return `${names.length === 0 ? '' : `set ${names.join(' or ')}, or `}change ${file}:${line}:${column}`
  } catch {
    return ''
  }
}

async function treeOf(file: string, env: LoadContext['env']): Promise<Tree> {
  return readTree(decodeSource(await readSource(file)), file, env)
}

/** Freeze plain data all the way down; what is frozen already is taken to be so in all its parts. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) freezeParts(value)
  return value
}

// Ten thousand routes are some 200,000 objects: no call for a scalar, and no keys made for a list.
function freezeParts(value: object): void {
  Object.freeze(value)
  const parts: readonly unknown[] = Array.isArray(value) ? value : Object.values(value)
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]
    if (typeof part === 'object' && part !== null && !Object.isFrozen(part)) freezeParts(part)
  }
}

async function check(tree: Tree, file: string, { catalog }: LoadContext): Promise<Loaded> {
  const raw = tree.value
  const baseDir = dirname(resolve(file))
  await fitEnvironment(tree, catalog, baseDir)
  const outline = examine(document, raw)
  const problems = [...outline.problems]
  if (isRecord(raw)) {
    problems.push(...references(raw, tree), ...routeConflicts(raw, tree), ...certificateProblems(raw, baseDir))
    problems.push(...listenAddressProblems(raw, tree), ...engineProblems(raw))
    problems.push(...(await pluginProblems(raw, catalog, baseDir)), ...(await balancerProblems(raw, catalog, baseDir)))
  }
  if (tree.faults.length > 0 || problems.length > 0 || outline.data === null) {
    const faults = problemFaults(problems.slice(0, MAX_FAULTS), tree)
    return failed(bounded([...tree.faults, ...faults], file, tree.faults.length + problems.length))
  }
  const shown = JSON.stringify(redact(raw, tree.substituted), null, 2)
  return { config: deepFreeze(outline.data), shown, faults: [] }
}

/** Their places. A key that is a fault of the text already, such as a number, is not told as unknown as well. */
function problemFaults(problems: readonly Problem[], tree: Tree): Fault[] {
  const conceal = concealer(tree.value, tree.substituted)
  const told = new Set(tree.faults.map(({ line, column }) => `${line}:${column}`))
  return problems.flatMap(({ path, message, code, on }) => {
    const fault = tree.fault(path, conceal(message, path), code, on)
    return on === 'key' && told.has(`${fault.line}:${fault.column}`) ? [] : [fault]
  })
}

function failed(faults: readonly Fault[]): Loaded {
  return { config: null, shown: null, faults }
}

function bounded(faults: readonly Fault[], file: string, count: number): Fault[] {
  const sorted = sortFaults(faults.length > MAX_FAULTS ? faults.slice(0, MAX_FAULTS) : faults)
  if (count > MAX_FAULTS) {
    const { line, column } = sorted.at(-1)!
    const message = `and ${count - MAX_FAULTS} more faults`
    sorted.push({ file, line, column, path: '', message, code: 'SLUICE_CONFIG_LIMIT' })
  }
  return sorted
}

function sourceFault(file: string, error: unknown): Fault {
  const fault = (message: string, code: FaultCode, before = ''): Fault => {
    const lines = before.split('\n')
    return { file, line: lines.length, column: lines.at(-1)!.length + 1, path: '', message, code }
  }
  if (!(error instanceof SourceError)) return fault(`cannot be checked: ${firstLine(error)}`, 'SLUICE_CONFIG_FILE')
  const codes = { file: 'SLUICE_CONFIG_FILE', limit: 'SLUICE_CONFIG_LIMIT', syntax: 'SLUICE_CONFIG_SYNTAX' } as const
  return fault(error.message, codes[error.kind], error.before)
}

/** Names that stand twice, and upstreams and registries that are named and nobody declares. */
function references(raw: Record<string, unknown>, tree: Tree): Problem[] {
  const problems: Problem[] = []
  const once = (seen: Map<string, Path>, name: string, path: Path, what: string) => {
    const first = seen.get(name)
    if (first === undefined) seen.set(name, path)
    else {
      const message = `${quote(name)} is ${what} on line ${tree.line(first)} already`
      problems.push({ path, message, code: 'SLUICE_CONFIG_INVALID' })
    }
  }

  const names = new Map<string, Path>()
  for (const [i, { name }] of entries(raw.listeners)) {
    if (typeof name === 'string') once(names, name, ['listeners', i, 'name'], 'the name of the listener')
  }
  const upstreams = namesIn(raw.upstreams)
  const known = new Set(upstreams)
  const registries = namesIn(raw.discovery)
  for (const name of upstreams ?? []) {
    const from = valueAt(raw, ['upstreams', name, 'discover', 'from'])
    if (typeof from !== 'string' || from === '' || registries === null || registries.includes(from)) continue
    const message = `there is no registry ${quote(from)} under discovery${hint(from, registries)}`
    problems.push({ path: ['upstreams', name, 'discover', 'from'], message, code: 'SLUICE_CONFIG_REFERENCE' })
  }
  const routes = new Map<string, Path>()
  for (const [i, route] of entries(raw.routes)) {
    if (typeof route.name === 'string') once(routes, route.name, ['routes', i, 'name'], 'the name of the route')
    const { upstream } = route
    if (upstreams !== null && typeof upstream === 'string' && upstream !== '' && !known.has(upstream)) {
      const message = noSuch('upstream', upstream, upstreams)
      problems.push({ path: ['routes', i, 'upstream'], message, code: 'SLUICE_CONFIG_REFERENCE' })
    }
  }
  return problems
}

/** Names under a section; null for one that cannot be read: nobody can say then that a name is not there. */
function namesIn(section: unknown): string[] | null {
  if (section === undefined) return []
  return isRecord(section) ? Object.keys(section) : null
}

/** What a listener asks of an engine that cannot do it. */
function engineProblems(raw: Record<string, unknown>): Problem[] {
  return entries(raw.listeners).flatMap(([i, listener]) => {
    if (listener.engine !== 'uws') return []
    const { limits, timeouts } = listenerOptions.shape
    const asked = {
      limits: limits.parse(soundParts(limits.unwrap().shape, listener.limits)),
      timeouts: timeouts.parse(soundParts(timeouts.unwrap().shape, listener.timeouts)),
    }
    return uwsFaults(asked).map((text): Problem => {
      const [option = '', ...rest] = text.split(': ')
      return { path: ['listeners', i, ...option.split('.')], message: rest.join(': '), code: 'SLUICE_CONFIG_INVALID' }
    })
  })
}

/** The options that pass by themselves: the outline tells of the others. */
function soundParts(shape: Readonly<Record<string, z.core.$ZodType>>, given: unknown): Record<string, unknown> {
  const sound = ([key, value]: [string, unknown]) =>
    Object.hasOwn(shape, key) && z.safeParse(shape[key]!, value).success
  return Object.fromEntries(Object.entries(isRecord(given) ? given : {}).filter(sound))
}

/** Pairs of routes that no request can tell apart, among those that are well formed. */
function routeConflicts(raw: Record<string, unknown>, tree: Tree): Problem[] {
  const routes = []
  for (const [index, route] of entries(raw.routes)) {
    const match = routeOptions.shape.match.safeParse(route.match)
    if (match.success) routes.push({ match: match.data, index })
  }
  return conflicts(routes).map(([first, second]) => {
    const name = valueAt(raw, ['routes', first, 'name'])
    const rival = typeof name === 'string' ? `route ${quote(name)}` : 'the route'
    return {
      path: ['routes', second, 'match'],
      message: `can never be told apart from ${rival} on line ${tree.line(['routes', first])}, which comes first`,
      code: 'SLUICE_CONFIG_ROUTE_CONFLICT',
    }
  })
}

/** Every entry of every list of plugins, held to its own definition. */
async function pluginProblems(raw: Record<string, unknown>, catalog: Catalog, baseDir: string): Promise<Problem[]> {
  const lists: [Path, unknown][] = [[['plugins'], raw.plugins]]
  for (const [i, route] of entries(raw.routes)) {
    if (route.plugins !== undefined) lists.push([['routes', i, 'plugins'], route.plugins])
  }
  const [upstreams, stores] = [namesIn(raw.upstreams), namesIn(raw.stores)]
  const surroundings: Omit<PluginSurroundings, 'part'> | null =
    upstreams === null || stores === null
      ? null
      : { upstreams: new Set(upstreams), stores: new Set([MEMORY_STORE, ...stores]), baseDir }
  const routes = routeNames(raw)
  const problems: Problem[] = []
  for (const [path, list] of lists) {
    if (!Array.isArray(list)) continue
    for (const [i, item] of list.entries()) {
      const entry = readEntry(item)
      if (entry === null) continue
      const at = [...path, i, entry.name]
      const unknown = entry.off ? null : unknownRoute(entry, routes)
      if (unknown !== null)
        problems.push({ path: [...at, 'when', 'route'], message: unknown, code: 'SLUICE_CONFIG_REFERENCE' })
      // An entry that is off must have a name that exists; its options may be half-written.
      if (entry.off && isUserPlugin(entry.name)) continue
      let definition: PluginDefinition | undefined
      try {
        const found = catalog.find(entry.name, baseDir)
        definition = found instanceof Promise ? await found : found
      } catch (error) {
        problems.push({ path: at, message: firstLine(error), code: 'SLUICE_CONFIG_PLUGIN', on: 'key' })
        continue
      }
      if (definition === undefined) {
        const advice = MODULE.test(entry.name)
          ? '; a module of yours begins with ./'
          : hint(entry.name, catalog.names())
        const message = `there is no plugin ${quote(entry.name)}${advice}`
        problems.push({ path: at, message, code: 'SLUICE_CONFIG_REFERENCE', on: 'key' })
      } else if (!entry.off) problems.push(...optionProblems(definition, entry, at, surroundings))
    }
  }
  return problems
}

/** Names of the routes; null where one cannot be read: nobody can say then that a name is not there. */
function routeNames({ routes = [] }: Record<string, unknown>): Set<string> | null {
  if (!Array.isArray(routes)) return null
  const names = routes.map(route => valueAt(route, ['name']))
  return names.every(name => typeof name === 'string') ? new Set(names) : null
}

/** What is wrong with a `when` that goes by a route's name; null when there is such a route, or none is named. */
function unknownRoute({ when }: PluginEntry, routes: ReadonlySet<string> | null): string | null {
  const route = when?.['route']
  if (route === undefined || route === 'present' || route === 'absent' || route.startsWith('~')) return null
  return routes === null || routes.has(route) ? null : noSuch('route', route, routes)
}

/** An entry as far as it can be read, or null: a faulty `when`, which the outline tells of, hides no faulty options. */
function readEntry(item: unknown): PluginEntry | null {
  const whole = pluginEntry.safeParse(item)
  if (whole.success) return whole.data
  const [name, ...others] = isRecord(item) ? Object.keys(item) : []
  const given = valueAt(item, [name ?? ''])
  if (others.length > 0 || !isRecord(given)) return null
  const { when: _, ...rest } = given
  return pluginEntry.safeParse({ [name!]: rest }).data ?? null
}

/** How upstreams pick: modules that are no balancer, and attributes to hash on that are none. */
async function balancerProblems(raw: Record<string, unknown>, catalog: Catalog, baseDir: string): Promise<Problem[]> {
  const problems: Problem[] = []
  for (const [name, upstream] of Object.entries(isRecord(raw.upstreams) ? raw.upstreams : {})) {
    if (!isRecord(upstream)) continue
    const { balance, hashOn } = upstream
    if (typeof balance === 'string' && isUserBalancer(balance)) {
      try {
        await catalog.loadBalancer(balance, baseDir)
      } catch (error) {
        const path = ['upstreams', name, 'balance']
        problems.push({ path, message: firstLine(error), code: 'SLUICE_CONFIG_PLUGIN' })
      }
    }
    if (typeof hashOn !== 'string' || hashOn === '') continue
    try {
      compileKey(hashOn)
    } catch (error) {
      const path = ['upstreams', name, 'hashOn']
      problems.push({ path, message: firstLine(error), code: 'SLUICE_CONFIG_INVALID' })
    }
  }
  return problems
}

function optionProblems(
  definition: PluginDefinition,
  entry: PluginEntry,
  path: Path,
  context: Omit<PluginSurroundings, 'part'> | null,
): Problem[] {
  const whole = !holdsFaulty(entry.options)
  const told: Problem[] = []
  const part = (check: () => unknown) => {
    try {
      const checked = check()
      if (!(checked instanceof Promise)) return
      // What it will say comes too late; without this a check that refuses would let everything pass.
      checked.catch(() => {})
      throw new TypeError('its `check` returned a promise; it has to answer at once')
    } catch (error) {
      if (whole) told.push(checkProblem(error, path))
    }
  }
  part(() => {
    const { data, problems } = examine(definition.options, entry.options, path, ENTRY_OPTIONS)
    told.push(...problems)
    return problems.length === 0 && whole && context !== null
      ? definition.check?.(data, { ...context, part })
      : undefined
  })
  return told
}

/** What the check of a plugin at `path` threw. */
function checkProblem(error: unknown, path: Path): Problem {
  // By name: a user's module may bring its own copy of the class.
  if (error instanceof Error && error.name === 'PluginOptionsError') {
    const inner = (error as PluginOptionsError).path ?? []
    return { path: [...path, ...inner], message: error.message, code: 'SLUICE_CONFIG_PLUGIN' }
  }
  const message = `the plugin failed while its options were checked: ${firstLine(error)}`
  return { path, message, code: 'SLUICE_CONFIG_PLUGIN' }
}

function holdsFaulty(value: unknown): boolean {
  return value === FAULTY || (typeof value === 'object' && value !== null && Object.values(value).some(holdsFaulty))
}

/** The maps of a list with their indexes; what is no map was told by the outline. */
function entries(list: unknown): [number, Record<string, unknown>][] {
  if (!Array.isArray(list)) return []
  const found: [number, Record<string, unknown>][] = []
  for (let i = 0; i < list.length; i++) if (isRecord(list[i])) found.push([i, list[i]])
  return found
}
