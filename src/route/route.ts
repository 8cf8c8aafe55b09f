// A route as it runs: its plan, and what is done with a request that matched.
import type { ExchangeRoute } from '../exchange/exchange.ts'
import type { Reply } from '../http/head.ts'
import type { Plan } from '../pipeline/plan.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { parsePath } from './match.ts'
import type { RouteOptions } from './options.ts'
import { PathRewrite, RedirectTarget } from './rewrite.ts'

/** Requests and retries of a route since `windowStart`, for its retry budget (proxy/retry.ts). */
export interface RetryTally {
  requests: number
  retries: number
  windowStart: number
}

/** Part of a snapshot. The tally at the end is the only state. */
export class Route implements ExchangeRoute {
  readonly name: string
  readonly options: RouteOptions
  readonly plan: Plan
  /** Null for a route that answers itself. */
  readonly upstream: Upstream | null
  /** The answer of a `respond` route. */
  readonly reply: Reply | null
  /** One for each path pattern, or null. */
  readonly redirects: readonly RedirectTarget[] | null
  readonly rewrites: readonly PathRewrite[] | null
  readonly rewriteHost: string | null
  /** Milliseconds for the whole exchange; Infinity for `none`. */
  readonly timeout: number
  readonly tally: RetryTally

  /** Options have been checked; patterns that are none throw PatternError. `tally` is that of the route before it. */
  constructor(
    options: RouteOptions,
    plan: Plan,
    upstream: Upstream | null,
    tally: RetryTally = { requests: 0, retries: 0, windowStart: 0 },
  ) {
    this.name = options.name
    this.options = options
    this.plan = plan
    this.upstream = upstream
    this.reply = options.respond === undefined ? null : replyOf(options.respond)
    const patterns = options.match.path.map(parsePath)
    const { redirect, rewrite } = options
    const path = rewrite?.path
    this.redirects = redirect === undefined ? null : patterns.map(pattern => new RedirectTarget(redirect.to, pattern))
    this.rewrites = path === undefined ? null : patterns.map(pattern => new PathRewrite(path, pattern))
    this.rewriteHost = rewrite?.host ?? null
    this.timeout = options.timeout === 'none' ? Number.POSITIVE_INFINITY : options.timeout
    this.tally = tally
  }
}

function replyOf(respond: NonNullable<RouteOptions['respond']>): Reply {
  const headers = Object.entries(respond.headers).flat()
  if (respond.body !== '' && respond.headers['content-type'] === undefined) {
    headers.push('content-type', 'text/plain; charset=utf-8')
  }
  return { status: respond.status, headers, body: respond.body }
}
