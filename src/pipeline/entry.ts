// One entry of a `plugins:` list: a bare name or `{ name: { options } }`, made into one shape for all who read it.
import { z } from 'zod'
import { compileCondition } from '../exchange/attribute.ts'
import { whereSound } from '../units.ts'
import { isRecord } from '../value-at.ts'

/** An attribute that a condition may name: for editors; exchange/attribute.ts decides. */
const ATTRIBUTE = /^(?:client\.ip|route|host|path|method|consumer|(?:header|query|cookie|jwt)\..+)$/

/** A `when`: all of its attributes must hold for the plugin to run. */
export const condition = z
  .record(
    z.string().regex(ATTRIBUTE, {
      error:
        'is no attribute; use client.ip, route, host, path, method, consumer, header.NAME, query.NAME, cookie.NAME or jwt.CLAIM',
    }),
    z.string({ error: 'a text is due (quote numbers): a value, present, absent, or ~ and a regular expression' }),
  )
  .superRefine(
    (when, context) => {
      for (const [name, expectation] of Object.entries(when)) {
        // What is no text, and what is named like no attribute, was told.
        if (typeof expectation !== 'string' || !ATTRIBUTE.test(name)) continue
        try {
          compileCondition({ [name]: expectation })
        } catch (error) {
          const bad = error instanceof SyntaxError && expectation.startsWith('~')
          const message = bad ? 'is not a valid regular expression' : (error as Error).message
          context.addIssue({ code: 'custom', message, path: [name] })
        }
      }
    },
    { when: whereSound() },
  )
  .describe(
    'Run the plugin only where all of these attributes hold: equal, present, absent, or `~` and a regular expression.',
  )

/** `off: true` leaves a plugin out without deleting its lines. */
export const off = z.boolean({ error: 'true or false is due' }).describe('true leaves this plugin out.')

/** The options that every plugin has, beside its own. */
export const ENTRY_OPTIONS: readonly string[] = ['when', 'off']

/** One plugin at one place of the configuration. Plain data; `options` are raw: the plugin's own schema reads them. */
export interface PluginEntry {
  /** A bundled plugin's name, or a module beside the YAML file when it begins with `./`. */
  readonly name: string
  readonly options: Readonly<Record<string, unknown>>
  /** Attribute to expectation; null when the plugin always runs. */
  readonly when: Readonly<Record<string, string>> | null
  readonly off: boolean
}

const SHAPE = 'a plugin is its name, or { name: { options } }'

/**
 * Schema of one entry. It knows no plugin by name: config/load.ts checks the name and the options against the catalog,
 * and config/json-schema.ts puts the bundled plugins in its place.
 */
export const pluginEntry = z
  .unknown()
  .transform((raw, context): PluginEntry => {
    const fail = (message: string, path: PropertyKey[] = []): typeof z.NEVER => {
      context.issues.push({ code: 'custom', message, path, input: raw })
      return z.NEVER
    }
    if (typeof raw === 'string') {
      return raw === '' ? fail(SHAPE) : { name: raw, options: {}, when: null, off: false }
    }
    if (!isRecord(raw)) return fail(SHAPE)
    const names = Object.keys(raw)
    const name = names[0]
    if (name === undefined || name === '') return fail(SHAPE)
    if (name === 'name' && typeof raw['name'] === 'string') {
      return fail(`the name of a plugin is the key of its options, as in ${raw['name']}: { … }`, ['name'])
    }
    if (names.length > 1) {
      const message = `one plugin an entry is due: ${SHAPE}; indent the options of ${name} deeper, or begin another entry`
      // The key is what is too much here, not its value: config/explain.ts points at it.
      context.issues.push({ code: 'custom', message, path: [names[1]!], params: { on: 'key' }, input: raw })
      return z.NEVER
    }
    const given = raw[name] ?? {}
    if (!isRecord(given)) return fail(`the options of ${name} must be a map`, [name])
    const { when: rawWhen, off: rawOff, ...options } = given
    let when: PluginEntry['when'] = null
    if (rawWhen !== undefined) {
      const parsed = condition.safeParse(rawWhen)
      if (parsed.success) when = parsed.data
      else
        for (const issue of parsed.error.issues)
          context.issues.push({ ...issue, path: [name, 'when', ...issue.path] } as never)
    }
    const parsedOff = rawOff === undefined ? { success: true as const, data: false } : off.safeParse(rawOff)
    if (!parsedOff.success) return fail('true or false is due', [name, 'off'])
    return { name, options, when, off: parsedOff.data }
  })
  .describe('A plugin: its bare name, or { name: { options } }.')

/** A list of plugins, run in the order written. */
export const pluginList = z.array(pluginEntry, { error: 'a list of plugins is due' })
