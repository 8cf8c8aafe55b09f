// What a faulty configuration is told: one fault, its place and its line of text.
import { quote } from '../nearest.ts'

/** Every code that a fault can carry; docs/configuration.md lists them. */
export type FaultCode =
  | 'SLUICE_CONFIG_FILE'
  | 'SLUICE_CONFIG_LIMIT'
  | 'SLUICE_CONFIG_SYNTAX'
  | 'SLUICE_CONFIG_DUPLICATE_KEY'
  | 'SLUICE_CONFIG_FORBIDDEN_KEY'
  | 'SLUICE_CONFIG_UNKNOWN_KEY'
  | 'SLUICE_CONFIG_ENV'
  | 'SLUICE_CONFIG_MISSING'
  | 'SLUICE_CONFIG_INVALID'
  | 'SLUICE_CONFIG_REFERENCE'
  | 'SLUICE_CONFIG_ROUTE_CONFLICT'
  | 'SLUICE_CONFIG_PLUGIN'

/** One thing that is wrong. Plain data, so that it passes between threads and into /readyz. */
export interface Fault {
  readonly file: string
  /** From 1; 1 where the file as a whole is meant. */
  readonly line: number
  /** From 1, in UTF-16 units. */
  readonly column: number
  /** Place in the document such as `routes[3].match.path`; `''` for the document itself. */
  readonly path: string
  readonly message: string
  readonly code: FaultCode
}

/** A place in the document: keys and list indexes from the top. */
export type Path = readonly (string | number)[]

/**
 * Stands in the read document for a value that is a fault already, such as a variable that is not set: no text, no map,
 * so that no check takes it for what it is not. Whoever finds it wrong says nothing of it.
 */
export const FAULTY: unique symbol = Symbol('faulty')

/** `file:line:column path: what is wrong (CODE)`, on one line and without control characters. */
export function formatFault(fault: Fault): string {
  const place = fault.path === '' ? '' : ` ${fault.path}:`
  const line = `${fault.file}:${fault.line}:${fault.column}${place} ${fault.message} (${fault.code})`
  // Keys, tags and a plugin's own words come from outside; a terminal must not obey them.
  return line.replace(/[\x00-\x1f\x7f-\x9f]/g, '\ufffd')
}

/** A path as one reads it: `routes[3].plugins[0].rate-limit.limit`; keys that hold dots or spaces stand in `["…"]`. */
export function formatPath(path: Path): string {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (/^[\w-]+$/.test(key)) text += text === '' ? key : `.${key}`
    else text += `[${quote(key)}]`
  }
  return text
}

/** Sort by place, and drop what says the same of the same place twice. */
export function sortFaults(faults: readonly Fault[]): Fault[] {
  const sorted = [...faults].sort((a, b) => a.line - b.line || a.column - b.column || (a.path < b.path ? -1 : 1))
  return sorted.filter((fault, i) => {
    const before = sorted[i - 1]
    return (
      before === undefined ||
      before.line !== fault.line ||
      before.path !== fault.path ||
      before.message !== fault.message
    )
  })
}
