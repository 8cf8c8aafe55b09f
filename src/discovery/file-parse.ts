// What stands in a file of instances: a list, or a map from services to lists, in YAML or JSON, with the place of a fault.
//
// Nothing but the thread in file-worker.ts may call this: YAML takes its time.
import { type Document, LineCounter, parseDocument } from 'yaml'
import { AnswerError, asMap } from './ask.ts'
import { readEntry } from './entry.ts'
import { type Instance, MAX_ENTRIES } from './provider.ts'

/** Largest YAML, in characters: reading it takes a second then. JSON is much faster. */
const MAX_YAML = 1024 * 1024

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
  // Whoever asked parses the answer beside requests.
  if (list.length > MAX_ENTRIES) return fail(path, `is a list of more than ${MAX_ENTRIES} entries`)
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
