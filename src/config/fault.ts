// What a faulty configuration is told: one fault, its place, its line of text, and the nearest name for a typo.

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
    else text += `[${JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key)}]`
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

/** The known name within two edits of `name` (a swap of neighbours is one), or undefined. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.min(2, Math.ceil(name.length / 2)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - name.length) >= least) continue
    const edits = distance(name.toLowerCase(), candidate.toLowerCase())
    if (edits < least) {
      best = candidate
      least = edits
    }
  }
  return best
}

/** `; did you mean "x"?` or, where nothing is near, the known names if they are few. */
export function hint(name: string, known: readonly string[]): string {
  const near = nearest(name, known)
  if (near !== undefined) return `; did you mean "${near}"?`
  if (known.length === 0) return ''
  const shown = known.slice(0, 20).join(', ')
  return `; known: ${shown}${known.length > 20 ? `, and ${known.length - 20} more` : ''}`
}

/** A name as faults quote it: bounded, control characters escaped. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name)
}

// Optimal string alignment distance over three rows; names are short, long ones are cut.
function distance(a: string, b: string): number {
  if (a.length > 40 || b.length > 40) return a === b ? 0 : 99
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let least = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, before[j - 2]! + 1)
      row.push(least)
    }
    before = above
    above = row
  }
  return above[b.length]!
}
