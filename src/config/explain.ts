// From what a schema finds wrong to one plain sentence for each wrong value, with the place it belongs to.
import { z } from 'zod'
import { hint, meant, nearest, quote } from '../nearest.ts'
import { absentKeys } from '../units.ts'
import { valueAt } from '../value-at.ts'
import { FAULTY, type FaultCode, type Path } from './fault.ts'
import { definitions, knownKeys, schemasAt } from './schema-path.ts'

/** A fault before its line is known. */
export interface Problem {
  readonly path: Path
  readonly message: string
  readonly code: FaultCode
  /** Point at the key instead of its value. */
  readonly on?: 'key'
}

type Issue = z.core.$ZodIssue

const KINDS: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map',
  record: 'a map',
  array: 'a list',
  null: 'nothing',
  nan: 'a number',
}

/** What a schema makes of a value: its output where there are no problems. */
export interface Examined<T> {
  readonly data: T | null
  readonly problems: Problem[]
}

/**
 * Hold `input` to `schema`; `prefix` is where it stands in the document, `others` are keys that it may have beside those
 * of the schema. A misspelt key is told once: the one that was meant is put in as FAULTY, so that nobody misses it.
 */
export function examine<S extends z.ZodType>(
  schema: S,
  input: unknown,
  prefix: Path = [],
  others: readonly string[] = [],
): Examined<z.output<S>> {
  const first = schema.safeParse(input)
  if (first.success) return { data: first.data, problems: [] }
  let found = explain(schema, first.error.issues, input, others)
  if (found.meant.map(path => standIn(input, path)).includes(true)) {
    found = explain(schema, schema.safeParse(input).error?.issues ?? [], input, others)
  }
  return { data: null, problems: found.problems.map(problem => ({ ...problem, path: [...prefix, ...problem.path] })) }
}

/** Put FAULTY where nothing stands; true when it was put there. */
function standIn(input: unknown, path: Path): boolean {
  const around = valueAt(input, path.slice(0, -1)) as Record<string | number, unknown>
  const key = path.at(-1)!
  if (Object.hasOwn(around, key)) return false
  around[key] = FAULTY
  return true
}

/** Problems for the issues that `schema` found in `input`, and the keys that are missing because they are misspelt. */
function explain(
  schema: z.core.$ZodType,
  issues: readonly Issue[],
  input: unknown,
  others: readonly string[],
): { problems: Problem[]; meant: Path[] } {
  // A user's module may bring a zod of its own: of an older one only the issues' places and words are known.
  if (!('_zod' in schema)) return { problems: issues.map(issue => verbatim(issue, input)), meant: [] }
  const problems: Problem[] = []
  const meant: Path[] = []
  all(issues, [])
  const absent = new Set(meant.map(pathKey))
  const told = problems.filter(
    problem => problem.code !== 'SLUICE_CONFIG_MISSING' || !absent.has(pathKey(problem.path)),
  )
  return { problems: told, meant }

  /**
   * One bound of a value is told, the last: that of the option, behind what every whole number is held to. And none of
   * what is of a wrong kind: an empty list has a length where text is due.
   */
  function all(found: readonly Issue[], before: Path): void {
    const last = new Map<string, Issue>()
    for (const issue of found) {
      const key = pathKey(issue.path as Path)
      if (issue.code === 'invalid_type' || (isBound(issue) && last.get(key)?.code !== 'invalid_type'))
        last.set(key, issue)
    }
    for (const issue of found)
      if (!isBound(issue) || last.get(pathKey(issue.path as Path)) === issue) one(issue, before)
  }

  function one(issue: Issue, before: Path): void {
    const path: Path = [...before, ...(issue.path as Path)]
    if (issue.code === 'unrecognized_keys') {
      unknown(issue.keys, path)
    } else if (issue.code === 'invalid_key') {
      const message = issue.issues.map(inner => sentence(inner as Issue, path.at(-1))).join('; ')
      problems.push({ path, message, code: 'SLUICE_CONFIG_INVALID', on: 'key' })
      // A record leaves the value of a bad name unread.
      const [held, ...more] = schemasAt(schema, path)
      if (held === undefined || more.length > 0) return
      all(z.safeParse(held, valueAt(input, path)).error?.issues ?? [], path)
    } else if (issue.code === 'invalid_union' && issue.discriminator !== undefined) {
      undecided(issue, path)
    } else if (valueAt(input, path) === FAULTY && !isOnKey(issue)) {
      return
    } else if (issue.code === 'invalid_union' && valueAt(input, path) !== undefined) {
      union(issue, path)
    } else {
      plain(issue, path)
    }
  }

  function plain(issue: Issue, path: Path): void {
    const value = valueAt(input, path)
    if (value === undefined && (issue.code === 'invalid_type' || issue.code === 'invalid_union')) {
      const message = isDefault(issue.message) ? 'is missing' : `is missing: ${issue.message}`
      problems.push({ path, message, code: 'SLUICE_CONFIG_MISSING' })
    } else {
      const on = isOnKey(issue) ? { on: 'key' as const } : {}
      problems.push({ path, message: sentence(issue, value), code: 'SLUICE_CONFIG_INVALID', ...on })
    }
  }

  function unknown(keys: readonly string[], path: Path): void {
    const known = knownKeys(schema, path, valueAt(input, path))
    const offered = path.length === 0 ? [...known, ...others] : known
    const absent = Object.assign({}, ...schemasAt(schema, path).map(held => absentKeys.get(held)))
    const below = known.map(name => {
      const inner: Path = [...path, name]
      return { name, keys: new Set(knownKeys(schema, inner, valueAt(input, inner))) }
    })
    for (const key of keys) {
      const near = nearest(key, offered)
      const under = below.filter(inner => inner.keys.has(key)).map(({ name }) => name)
      let advice = hint(key, offered)
      if (Object.hasOwn(absent, key)) advice = `; ${absent[key]}`
      else if (under.length > 0) advice = `; it stands under ${under.join(' or ')}`
      else if (near !== undefined && known.includes(near)) meant.push([...path, near])
      problems.push({
        path: [...path, key],
        message: `unknown key${advice}`,
        code: 'SLUICE_CONFIG_UNKNOWN_KEY',
        on: 'key',
      })
    }
  }

  /** No branch is the one that was meant; a key that none of them knows may be why. */
  function undecided(issue: z.core.$ZodIssueInvalidUnion, path: Path): void {
    const around = path.slice(0, -1)
    const given = valueAt(input, around) as Record<string, unknown>
    const known = knownKeys(schema, around, given)
    const strange = Object.keys(given).filter(key => !known.includes(key))
    unknown(strange, around)
    if (valueAt(input, path) !== FAULTY) plain(issue, path)
    const branches = schemasAt(schema, around).flatMap(definitions).length
    for (const [key, value] of Object.entries(given)) {
      const inner: Path = [...around, key]
      const held = schemasAt(schema, inner)
      if (key === path.at(-1) || held.length < branches) continue
      // What every branch has and none takes is wrong, whichever was meant.
      const found = held.map(one => z.safeParse(one, value).error?.issues ?? [])
      if (found.every(issues => issues.length > 0)) all(found[0]!, inner)
    }
  }

  // The branch that was meant is the one whose kind of value it is; its own issues say most.
  function union(issue: z.core.$ZodIssueInvalidUnion, path: Path): void {
    const value = valueAt(input, path)
    const branches = issue.errors as Issue[][]
    // The branch that only misses what was told already.
    if (branches.some(branch => branch.every(inner => valueAt(value, inner.path as Path) === FAULTY))) return
    const fitting = branches.filter(branch => !branch.some(isMismatch)).sort((a, b) => a.length - b.length)
    const best = fitting[0]
    const push = (message: string) => problems.push({ path, message, code: 'SLUICE_CONFIG_INVALID' })
    if (best !== undefined) {
      const [only] = best
      if (best.length === 1 && only !== undefined && only.path.length === 0 && only.code === 'invalid_format') {
        const words = branches.flat().filter(other => other.code === 'invalid_value')
        push([sentence(only, value), ...words.map(word => literals(word))].join(', or '))
      } else all(best, path)
    } else if (!isDefault(issue.message)) push(issue.message)
    else {
      const wanted = [...new Set(branches.flat().filter(isMismatch).flatMap(expectations))]
      push(
        wanted.length === 0
          ? `is not valid, found ${kindOf(value)}`
          : `${wanted.join(', or ')} is due, found ${kindOf(value)}`,
      )
    }
  }
}

/** An issue in its own words. */
function verbatim(issue: Issue, input: unknown): Problem {
  const path = issue.path as Path
  if (valueAt(input, path) !== undefined) return { path, message: issue.message, code: 'SLUICE_CONFIG_INVALID' }
  return { path, message: `is missing: ${issue.message}`, code: 'SLUICE_CONFIG_MISSING' }
}

/** One sentence for an issue that concerns one value. Values themselves are named only where they are words of ours. */
function sentence(issue: Issue, value: unknown): string {
  if (!isDefault(issue.message)) return issue.message
  switch (issue.code) {
    case 'invalid_type': {
      const advice =
        issue.expected === 'string' && typeof value !== 'object' && value !== undefined ? '; put it in quotes' : ''
      const found = issue.expected === 'int' && typeof value === 'number' ? value : kindOf(value)
      return `${expectation(issue)} is due, found ${found}${advice}`
    }
    case 'invalid_value': {
      const found = typeof value === 'string' ? quote(value) : typeof value === 'number' ? value : kindOf(value)
      return `${literals(issue)} is due, found ${found}${advice(issue, value)}`
    }
    case 'too_small':
      if (issue.origin === 'string' && issue.minimum === 1) return 'must not be empty'
      return `must ${amount(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum)}`
    case 'too_big':
      return `must ${amount(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum)}`
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`
    case 'invalid_format':
      return `does not have the form of ${issue.format === 'regex' ? 'such a value' : `a ${issue.format}`}`
    case 'invalid_union':
    case 'invalid_element':
      return `is not valid, found ${kindOf(value)}`
    default:
      return 'is not valid'
  }
}

/** What was meant, for a value that is none of the words and numbers that are due. */
function advice(issue: z.core.$ZodIssueInvalidValue, value: unknown): string {
  const alike = issue.values.find(known => String(known) === String(value))
  if (alike !== undefined)
    return typeof alike === 'string' ? '; put it in quotes' : `; write ${String(alike)} without quotes`
  return meant(value, issue.values.map(String))
}

function amount(origin: string, bound: string, count: number | bigint): string {
  if (origin === 'string') return `have ${bound} ${count} characters`
  if (origin === 'array' || origin === 'set') return `have ${bound} ${count} ${count === 1 ? 'entry' : 'entries'}`
  return `be ${bound} ${count}`
}

// What a schema says by itself begins with these; what its author wrote is better and kept.
function isDefault(message: string): boolean {
  return /^(?:Invalid |Too (?:small|big):|Unrecognized key)/.test(message)
}

function isOnKey(issue: Issue): boolean {
  return issue.code === 'custom' && issue.params?.on === 'key'
}

function isBound({ code }: Issue): boolean {
  return code === 'too_small' || code === 'too_big'
}

function isMismatch(issue: Issue): boolean {
  if (issue.path.length > 0) return false
  if (issue.code === 'invalid_union') return (issue.errors as Issue[][]).every(branch => branch.some(isMismatch))
  return issue.code === 'invalid_type' || issue.code === 'invalid_value'
}

/** What a mismatch would have taken; a union within a union has several. */
function expectations(issue: Issue): string[] {
  if (issue.code !== 'invalid_union' || !isDefault(issue.message)) return [expectation(issue)]
  return (issue.errors as Issue[][]).flat().filter(isMismatch).flatMap(expectations)
}

function expectation(issue: Issue): string {
  if (!isDefault(issue.message)) return issue.message.replace(/ is due\b/, '')
  if (issue.code === 'invalid_type') return KINDS[issue.expected] ?? issue.expected
  return literals(issue)
}

function literals(issue: Issue): string {
  if (issue.code !== 'invalid_value') return 'another value'
  const words = issue.values.map(String)
  return words.length < 2 ? (words[0] ?? 'another value') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

function kindOf(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  return typeof value === 'string' ? 'text' : typeof value === 'boolean' ? 'true or false' : 'a number'
}

function pathKey(path: Path): string {
  return JSON.stringify(path)
}
