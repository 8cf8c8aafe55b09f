// A YAML or JSON file as a registry: a list of instances, or a map from services to such lists, read again when it changes.
import { resolve } from 'node:path'
import { type Document, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { AnswerError, asMap } from './ask.ts'
import { readEntry } from './entry.ts'
import { type FileReading, NONE } from './file-reading.ts'
import { FileThread, type ThreadFile } from './file-thread.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance } from './provider.ts'

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

/** The file that tells of a service, and what was found in it last. */
interface Known {
  readonly file: ThreadFile
  found: Found | null
}

class FileRegistry implements DiscoveryProvider {
  readonly #path: string
  readonly #baseDir: string
  readonly #thread = new FileThread()
  /** By service. */
  readonly #known = new Map<string, Known>()

  constructor(path: string, baseDir: string) {
    this.#path = path
    this.#baseDir = baseDir
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    const known = this.#known.get(service) ?? this.#open(service)
    const { file } = known
    let reading: FileReading | null = null
    try {
      reading = await file.read(cursor, signal)
      if (known.found?.cursor === reading.digest) return known.found
      // As broken as it was: that is told again.
      if (reading.text === undefined) reading = await file.read(null, signal)
      const { text, digest } = reading
      if (text == null) throw new AnswerError(`there is no file ${file.path}`)
      known.found = { instances: parseFile(text, service), cursor: digest }
      return known.found
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof AnswerError)) throw error
      const { message } = error
      const digest = reading?.digest ?? NONE
      // It is watched on: whoever mends the file need not wait for a backoff.
      throw new AnswerError(digest === NONE ? message : `${file.path}:${message}`, 0, digest)
    }
  }

  #open(service: string): Known {
    const path = resolve(
      this.#baseDir,
      this.#path.replaceAll('{service}', () => service),
    )
    const known = { file: this.#thread.file(path), found: null }
    this.#known.set(service, known)
    return known
  }

  forget(service: string): void {
    this.#known.get(service)?.file.forget()
    this.#known.delete(service)
  }

  close(): void {
    this.#thread.close()
  }
}

/** The definition of `kind: file`. */
export const file = defineProvider({
  kind: 'file',
  options: fileOptions,
  create: ({ path }, { baseDir }) => new FileRegistry(path, baseDir),
})
