// One entry under `routes:` as it stands in the YAML: its schema, type and docs in one.
import { z } from 'zod'
import { GATEWAY_FIELDS } from '../http/head.ts'
import { methodFault } from '../http/method.ts'
import { isHostField } from '../http1/framing.ts'
import { pluginList } from '../pipeline/entry.ts'
import { duration, fieldMap, fieldValue, label, share, TOKEN, untold, whereSound } from '../units.ts'
import { Condition, type Field, PatternError, parseHost, parsePath } from './match.ts'
import { PathRewrite, RedirectTarget } from './rewrite.ts'

/** Runs a parser that throws PatternError; gives its message, or null when the text is fine. */
function faultOf(parse: () => unknown): string | null {
  try {
    parse()
    return null
  } catch (error) {
    if (error instanceof PatternError) return error.message
    throw error
  }
}

/** One pattern or a list of them; comes out as a list. */
function patterns(parse: (text: string) => unknown, what: string) {
  const pattern = z.string().superRefine((text, context) => {
    const fault = faultOf(() => parse(text))
    if (fault !== null) context.addIssue({ code: 'custom', message: fault })
  })
  return z
    .union([pattern, z.array(pattern).min(1)], { error: `${what} or a list of them is due` })
    .transform(one => (typeof one === 'string' ? [one] : one))
}

const method = z
  .string()
  .regex(TOKEN, { error: 'a method such as GET is due' })
  .superRefine(
    (name, context) => {
      const fault = methodFault(name)
      if (fault !== null) context.addIssue({ code: 'custom', message: fault })
    },
    { when: untold },
  )

/** Name to expectation, checked by the condition that will be compiled from it. */
function conditionsOn(field: Field, described: string) {
  return z
    .record(
      z.string().min(1),
      z.string({ error: 'a text is due (quote numbers): a value, present, absent or ~regexp' }),
    )
    .superRefine(
      (record, context) => {
        const names = new Set<string>()
        for (const [name, expectation] of Object.entries(record)) {
          const fault = faultOf(() => {
            // What is no text was told; its name is looked at all the same.
            const condition = new Condition(field, name, typeof expectation === 'string' ? expectation : 'present')
            if (names.has(condition.name)) {
              throw new PatternError('stands twice: header names are compared without case')
            }
            names.add(condition.name)
          })
          if (fault !== null) context.addIssue({ code: 'custom', message: fault, path: [name] })
        }
      },
      { when: whereSound() },
    )
    .optional()
    .describe(described)
}

const EXPECTATION = 'name to a value, present, absent, or ~ and a regular expression; all must hold'

const match = z.strictObject({
  host: patterns(parseHost, 'a host')
    .prefault('*')
    .describe('Host or hosts: exact, `*.example.com` (exactly one label more) or `*`, any.'),
  path: patterns(parsePath, 'a path pattern')
    .prefault('/*')
    .describe('Path or paths: exact `/a`, parameter `/users/:id`, prefix `/a/*` (`/a` and all below it), `/*`.'),
  methods: z
    .array(method)
    .min(1, { error: 'an empty list matches nothing' })
    .optional()
    .describe('Methods; absent is every method. GET does not stand for HEAD.'),
  headers: conditionsOn('header', `Headers: ${EXPECTATION}.`),
  query: conditionsOn('query', `Query parameters: ${EXPECTATION}.`),
  cookies: conditionsOn('cookie', `Cookies: ${EXPECTATION}.`),
})

/** Fields that the engine or the connection sets; RFC 9110 7.6.1 and RFC 9112 6. */
const ENGINE_FIELDS = new Set([...GATEWAY_FIELDS, 'proxy-connection'])

const respond = z
  .strictObject({
    status: z.int().min(200).max(599).default(404).describe('Status of the answer.'),
    body: z.string().default('').describe('Body of the answer.'),
    headers: fieldMap(fieldValue(), ENGINE_FIELDS).default({}).describe('Headers of the answer.'),
  })
  .refine(({ status, body }) => body === '' || (status !== 204 && status !== 205 && status !== 304), {
    error: 'an answer with this status has no body (RFC 9110 15)',
    path: ['body'],
    when: whereSound('status', 'body'),
  })

const redirect = z.strictObject({
  to: z.string().min(1).describe('Location; may use `:id` and `*`. The query goes along unless this has one.'),
  status: z
    .literal([301, 302, 303, 307, 308])
    .default(308)
    .describe('301 and 302 may turn a POST into a GET, 303 does, 307 and 308 keep the method.'),
})

/** What a retry may be for; the numbers are statuses of the upstream's answer. */
const RETRY_ON = ['connect', 'reset', 502, 503, 504] as const

/** Longest wait before a retry where nothing is said of it, in milliseconds. */
const MAX_BACKOFF = 250

const retry = z
  .strictObject({
    attempts: z.int().min(0).max(10).default(1).describe('Tries after the first; 0 never tries again.'),
    on: z
      .array(z.literal(RETRY_ON))
      .default([...RETRY_ON])
      .describe('What is tried again: connect, reset, and statuses 502, 503, 504.'),
    backoff: duration().default(25).describe('Longest wait before the first retry; doubles with each.'),
    maxBackoff: duration()
      .optional()
      .describe('Longest wait before any retry; 250ms by default, or `backoff` where that is more.'),
    budget: share().default(0.2).describe('Retries may make up this share of the requests, no more.'),
  })
  .refine(({ backoff, maxBackoff = backoff }) => backoff <= maxBackoff, {
    error: 'must be at least backoff',
    path: ['maxBackoff'],
    when: whereSound('backoff', 'maxBackoff'),
  })
  // A default never contradicts what was asked for: it rises with it.
  .transform(given => ({ ...given, maxBackoff: given.maxBackoff ?? Math.max(MAX_BACKOFF, given.backoff) }))

const REWRITE_HOST_FAULT = 'a host, with or without a port, is due'

const rewrite = z
  .strictObject({
    path: z.string().min(1).optional().describe('Path that goes upstream; may use `:id` and `*`.'),
    host: z
      .string()
      .regex(/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/, { error: REWRITE_HOST_FAULT })
      .refine(isHostField, { error: REWRITE_HOST_FAULT, when: untold })
      .optional()
      .describe('Host that goes upstream; overrides `host` of the upstream.'),
  })
  .refine(({ path, host }) => path !== undefined || host !== undefined, {
    error: 'path, host or both are due',
    when: whereSound('path', 'host'),
  })

/** What the checks of a whole route may rely on: they run beside faults elsewhere in it, so that one run names all. */
interface Unchecked {
  match?: { path?: unknown } | null
  upstream?: unknown
  respond?: unknown
  redirect?: { to?: unknown } | null
  rewrite?: { path?: unknown } | null
}

function checkWhole(route: Unchecked, context: z.core.$RefinementCtx): void {
  const fault = (message: string, ...path: string[]) => context.addIssue({ code: 'custom', message, path })
  const targets = (['upstream', 'respond', 'redirect'] as const).filter(key => route[key] !== undefined)
  if (targets.length !== 1) {
    const found = targets.length === 0 ? 'has none' : `has ${targets.join(' and ')}`
    fault(`a route has exactly one of upstream, respond and redirect; this one ${found}`, ...targets.slice(1, 2))
  }
  if (route.rewrite !== undefined && route.upstream === undefined) {
    fault('rewrite is for routes with an upstream', 'rewrite')
  }
  const paths: unknown[] = Array.isArray(route.match?.path) ? route.match.path : []
  const checkTemplate = (text: unknown, template: typeof PathRewrite | typeof RedirectTarget, ...at: string[]) => {
    if (typeof text !== 'string' || text === '') return
    const own = faultOf(() => template.check(text))
    if (own !== null) return fault(own, ...at)
    for (const path of paths) {
      // Faulty patterns are named at their own place.
      if (typeof path !== 'string' || faultOf(() => parsePath(path)) !== null) continue
      const message = faultOf(() => new template(text, parsePath(path)))
      if (message !== null) return fault(message, ...at)
    }
  }
  checkTemplate(route.rewrite?.path, PathRewrite, 'rewrite', 'path')
  checkTemplate(route.redirect?.to, RedirectTarget, 'redirect', 'to')
}

/** One entry under `routes:`. */
export const routeOptions = z
  .strictObject({
    name: label().describe('Unique name of the route.'),
    match: match.prefault({}).describe('What a request must have to come here; absent is every request.'),
    plugins: pluginList.default([]).describe('Plugins of this route, after the gateway-wide ones, in this order.'),
    upstream: z.string().min(1).optional().describe('Upstream to forward to: a name under `upstreams`.'),
    respond: respond.optional().describe('Answer here, instead of an upstream.'),
    redirect: redirect.optional().describe('Answer with a redirect, instead of an upstream.'),
    timeout: z
      .union([z.literal('none'), duration(1)], { error: 'a duration with its unit (30s) or none is due' })
      .default(30_000)
      .describe('The whole exchange, retries included; `none` for streams.'),
    retry: retry.prefault({}).describe('When and how often another try is made.'),
    rewrite: rewrite.optional().describe('Path and host that go upstream, where they differ from what matched.'),
  })
  .superRefine((route, context) => checkWhole(route as Unchecked, context), {
    when: whereSound(),
  })

/** Checked options of one route: durations in milliseconds, shares between 0 and 1. */
export type RouteOptions = z.output<typeof routeOptions>
