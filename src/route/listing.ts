// Routes as people read them: one line a way in, in the order in which they are tried.
import type { Entry } from './entry.ts'
import { type Condition, type Field, HOST_ANY, HOST_WILDCARD, type HostPattern, parseHost } from './match.ts'
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

/** A route as it stands in the file, but for its secrets (config/redact.ts): what may be shown of it. */
export interface ShownRoute {
  readonly name: string
  readonly match?: {
    readonly host?: string | readonly string[]
    readonly path?: string | readonly string[]
    readonly methods?: readonly string[]
    readonly headers?: Readonly<Record<string, string>>
    readonly query?: Readonly<Record<string, string>>
    readonly cookies?: Readonly<Record<string, string>>
  } | null
  readonly upstream?: string
  readonly redirect?: { readonly to: string }
}

/** Describe an entry of the table; `options` are those of its route, and `shown` what the file says of it. */
export function describe(entry: Entry<unknown>, options: RouteOptions, shown: ShownRoute): ListedRoute {
  const match = shown.match ?? {}
  return {
    host: shownHost(entry.host, options.match.host, match.host),
    path: listed(match.path)[entry.patternIndex] ?? entry.pattern.text,
    methods: match.methods ?? null,
    conditions: entry.conditions.map(condition => {
      const { field, name } = condition
      return `${field} ${name}=${expectation(condition, match[RECORDS[field]])}`
    }),
    route: shown.name,
    to: target(options, shown),
  }
}

const RECORDS = { header: 'headers', query: 'query', cookie: 'cookies' } as const satisfies Record<Field, string>

function listed(one: string | readonly string[] | undefined): readonly string[] {
  return one === undefined ? [] : typeof one === 'string' ? [one] : one
}

/** In the form that is compared, unless what stands in the file is not shown. */
function shownHost(host: HostPattern, given: readonly string[], shown: string | readonly string[] | undefined): string {
  const text = hostText(host)
  const at = given.findIndex(one => hostText(parseHost(one)) === text)
  const seen = listed(shown)[at]
  return seen === undefined || seen === given[at] ? text : seen
}

function expectation({ field, name }: Condition, shown: Readonly<Record<string, string>> | undefined): string {
  const same = (key: string) => (field === 'header' ? key.toLowerCase() : key) === name
  return Object.entries(shown ?? {}).find(([key]) => same(key))?.[1] ?? ''
}

function hostText(host: HostPattern): string {
  if (host.kind === HOST_ANY) return '*'
  return host.kind === HOST_WILDCARD ? `*.${host.name}` : host.name
}

function target(options: RouteOptions, { upstream, redirect }: ShownRoute): string {
  if (upstream !== undefined) return upstream
  if (redirect !== undefined) return `redirect ${options.redirect?.status} ${redirect.to}`
  return `respond ${options.respond?.status}`
}

/** A parameter's value may be of several lines. */
function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, char => encodeURIComponent(char))
}

/** A table for a terminal. */
export function formatListing(routes: readonly ListedRoute[]): string {
  const rows = routes.map(({ host, path, methods, conditions, route, to }) => {
    return [host, path, methods?.join(',') ?? '*', conditions.map(printable).join(' ') || '-', route, to]
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
