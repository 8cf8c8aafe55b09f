// Routes as people read them: one line a way in, in the order in which they are tried.
import type { Entry } from './entry.ts'
import { HOST_ANY, HOST_WILDCARD, type HostPattern } from './match.ts'
import type { RouteOptions } from './options.ts'

/** One way into a route, in words. */
export interface ListedRoute {
  readonly host: string
  readonly path: string
  readonly methods: readonly string[] | null
  readonly conditions: readonly string[]
  readonly route: string
  readonly to: string
}

/** Describe an entry of the table; `options` are those of its route. */
export function describe(entry: Entry<unknown>, options: RouteOptions): ListedRoute {
  return {
    host: hostText(entry.host),
    path: entry.pattern.text,
    methods: entry.methods,
    conditions: entry.conditions.map(({ field, name, value }) => `${field} ${name}=${value}`),
    route: options.name,
    to: target(options),
  }
}

function hostText(host: HostPattern): string {
  if (host.kind === HOST_ANY) return '*'
  return host.kind === HOST_WILDCARD ? `*.${host.name}` : host.name
}

function target(options: RouteOptions): string {
  if (options.upstream !== undefined) return options.upstream
  if (options.redirect !== undefined) return `redirect ${options.redirect.status} ${options.redirect.to}`
  return `respond ${options.respond?.status}`
}

/** A table for a terminal. */
export function formatListing(routes: readonly ListedRoute[]): string {
  const rows = routes.map(({ host, path, methods, conditions, route, to }) => {
    return [host, path, methods?.join(',') ?? '*', conditions.join(' ') || '-', route, to]
  })
  const all = [['HOST', 'PATH', 'METHODS', 'CONDITIONS', 'ROUTE', 'TO'], ...rows]
  const widths = all[0]!.map((_, column) => all.reduce((widest, row) => Math.max(widest, row[column]!.length), 0))
  return all
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
