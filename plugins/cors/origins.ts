// Which origins may read answers: any, those of an exact list, or those that an expression takes as a whole.

/** Longer ones are nobody's: expressions are not run over what a client pads. */
const LONGEST = 512
const FORM = /^[a-z][a-z0-9+.-]*:\/\/[^/?#\s@]+$/

/** True for an allowed origin. */
export type Origins = (origin: string) => boolean

/** What is wrong with an entry of the list, or null. */
export function originFault(text: string): string | null {
  if (text === '*' || text === 'null') return null
  if (text.startsWith('~')) {
    try {
      new RegExp(text.slice(1))
      return null
    } catch {
      return 'is not a valid regular expression'
    }
  }
  if (text.includes('*')) {
    const expression = text.replace(/[.?+^$()[\]{}|\\]/g, '\\$&').replaceAll('*', '[a-z0-9-]+')
    return `a * within an origin stands for nothing; an expression does: '~${expression}'`
  }
  if (!FORM.test(text)) return 'an origin is due, such as https://app.example.com, or *, or ~ and a regular expression'
  if (!/^https?:/.test(text)) return null
  const meant = URL.canParse(text) ? new URL(text).origin : null
  if (meant === null) return 'is no origin'
  return meant === text ? null : `browsers write this origin ${meant}`
}

/** Compile the list. Null when `*` is in it: any. */
export function compileOrigins(list: readonly string[]): Origins | null {
  if (list.includes('*')) return null
  const exact = new Set(list.filter(text => !text.startsWith('~')))
  // As a whole: `~https://.*\.example\.com` must not take https://a.example.com.evil.test.
  const patterns = list.filter(text => text.startsWith('~')).map(text => new RegExp(`^(?:${text.slice(1)})$`))
  if (patterns.length === 0) return origin => exact.has(origin)
  return origin => exact.has(origin) || (origin.length <= LONGEST && patterns.some(pattern => pattern.test(origin)))
}
