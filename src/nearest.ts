// The nearest name for a typo, and how a name that is not known is told.

/**
 * The known name within two edits of `name` (a swap of neighbours is one), or undefined. Two of a short name make another
 * word of it, unless it begins alike: `port` is not meant for `host`, but `kept` is for `keep`.
 */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.min(2, Math.ceil(name.length / 2)) + 1
  const given = name.toLowerCase()
  for (const candidate of known) {
    if (Math.abs(candidate.length - name.length) >= least) continue
    const edits = distance(given, candidate.toLowerCase(), least)
    if (edits < least && (edits < 2 || name.length > 4 || candidate[0] === name[0])) {
      best = candidate
      least = edits
    }
  }
  return best
}

/** `; did you mean "x"?` for a text that is near to one of these; `''` for anything else. */
export function meant(given: unknown, known: readonly string[]): string {
  const near = typeof given === 'string' ? nearest(given, known) : undefined
  return near === undefined ? '' : `; did you mean "${near}"?`
}

/** `; did you mean "x"?` or, where nothing is near, the known names if they are few. */
export function hint(name: string, known: readonly string[]): string {
  const near = meant(name, known)
  if (near !== '' || known.length === 0) return near
  const shown = known.slice(0, 20).join(', ')
  return `; known: ${shown}${known.length > 20 ? `, and ${known.length - 20} more` : ''}`
}

/** `there is no upstream "ordres"; did you mean "orders"?`: what is told of a name that stands for nothing. */
export function noSuch(what: string, name: string, known: Iterable<string>): string {
  return `there is no ${what} ${quote(name)}${hint(name, [...known])}`
}

/** A name as faults quote it: bounded, control characters escaped. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name)
}

// Optimal string alignment distance over three rows, or anything from `most` on where it is that far; names are short, long
// ones are cut. Thousands of names may be held against thousands: what is far is seen to be so after some letters.
function distance(a: string, b: string, most: number): number {
  if (a.length > 40 || b.length > 40) return a === b ? 0 : 99
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    let leastHere = i
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let least = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, before[j - 2]! + 1)
      row.push(least)
      if (least < leastHere) leastHere = least
    }
    // A swap of neighbours leads past this row, but no cheaper than one edit that does not.
    if (leastHere >= most) return most
    before = above
    above = row
  }
  return above[b.length]!
}
