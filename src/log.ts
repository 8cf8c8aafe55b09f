// The gateway's own log: one JSON line an event on standard error, through pino; and a bound on lines of one kind.
import { pino } from 'pino'

/** Levels in use. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** What rooms log with. Fields are JSON values; never a secret, a token or a whole header list. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}

/** Bytes of lines that are kept where none can be written; what is past them is lost. */
const MAX_KEPT = 4 * 1024 * 1024

/** A log that writes to standard error at `level`. Never throws: lines that cannot be written are, once they can. */
export function createLog(level: LogLevel = 'info'): Log {
  const destination = pino.destination({ fd: 2, sync: true, maxLength: MAX_KEPT })
  // A full disk (ENOSPC) or a terminal that is gone (EIO): to end for it would let one failing upstream end all requests.
  destination.on('error', () => {})
  const out = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination)
  return {
    debug: (message, fields) => out.debug(fields ?? {}, message),
    info: (message, fields) => out.info(fields ?? {}, message),
    warn: (message, fields) => out.warn(fields ?? {}, message),
    error: (message, fields) => out.error(fields ?? {}, message),
  }
}

/** Lines a second of one kind; what is past them is counted in the next line. A storm must not drown the log. */
const LINES = 10
const WINDOW = 1000

/** Holds lines that one request each could bring to a bound. Kinds are few. */
export class LineLimit {
  readonly #now: () => number
  readonly #tallies = new Map<string, { since: number; lines: number; suppressed: number }>()

  /** `now` in milliseconds of a monotonic clock. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** For the line's fields, how many of this kind were left out since the last one; null where it is one more of them. */
  admit(kind: string): { suppressed?: number } | null {
    const now = this.#now()
    let tally = this.#tallies.get(kind)
    if (tally === undefined) {
      tally = { since: now, lines: 0, suppressed: 0 }
      this.#tallies.set(kind, tally)
    }
    if (now - tally.since >= WINDOW) {
      tally.since = now
      tally.lines = 0
    }
    if (++tally.lines > LINES) {
      tally.suppressed++
      return null
    }
    const { suppressed } = tally
    tally.suppressed = 0
    return suppressed > 0 ? { suppressed } : {}
  }
}
