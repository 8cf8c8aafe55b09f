// YAML text to plain values and back to their lines: every bound on what a file may hold is kept here, before it costs.
// Over 300 lines because the bounds, the walk and the places of its nodes share one state.
import {
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  type Node,
  type Pair,
  Parser,
  Scalar,
} from 'yaml'
import { quote } from '../nearest.ts'
import { FORBIDDEN_KEYS, isRecord } from '../value-at.ts'
import { resolveCore, substitute } from './environment.ts'
import { FAULTY, type Fault, type FaultCode, formatPath, type Path } from './fault.ts'
import { locate, Places, start } from './places.ts'

/** Collections within collections. */
const MAX_DEPTH = 64
/** Lexical tokens: some 20,000 routes. Each costs about 2 µs, and parsing stops here. */
const MAX_TOKENS = 1_500_000
/** Keys of one map. */
const MAX_KEYS = 50_000
/** Values that all aliases together may expand to. */
const MAX_ALIASED = 10_000
const ADVISE_QUOTES = '; a text that begins with * stands in quotes'
const NO_TAGS = 'tags are not supported; a text that begins with ! stands in quotes'
/** Errors of the library that quote what stands there, which may be a password without its quotes, and what is told instead. */
const QUOTING: readonly (readonly [begin: string, told: string])[] = [
  ['Unresolved tag', NO_TAGS],
  ['Could not resolve tag', NO_TAGS],
  // `The !this! tag has no suffix`.
  ['The !', NO_TAGS],
  [
    'Block scalar header',
    'a text that begins with | or > stands in quotes; as a sign of lines to come it stands alone',
  ],
  ['Invalid escape', 'there is no such escape; between double quotes write \\\\ for \\, or take single ones'],
]
/** One slip of syntax makes many errors; the first ones tell. */
const MAX_SYNTAX_FAULTS = 10

const CORE_TAG = /^tag:yaml\.org,2002:(?:str|int|float|bool|null|map|seq)$/

/** A scalar that took something from the environment. */
export interface Substitution {
  readonly path: Path
  /** Names of the variables. */
  readonly names: readonly string[]
  /** What came out, before it was read as a number or the like. */
  readonly text: string
}

/** What a file holds, and where. */
export interface Tree {
  /** Plain value of the whole document. With faults, FAULTY stands for each value that could not be read, or for all. */
  readonly value: unknown
  readonly faults: readonly Fault[]
  /** Scalars that took something from the environment; those that an alias brought stand at its place too. */
  readonly substituted: readonly Substitution[]
  /** A fault at the value of `path`, or at the nearest thing around it that exists. */
  fault(path: Path, message: string, code: FaultCode, on?: 'value' | 'key'): Fault
  /** Line of what `fault` would point at, from 1. */
  line(path: Path): number
}

type Environment = Readonly<Record<string, string | undefined>>

/** Takes a fault at an offset of the text. */
type AddFault = (offset: number, path: Path, message: string, code: FaultCode) => void

interface Stopped {
  readonly offset: number
  readonly message: string
  readonly code: FaultCode
}

/**
 * Read YAML 1.2 (core schema) without merge keys, tags or a second document. `${NAME}` in scalars is replaced from `env`.
 * Never throws for the text's sake; time is linear in its length and bounded by the limits above.
 */
export function readTree(text: string, file: string, env: Environment): Tree {
  const places = new Places(text)
  const faults: Fault[] = []
  const substituted: Substitution[] = []
  let root: Node | null = null
  let value: unknown = FAULTY
  const add: AddFault = (offset, path, message, code) => {
    faults.push({ file, ...places.of(offset), path: formatPath(path), message, code })
  }

  const parsed = parse(text)
  if ('message' in parsed) {
    add(parsed.offset, [], parsed.message, parsed.code)
  } else {
    syntaxFaults(parsed, text, add)
    if (faults.length === 0) {
      root = parsed.contents as Node | null
      const walk = new Walk(places, add, env, substituted)
      value = root === null ? null : walk.read(root, [], 0).value
      if (faults.length === 0 && value === null) {
        add(0, [], 'the file is empty; a gateway needs at least `listeners`', 'SLUICE_CONFIG_MISSING')
        value = FAULTY
      }
    }
  }

  const offsetOf = (path: Path, on: 'value' | 'key') => (root === null ? 0 : locate(root, path, on))
  return {
    value,
    faults,
    substituted,
    fault: (path, message, code, on = 'value') => ({
      file,
      ...places.of(offsetOf(path, on)),
      path: formatPath(path),
      message,
      code,
    }),
    line: path => places.of(offsetOf(path, 'value')).line,
  }
}

// The parser is fed token by token, so that a limit stops it where it is passed and not when all is built.
function parse(text: string): Document.Parsed | Stopped {
  const stop = (offset: number, message: string): Stopped => ({ offset, message, code: 'SLUICE_CONFIG_LIMIT' })
  // Nearly every line is a token, and counting lines is a thousand times cheaper than reading them.
  if (countLines(text, MAX_TOKENS) > MAX_TOKENS) return stop(0, 'the file holds too many lines')
  const parser = new Parser()
  const tokens = []
  let count = 0
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) tokens.push(token)
    if (++count > MAX_TOKENS) return stop(parser.offset, 'the file holds too many values')
    const depth = parser.stack.length
    // A document and a scalar stand on the stack beside the collections.
    if (depth > MAX_DEPTH + 2) return stop(parser.offset, `nested deeper than ${MAX_DEPTH} levels`)
    if (lexeme === ':' && depth > 0) {
      const top = parser.stack[depth - 1]!
      if ((top.type === 'block-map' || top.type === 'flow-collection') && top.items.length > MAX_KEYS) {
        return stop(parser.offset, `a map holds more than ${MAX_KEYS.toLocaleString('en')} keys`)
      }
    }
  }
  for (const token of parser.end()) tokens.push(token)
  // Key uniqueness is checked below in linear time: the library compares every key with every other.
  const composer = new Composer({
    schema: 'core',
    uniqueKeys: false,
    merge: false,
    resolveKnownTags: false,
    logLevel: 'silent',
  })
  // A hostile file makes an error for each of its bytes; their stacks would cost more than the parsing.
  const traced = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    let first: Document.Parsed | null = null
    for (const document of composer.compose(tokens, true, text.length)) {
      if (first !== null) {
        const message = 'a second document begins here (`---`); one is due'
        return { offset: document.range[0], message, code: 'SLUICE_CONFIG_SYNTAX' }
      }
      first = document as Document.Parsed
    }
    return first!
  } catch (error) {
    return stop(0, `the file cannot be read as YAML: ${(error as Error).message}`)
  } finally {
    Error.stackTraceLimit = traced
  }
}

/** Lines of `text`; counting ends past `enough`. */
function countLines(text: string, enough: number): number {
  let count = 1
  for (let at = text.indexOf('\n'); at !== -1 && count <= enough; at = text.indexOf('\n', at + 1)) count++
  return count
}

function syntaxFaults(document: Document.Parsed, text: string, add: AddFault): void {
  const version = document.directives?.yaml
  if (version?.explicit === true && version.version !== '1.2') {
    add(0, [], 'YAML 1.2 is due; remove the %YAML line', 'SLUICE_CONFIG_SYNTAX')
  }
  // Warnings are about tags and directives: what they say would change what is read, so none passes.
  const errors = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0])
  let told = 0
  let end = -1
  for (const error of errors) {
    const offset = error.pos[0]
    // What follows on the same line is mostly an echo of the first, and so is each line behind a document that ended early.
    if (offset < end || (told > 0 && error.message.includes('in YAML stream'))) continue
    const start = text.lastIndexOf('\n', Math.max(0, offset - 1)) + 1
    end = text.indexOf('\n', offset)
    if (end === -1) end = text.length + 1
    const before = text.slice(start, Math.min(offset + 40, start + 500))
    let advice = ''
    if (/[{[,].*\$\{/.test(before)) advice = `; inside { } or [ ] write "\${NAME}" in quotes`
    else if (/[{[,].*\/\{/.test(before)) advice = '; a parameter of a path is written :id'
    if (error.message.startsWith('Alias')) advice = ADVISE_QUOTES
    const quoting = QUOTING.find(([begin]) => error.message.startsWith(begin))
    const message = quoting === undefined ? `${error.message.split('\n')[0]}${advice}` : quoting[1]
    add(offset, [], message, 'SLUICE_CONFIG_SYNTAX')
    if (++told === MAX_SYNTAX_FAULTS) return
  }
}

interface Value {
  readonly value: unknown
  /** Values in it, itself included. */
  readonly size: number
  /** Collections in collections below it. */
  readonly height: number
}

/** A value that an alias may name. */
interface Anchored extends Value {
  /** Length of its path. */
  readonly depth: number
  /** Those in it, with whole paths. */
  readonly substituted: readonly Substitution[]
}

const NOTHING: Value = { value: null, size: 1, height: 0 }
const UNREADABLE: Value = { value: FAULTY, size: 1, height: 0 }

/** A key's text, and what becomes of the value under it; all but `keep` are faults. */
interface Key {
  readonly text: string
  readonly value: 'keep' | 'drop' | 'merge' | 'fill'
}

/** One walk over the nodes: values come out, everything that YAML allows and a configuration must not is a fault. */
class Walk {
  readonly #anchors = new Map<string, Node>()
  readonly #done = new Map<Node, Anchored>()
  #aliased = 0
  readonly #places: Places
  readonly #add: AddFault
  readonly #env: Environment
  readonly #substituted: Substitution[]

  constructor(places: Places, add: AddFault, env: Environment, substituted: Substitution[]) {
    this.#places = places
    this.#add = add
    this.#env = env
    this.#substituted = substituted
  }

  /** `path` is extended and taken back in place; it is copied only where it is kept. */
  read(node: Node, path: (string | number)[], depth: number): Value {
    if (isAlias(node)) return this.#alias(node, path, depth)
    const { anchor, tag } = node as { anchor?: string; tag?: string }
    if (anchor !== undefined) this.#anchors.set(anchor, node)
    if (tag !== undefined && !CORE_TAG.test(tag)) {
      this.#add(start(node), path, NO_TAGS, 'SLUICE_CONFIG_SYNTAX')
    }
    const before = this.#substituted.length
    let read: Value
    if (isMap(node)) read = this.#map(node.items as Pair<Node, Node | null>[], path, depth)
    else if (isSeq(node)) read = this.#list(node.items as (Node | Pair)[], path, depth)
    else read = { value: this.#scalar(node as Scalar, path), size: 1, height: 0 }
    if (tag !== undefined && !CORE_TAG.test(tag)) read = { ...read, value: FAULTY }
    if (anchor !== undefined) {
      this.#done.set(node, { ...read, depth: path.length, substituted: this.#substituted.slice(before) })
    }
    return read
  }

  #alias(node: Node & { source: string }, path: Path, depth: number): Value {
    const target = this.#anchors.get(node.source)
    if (target === undefined) {
      this.#add(start(node), path, `there is no such anchor before this alias${ADVISE_QUOTES}`, 'SLUICE_CONFIG_SYNTAX')
      return UNREADABLE
    }
    const read = this.#done.get(target)
    if (read === undefined) {
      this.#add(start(node), path, `the alias *${node.source} stands inside its own anchor`, 'SLUICE_CONFIG_LIMIT')
      return UNREADABLE
    }
    const before = this.#aliased
    this.#aliased += read.size
    if (this.#aliased > MAX_ALIASED || depth + read.height > MAX_DEPTH) {
      // Told once: all that follow would say the same.
      if (before <= MAX_ALIASED) {
        this.#add(
          start(node),
          path,
          `aliases expand to more than ${MAX_ALIASED.toLocaleString('en')} values or ${MAX_DEPTH} levels`,
          'SLUICE_CONFIG_LIMIT',
        )
        this.#aliased = Number.MAX_SAFE_INTEGER
      }
      return UNREADABLE
    }
    for (const { path: inside, ...rest } of read.substituted) {
      this.#substituted.push({ path: [...path, ...inside.slice(read.depth)], ...rest })
    }
    // The same value is shared and not copied: nobody changes it, and its size was counted.
    return read
  }

  #map(pairs: readonly Pair<Node, Node | null>[], path: (string | number)[], depth: number): Value {
    const value: Record<string, unknown> = {}
    const seen = new Map<string, Node>()
    const filled = new Set<string>()
    const merged: unknown[] = []
    let size = 1
    let height = 0
    for (const pair of pairs) {
      const key = this.#key(pair, path, seen)
      // What stands under a refused key is read too: it has faults of its own, and anchors.
      path.push(key.text)
      const read = pair.value === null ? NOTHING : this.read(pair.value, path, depth + 1)
      path.pop()
      size += read.size
      height = Math.max(height, read.height + 1)
      if (key.value === 'keep') value[key.text] = read.value
      else if (key.value === 'merge') merged.push(read.value)
      else if (key.value === 'fill' && isRecord(value[key.text])) {
        // A copy, once: the first may be shared by aliases.
        if (!filled.has(key.text)) value[key.text] = { ...(value[key.text] as object) }
        filled.add(key.text)
        fill(value[key.text], read.value)
      }
    }
    for (const from of merged.flat()) fill(value, from)
    return { value, size, height }
  }

  /** Says what is wrong with a key that is not to be. */
  #key(pair: Pair<Node, Node | null>, path: Path, seen: Map<string, Node>): Key {
    const node = pair.key
    const at = node === null ? (pair.value === null ? 0 : start(pair.value)) : start(node)
    if (!isScalar(node) || typeof node.value !== 'string') {
      const shown = isScalar(node) && node.source ? ` (${quote(String(node.source))})` : ''
      this.#add(at, path, `a key must be text${shown}; put it in quotes`, 'SLUICE_CONFIG_SYNTAX')
      if (!isScalar(node) || !node.source) return { text: '?', value: 'drop' }
    }
    const key = typeof node.value === 'string' ? node.value : node.source!
    const { anchor, tag } = node as { anchor?: string; tag?: string }
    if (tag !== undefined && !CORE_TAG.test(tag)) {
      this.#add(at, path, NO_TAGS, 'SLUICE_CONFIG_SYNTAX')
    }
    if (anchor !== undefined) {
      this.#anchors.set(anchor, node)
      this.#done.set(node, { value: key, size: 1, height: 0, depth: 0, substituted: [] })
    }
    if (FORBIDDEN_KEYS.has(key)) {
      this.#add(at, [...path, key], 'this key is not allowed anywhere', 'SLUICE_CONFIG_FORBIDDEN_KEY')
      return { text: key, value: 'drop' }
    }
    if (key.includes('${')) {
      this.#add(at, [...path, key], 'variables stand in values and not in keys', 'SLUICE_CONFIG_ENV')
      return { text: key, value: 'drop' }
    }
    if (key === '<<' && node.type === Scalar.PLAIN) {
      this.#add(
        at,
        [...path, key],
        'merge keys are not supported; write the options out, or alias a whole value',
        'SLUICE_CONFIG_UNKNOWN_KEY',
      )
      return { text: key, value: 'merge' }
    }
    const first = seen.get(key)
    if (first !== undefined) {
      const { line } = this.#places.of(start(first))
      this.#add(at, [...path, key], `duplicate key; the first is on line ${line}`, 'SLUICE_CONFIG_DUPLICATE_KEY')
      return { text: key, value: 'fill' }
    }
    seen.set(key, node)
    return { text: key, value: 'keep' }
  }

  #list(items: readonly (Node | Pair)[], path: (string | number)[], depth: number): Value {
    const value: unknown[] = []
    let size = 1
    let height = 0
    for (const [i, item] of items.entries()) {
      path.push(i)
      // `[a: 1]` is a list of one map, which the library keeps as a bare pair.
      const read =
        item !== null && 'key' in item
          ? this.#map([item as Pair<Node, Node | null>], path, depth + 1)
          : this.read(item, path, depth + 1)
      path.pop()
      value.push(read.value)
      size += read.size
      height = Math.max(height, read.height + 1)
    }
    return { value, size, height }
  }

  #scalar(node: Scalar, path: Path): unknown {
    const { value } = node
    if (typeof value === 'string') {
      if (!value.includes('${')) return value
      const found = substitute(value, this.#env)
      for (const message of found.faults) this.#add(start(node), path, message, 'SLUICE_CONFIG_ENV')
      if (found.faults.length > 0) return FAULTY
      if (found.names.length === 0) return found.text
      this.#substituted.push({ path: [...path], names: found.names, text: found.text })
      return node.type === Scalar.PLAIN && node.tag === undefined ? resolveCore(found.text) : found.text
    }
    if (typeof value === 'number' && !Number.isFinite(value)) {
      this.#add(start(node), path, 'a finite number is due', 'SLUICE_CONFIG_INVALID')
      return FAULTY
    }
    return value ?? null
  }
}

/** Put in what another map has more: nothing that stands in a refused part of the file is to be missed as well. */
function fill(onto: unknown, from: unknown): void {
  if (!isRecord(onto) || !isRecord(from)) return
  for (const [key, value] of Object.entries(from)) if (!Object.hasOwn(onto, key)) onto[key] = value
}
