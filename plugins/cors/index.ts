// cors: which pages of other origins may read answers? Answers preflights itself and sets the fields of the Fetch standard.
import {
  definePlugin,
  duration,
  type Exchange,
  fieldName,
  type HeaderList,
  isToken,
  type Plugin,
  type PluginContext,
  PluginOptionsError,
  preflightMethod,
  type Reply,
  type Slot,
  z,
} from '../../src/plugin-api.ts'
import { compileOrigins, type Origins, originFault } from './origins.ts'

const origin = z.string().superRefine((text, context) => {
  const message = originFault(text)
  if (message !== null) context.addIssue({ code: 'custom', message })
})
/** What browsers write in capitals, however a page has it (Fetch 2.2.1). */
const NORMALIZED = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'])

const method = z.string().superRefine((text, context) => {
  const capitals = text.toUpperCase()
  if (!isToken(text)) context.addIssue({ code: 'custom', message: 'a method such as GET, or *, is due' })
  else if (text !== capitals && NORMALIZED.has(capitals))
    context.addIssue({ code: 'custom', message: `browsers ask for ${capitals}, and compare with case` })
})

const options = z.strictObject({
  origins: z
    .array(origin, { error: 'a list of origins is due' })
    .min(1, { error: 'at least one origin is due' })
    .default(['*'])
    .describe(
      'Origins that may read answers: exact, `*` for any, or `~` and an expression that takes the whole origin.',
    ),
  methods: z
    .array(method, { error: 'a list of methods is due' })
    .default(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'])
    .describe('Methods that a preflight allows; `*` for any.'),
  headers: z
    .array(fieldName(), { error: 'a list of header names is due' })
    .default(['authorization', 'content-type'])
    .describe('Request headers that a preflight allows; `*` for any.'),
  exposeHeaders: z
    .array(fieldName(), { error: 'a list of header names is due' })
    .default([])
    .describe('Answer headers that pages may read beside the safe ones; `*` for any.'),
  credentials: z
    .boolean()
    .default(false)
    .describe('Whether pages may send cookies and the like; then nothing above may be `*`.'),
  maxAge: duration().prefault('10m').describe('How long browsers may keep what a preflight said.'),
})

type Options = z.output<typeof options>

/** Fields that only this plugin sets; an upstream's own would contradict it. */
const OURS = new Set([
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-expose-headers',
  'access-control-max-age',
])

const PREFLIGHT_VARY = 'origin, access-control-request-method, access-control-request-headers'

class Cors implements Plugin {
  readonly preflight = true
  /** Null: any. */
  readonly #origins: Origins | null
  readonly #credentials: boolean
  readonly #exposed: string
  /** What a preflight is told beside the origin. */
  readonly #allowed: HeaderList
  /** What the answer allows: an origin or `*`, '' for nobody; null where a preflight was answered here. */
  readonly #allowedHere: Slot<string | null>
  readonly #refused: () => void

  constructor({ origins, methods, headers, exposeHeaders, credentials, maxAge }: Options, context: PluginContext) {
    this.#origins = compileOrigins(origins)
    this.#credentials = credentials
    this.#exposed = exposeHeaders.join(', ')
    // `*` does not stand for Authorization (Fetch 4.9), which whoever allows any means too.
    const names = headers.includes('*') ? ['*', 'authorization'] : headers
    this.#allowed = [
      ...(methods.length === 0 ? [] : ['access-control-allow-methods', methods.join(', ')]),
      ...(names.length === 0 ? [] : ['access-control-allow-headers', names.join(', ')]),
      ...['access-control-max-age', String(Math.floor(maxAge / 1000))],
    ]
    this.#allowedHere = context.slot<string | null>()
    this.#refused = context.counter('preflight_refused')
  }

  /** The value for the origin that asks; '' when none asks, or one that is not allowed. */
  #allow(x: Exchange): string {
    if (this.#origins === null) return '*'
    const asking = x.requestHeader('origin')
    return asking !== undefined && this.#origins(asking) ? asking : ''
  }

  // The origin is read here, before a later plugin can take the field out.
  onRequest(x: Exchange): Reply | void {
    const allowed = this.#allow(x)
    if (preflightMethod(x.head) === undefined) {
      this.#allowedHere.set(x, allowed)
      return
    }
    this.#allowedHere.set(x, null)
    const headers: HeaderList = ['vary', PREFLIGHT_VARY]
    if (allowed === '') this.#refused()
    else {
      headers.push('access-control-allow-origin', allowed)
      if (this.#credentials) headers.push('access-control-allow-credentials', 'true')
      headers.push(...this.#allowed)
    }
    return { status: 204, headers, body: null }
  }

  onResponse(x: Exchange): void {
    const allowed = this.#allowedHere.get(x)
    if (x.response === null || allowed === null || allowed === undefined) return
    const { headers } = x.response
    dropOurs(headers)
    // Told even where no origin asks: a cache may hand the answer to one that does.
    if (this.#origins !== null) varyByOrigin(headers)
    if (allowed === '') return
    headers.push('access-control-allow-origin', allowed)
    if (this.#credentials) headers.push('access-control-allow-credentials', 'true')
    if (this.#exposed !== '') headers.push('access-control-expose-headers', this.#exposed)
  }
}

function dropOurs(headers: HeaderList): void {
  let kept = 0
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (name.startsWith('access-control-') && OURS.has(name)) continue
    headers[kept] = name
    headers[kept + 1] = headers[i + 1]!
    kept += 2
  }
  if (kept !== headers.length) headers.length = kept
}

function varyByOrigin(headers: HeaderList): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'vary') continue
    const names = headers[i + 1]!.toLowerCase()
      .split(',')
      .map(name => name.trim())
    if (names.includes('origin') || names.includes('*')) return
  }
  headers.push('vary', 'origin')
}

/** Made-up origins: an expression that takes one of them takes any page of that scheme. */
const STRANGERS = ['https://a-stranger.invalid', 'http://a-stranger.invalid']

export default definePlugin({
  name: 'cors',
  description: 'Answers CORS preflights and tells browsers which origins may read answers.',
  options,
  check({ origins, methods, headers, exposeHeaders, credentials }, { part }) {
    part(() => {
      if (origins.includes('*') && origins.length > 1)
        throw new PluginOptionsError('* is any origin: the others say nothing', ['origins', origins.indexOf('*')])
    })
    if (!credentials) return
    for (const [name, list] of Object.entries({ origins, methods, headers, exposeHeaders })) {
      part(() => {
        const at = list.indexOf('*')
        if (at >= 0) throw new PluginOptionsError('credentials go with no *: say which', [name, at])
      })
    }
    for (const [i, text] of origins.entries()) {
      const takes = compileOrigins([text])
      if (takes === null) continue
      part(() => {
        // Any page can make itself this origin, by a frame in a sandbox.
        if (takes('null'))
          throw new PluginOptionsError('credentials go with no null: any page can be it', ['origins', i])
        if (STRANGERS.some(takes))
          throw new PluginOptionsError('credentials go with no expression that takes any origin', ['origins', i])
      })
    }
  },
  vouches: true,
  create: (given, context) => new Cors(given, context),
})
