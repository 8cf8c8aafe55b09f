// A YAML or JSON file as a registry: a list of instances, or a map from services to such lists, read again when it changes.
import { type FSWatcher, watch } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { type Document, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { abortable, waitAtMost } from './abortable.ts'
import { AnswerError, asMap, digestOf } from './ask.ts'
import { readEntry } from './entry.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance, MAX_ANSWER, WAIT } from './provider.ts'

/** Milliseconds without a change before a file counts as written: some write it in several steps. */
const SETTLE = 50
/**
 * Milliseconds between two looks when no event comes: not every file system tells, and a folder may be replaced. Each look
 * that finds nothing doubles it: a thousand files that are looked at every second take a tenth of a core.
 */
const LOOK = 1_000
const LONGEST_LOOK = 5_000
/** Largest YAML, in characters: reading it stops all traffic for about a tenth of a second then. JSON is much faster. */
const MAX_YAML = 128 * 1024

/** Options of `kind: file`. */
export const fileOptions = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      'YAML or JSON file, relative to the YAML file of the gateway; `{service}` stands for the name of the service.',
    ),
})

/**
 * The instances of `service` in a file that holds a list, or a map from services to lists. A service that the map does
 * not name has none. Throws AnswerError that begins with line and column, where there are any.
 */
export function parseFile(text: string, service: string): Instance[] {
  const json = parseJson(text)
  const positions = json === undefined ? readYaml(text) : null
  const value: unknown = json === undefined ? positions!.value : json.value
  const fail = (path: readonly (string | number)[], what: string): never => {
    const at = positions === null ? placeInJson(text, path) : positions.at(path)
    throw new AnswerError(`${at}${path.length === 0 ? 'the file' : path.join('.')} ${what}`)
  }
  if (value === null || value === undefined) fail([], 'is empty; write [] for no instance')
  const inMap = !Array.isArray(value)
  if (inMap && typeof value !== 'object') fail([], 'is neither a list nor a map of service to list')
  if (inMap && !Object.hasOwn(value as object, service)) return []
  const path = inMap ? [service] : []
  const list: unknown = inMap ? (value as Record<string, unknown>)[service] : value
  if (!Array.isArray(list)) return fail(path, 'is no list of instances')
  return list.map((entry: unknown, i) => {
    const instance = unknownKey(entry) ?? readEntry(entry)
    return typeof instance === 'string' ? fail([...path, i], instance) : instance
  })
}

const KEYS = new Set(['address', 'port', 'weight', 'labels'])

/** Programs may add what they like to what they register; in a file that people write it is a mistake. */
function unknownKey(entry: unknown): string | null {
  const key = Object.keys(asMap(entry)).find(name => !KEYS.has(name))
  return key === undefined
    ? null
    : `has an unknown key ${JSON.stringify(key.slice(0, 100))}; ${[...KEYS].join(', ')} are known`
}

/** Undefined when it is no JSON; then it may be YAML, or tells where it is broken when it is read as such. */
function parseJson(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}

/** JSON is nearly always YAML too, whose reader knows places. `''` when it does not help. */
function placeInJson(text: string, path: readonly (string | number)[]): string {
  try {
    return readYaml(text).at(path)
  } catch {
    return ''
  }
}

interface Yaml {
  readonly value: unknown
  /** `line:column ` of what is at the path, or of what is nearest above it. */
  at(path: readonly (string | number)[]): string
}

function readYaml(text: string): Yaml {
  if (text.length > MAX_YAML) {
    throw new AnswerError(`is no JSON, and with more than ${MAX_YAML / 1024} KiB too large for YAML`)
  }
  const lines = new LineCounter()
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${line}:${col} `
  }
  const document = parseYaml(text, lines)
  const [error] = document.errors
  if (error !== undefined) throw new AnswerError(`${place(error.pos[0])}${firstLine(error.message)}`)
  let value: unknown
  try {
    // Nothing here needs an alias; a bomb of them does.
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    throw new AnswerError(`1:1 ${firstLine((error as Error).message)}`)
  }
  return {
    value,
    at(path) {
      for (let length = path.length; length >= 0; length--) {
        const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined
        if (node?.range !== undefined) return place(node.range[0])
      }
      return '1:1 '
    },
  }
}

function parseYaml(text: string, lineCounter: LineCounter): Document.Parsed {
  // A hostile file makes an error for each of its bytes; their stacks would cost more than the parsing.
  const traced = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    // Telling doubled keys takes time in the square of their number.
    return parseDocument(text, { lineCounter, uniqueKeys: false, prettyErrors: false, logLevel: 'error' })
  } catch (error) {
    throw new AnswerError(`1:1 ${firstLine((error as Error).message)}`)
  } finally {
    Error.stackTraceLimit = traced
  }
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0]!
}

/** What a file is known by without reading it; null when there is none. Throws for what is no file. */
async function identityOf(path: string): Promise<string | null> {
  try {
    const found = await stat(path, { bigint: true })
    // Opening a FIFO would wait for a writer, and /dev/zero has no end.
    if (!found.isFile()) throw new AnswerError(`${path} is no regular file`)
    if (found.size > MAX_ANSWER) throw new AnswerError(`${path} is larger than ${MAX_ANSWER / 1024 / 1024} MiB`)
    const { dev, ino, size, mtimeNs, ctimeNs } = found
    return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Events in the folder of a file: writes to it, renames over it or over the link that leads to it. */
class FolderWatch {
  #wake: () => void = () => {}
  #event: 'none' | 'other' | 'file' = 'none'
  readonly #watcher: FSWatcher | null = null

  constructor(path: string) {
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_type, name) => {
        if (name === null || name === basename(path)) this.#event = 'file'
        else if (this.#event === 'none') this.#event = 'other'
        this.#wake()
      })
      this.#watcher.on('error', () => {})
    } catch {
      // No such folder, or no watches left: looking now and then has to do.
    }
  }

  /** Wait for an event since the last call, `ms` at most; whether one was about the file itself. Rejects on abort. */
  async next(ms: number, signal: AbortSignal): Promise<boolean> {
    if (this.#event === 'none') {
      const wait = waitAtMost(ms, signal)
      this.#wake = wait.wake
      await wait.done
    }
    // Some folders are busy: what comes in one go is one look.
    if ((this.#event as string) !== 'none') await waitAtMost(SETTLE, signal).done
    const touched = (this.#event as string) === 'file'
    this.#event = 'none'
    return touched
  }

  close(): void {
    this.#watcher?.close()
  }
}

class FileRegistry implements DiscoveryProvider {
  readonly #path: string
  readonly #baseDir: string
  /** What was found last, and in which file, by service. */
  readonly #last = new Map<string, { readonly found: Found; readonly identity: string | null }>()

  constructor(path: string, baseDir: string) {
    this.#path = path
    this.#baseDir = baseDir
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    const path = resolve(
      this.#baseDir,
      this.#path.replaceAll('{service}', () => service),
    )
    const last = this.#last.get(service)
    let text: string | null = null
    try {
      const seen = last?.found.cursor === cursor ? last.identity : null
      const reading = cursor === null ? await unsettled(path, signal) : await changed(path, cursor, seen, signal)
      text = reading.text
      if (text === null) throw new AnswerError(`there is no file ${path}`)
      const digest = digestOf(text)
      const found = last?.found.cursor === digest ? last.found : { instances: parseFile(text, service), cursor: digest }
      this.#last.set(service, { found, identity: reading.identity })
      return found
    } catch (error) {
      signal.throwIfAborted()
      const { message } = error as Error
      // It is watched on: whoever mends the file need not wait for a backoff.
      throw text === null ? new AnswerError(message, 0, NONE) : new AnswerError(`${path}:${message}`, 0, digestOf(text))
    }
  }
}

/** Null when there is none. */
async function read(path: string): Promise<string | null> {
  try {
    if ((await identityOf(path)) === null) return null
    return (await readFile(path, 'utf8')).replace(/^\ufeff/, '')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** A file's text, null when there is none, and what it is known by; null where it may still be written to. */
interface FileReading {
  readonly text: string | null
  readonly identity: string | null
}

async function unsettled(path: string, signal: AbortSignal): Promise<FileReading> {
  return { text: await abortable(read(path), signal), identity: null }
}

/** The cursor for a file that cannot be read: any other is a change. */
const NONE = ''

const unreadable = () => null

/**
 * The file once its text is another than the one with digest `cursor`, and whole; after WAIT in any case. What the file of
 * that one was `seen` as, where that is known, need not be read again. A file that is gone for a moment, or cannot be read,
 * is no change: what follows it is. No text when it is gone in the end.
 */
async function changed(path: string, cursor: string, seen: string | null, signal: AbortSignal): Promise<FileReading> {
  const end = performance.now() + WAIT
  // Before the first look, so that nothing falls between the two.
  const folder = new FolderWatch(path)
  let look = LOOK
  let touched = false
  try {
    while (performance.now() < end) {
      const now = await abortable(identityOf(path).catch(unreadable), signal)
      // The clock of a file system may stand still for some milliseconds: an event counts for more.
      if (now !== null && (now !== seen || touched)) {
        const text = await abortable(read(path).catch(unreadable), signal)
        seen = now
        if (text !== null && digestOf(text) !== cursor) {
          await waitAtMost(SETTLE, signal).done
          if ((await abortable(identityOf(path).catch(unreadable), signal)) === now) return { text, identity: now }
          // Still being written.
          seen = null
          continue
        }
      }
      touched = await folder.next(Math.min(look, Math.max(0, end - performance.now())), signal)
      look = Math.min(look * 2, LONGEST_LOOK)
    }
    return await unsettled(path, signal)
  } finally {
    folder.close()
  }
}

/** The definition of `kind: file`. */
export const file = defineProvider({
  kind: 'file',
  options: fileOptions,
  create: ({ path }, { baseDir }) => new FileRegistry(path, baseDir),
})
