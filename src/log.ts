// The gateway's own log: one JSON line an event on standard error, through pino.
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

/** A log that writes to standard error at `level`. */
export function createLog(level: LogLevel = 'info'): Log {
  const out = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  return {
    debug: (message, fields) => out.debug(fields ?? {}, message),
    info: (message, fields) => out.info(fields ?? {}, message),
    warn: (message, fields) => out.warn(fields ?? {}, message),
    error: (message, fields) => out.error(fields ?? {}, message),
  }
}
