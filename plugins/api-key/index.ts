// api-key: names the consumer that a key belongs to. Keys are known by their hashes alone.
import { resolve } from 'node:path'
import {
  checkAttribute,
  compileAttribute,
  definePlugin,
  type Exchange,
  PluginOptionsError,
  problemReply,
  queryValues,
  type Reply,
  withoutParameter,
  z,
} from '../../src/plugin-api.ts'
import { readKeys, watchKeys } from './key-file.ts'
import { CONSUMER, HASHED, HINT, KeyTable } from './key-table.ts'

const hashed = z.string().regex(HASHED, { error: `a key is not written plainly: ${HINT}` })

const SOURCE = /^(?:header\.[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query\..+)$/

const options = z
  .strictObject({
    keys: z
      .record(
        z.string().regex(CONSUMER, { error: 'a consumer is named with letters, digits and .@:+-_' }),
        z.union([hashed, z.array(hashed).min(1)], { error: `a key is not written plainly: ${HINT}` }),
      )
      .optional()
      .describe('Consumer to the SHA-256 of its key, or of its keys: `sha256:` and 64 hex digits.'),
    file: z
      .string()
      .min(1)
      .optional()
      .describe('File with lines of `consumer: sha256:…`; read again within seconds of a change.'),
    from: z
      .array(z.string().regex(SOURCE, { error: 'header.NAME or query.NAME is due' }))
      .min(1)
      .default(['header.x-api-key'])
      .describe('Where the key is; the first place that has one counts.'),
    forward: z.enum(['keep', 'strip']).default('keep').describe('Whether the key goes on to the upstream.'),
    optional: z
      .boolean()
      .default(false)
      .describe('true: a request without key passes as anonymous; a bad key is still 401.'),
  })
  .superRefine(({ keys, file }, context) => {
    if (file !== undefined) return
    if (keys === undefined) context.addIssue({ code: 'custom', message: 'keys or file is due' })
    else if (Object.keys(keys).length === 0)
      context.addIssue({ code: 'custom', message: 'no key is known: name a consumer, or a file', path: ['keys'] })
  })

type ApiKeyOptions = z.output<typeof options>

/** The keys of the YAML. Throws PluginOptionsError where two consumers have one key. */
function written({ keys = {} }: ApiKeyOptions): KeyTable {
  const table = new KeyTable()
  for (const [consumer, given] of Object.entries(keys)) {
    for (const one of Array.isArray(given) ? given : [given]) {
      const other = table.add(one, consumer)
      if (other !== null) throw new PluginOptionsError(`this key is already one of ${other}`, ['keys', consumer])
    }
  }
  return table
}

/** The keys of the YAML and of the file. Throws PluginOptionsError. */
function allKeys(given: ApiKeyOptions, baseDir: string): KeyTable {
  const table = written(given)
  if (given.file === undefined) return table
  try {
    const other = table.addAll(readKeys(resolve(baseDir, given.file)))
    if (other !== null) throw new Error(`a key of ${other} is already another consumer's`)
  } catch (error) {
    throw new PluginOptionsError(`${given.file}: ${(error as Error).message}`, ['file'])
  }
  return table
}

/** One place of a request that may hold a key. */
interface Source {
  values(x: Exchange): string[]
  bytes(text: string): Buffer
  strip(x: Exchange): void
}

function source(text: string): Source {
  const name = text.slice(text.indexOf('.') + 1)
  if (text.startsWith('query.')) {
    return {
      values: x => (x.head.query === '' ? [] : queryValues(x.head.query, name)),
      bytes: value => Buffer.from(value, 'utf8'),
      strip(x) {
        const rest = withoutParameter(x.head.query, name)
        x.head.query = rest ?? ''
        if (rest === null) x.head.hasQuery = false
      },
    }
  }
  const field = name.toLowerCase()
  return {
    values(x) {
      const { headers } = x.head
      const found: string[] = []
      for (let i = 0; i < headers.length; i += 2) if (headers[i] === field) found.push(headers[i + 1]!)
      // In Authorization a scheme comes first, whatever its name.
      return field === 'authorization' ? found.map(value => value.replace(/^[^ ]+ +/, '')) : found
    },
    // Fields are latin1 here, so these are the bytes that were sent.
    bytes: value => Buffer.from(value, 'latin1'),
    strip: x => x.removeRequestHeader(field),
  }
}

/** 401 with a challenge (RFC 9110 11.6.1): of no registered scheme, since there is none for this. */
function refusal(x: Exchange, bad: boolean): Reply {
  const error = bad ? ', error="invalid_key"' : ''
  return problemReply(x, 'SLUICE_UNAUTHORIZED', ['www-authenticate', `ApiKey realm="sluice"${error}`])
}

export default definePlugin({
  name: 'api-key',
  description: 'Names the consumer by an API key that is known by its SHA-256.',
  options,
  check(given, { baseDir, part }) {
    // A field of the connection or of framing reaches no plugin.
    for (const [i, text] of given.from.entries()) part(() => checkAttribute(['from', i], () => compileAttribute(text)))
    allKeys(given, baseDir)
  },
  vouches: true,
  create(given, context) {
    let keys = allKeys(given, context.baseDir)
    const sources = given.from.map(source)
    const forward = (x: Exchange) => {
      if (given.forward === 'strip') for (const each of sources) each.strip(x)
    }
    const countKnown = context.counter('known')
    const countAnonymous = context.counter('anonymous')
    const countMissing = context.counter('missing')
    const countInvalid = context.counter('invalid')
    const { file } = given
    const stop =
      file === undefined
        ? () => {}
        : watchKeys(
            resolve(context.baseDir, file),
            fromFile => {
              const next = written(given)
              const other = next.addAll(fromFile)
              if (other !== null) {
                context.log('error', 'the key file is not taken', { file, error: `a key of ${other} is another's too` })
                return
              }
              keys = next
              context.log('info', 'the key file was read again', { file, keys: keys.size })
            },
            error => context.log('error', 'the key file is not taken', { file, error }),
          )
    return {
      authenticates: true,
      onRequest(x) {
        for (let i = 0; i < sources.length; i++) {
          const from = sources[i]!
          const values = from.values(x)
          // An empty text is no key: what a browser or a template left of one.
          if (values.length === 0 || (values.length === 1 && values[0] === '')) continue
          const consumer = values.length === 1 ? keys.consumer(from.bytes(values[0]!)) : null
          if (consumer === null) {
            countInvalid()
            return refusal(x, true)
          }
          countKnown()
          x.consumer = consumer
          forward(x)
          return undefined
        }
        if (given.optional) {
          countAnonymous()
          forward(x)
          return undefined
        }
        countMissing()
        return refusal(x, false)
      },
      inspect: () => ({ keys: keys.size }),
      close: stop,
    }
  },
})
