// The JSON Schema of the YAML file, for editors: the outline and the options of every bundled plugin in one document.
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { condition, off, pluginEntry } from '../pipeline/entry.ts'
import type { PluginDefinition } from '../pipeline/plugin.ts'
import { DURATION_UNITS, SIZE_UNITS } from '../units.ts'
import { document } from './document.ts'

type Json = Record<string, unknown>

const SETTINGS = {
  io: 'input',
  target: 'draft-7',
  unrepresentable: 'any',
  override: ({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: z.core.JSONSchema.BaseSchema }) => {
    if ((zodSchema as unknown) === pluginEntry) jsonSchema.$ref = '#/definitions/plugin'
    const { def } = zodSchema._zod
    // A default stands behind the transformation, such as in milliseconds; an editor should offer it as one writes it.
    if (def.type === 'default' && jsonSchema.default === undefined) {
      const written = withUnit(def.defaultValue, JSON.stringify(jsonSchema)) ?? unchanged(zodSchema, def.defaultValue)
      if (written !== undefined) jsonSchema.default = written
    }
  },
} as const satisfies z.core.ToJSONSchemaParams

/** `port: ${PORT}` is a text to an editor and a number to the gateway. */
const FROM_ENVIRONMENT = { $ref: '#/definitions/fromEnvironment' }

/** The schema as draft-07. Plugins stand in the order of their names, so that the same code gives the same text. */
export function jsonSchema(plugins: readonly PluginDefinition[]): Json {
  const { $schema, ...outline } = z.toJSONSchema(document, SETTINGS) as Json
  const sorted = [...plugins].sort((a, b) => (a.name < b.name ? -1 : 1))
  return {
    $schema,
    title: 'Sluice gateway configuration',
    description: `The YAML file of a Sluice gateway. Any value may name a variable of the environment: \${NAME}.`,
    ...(forEditors(outline) as Json),
    definitions: {
      fromEnvironment: {
        description: 'A value from the environment.',
        type: 'string',
        pattern: '\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}',
      },
      plugin: entryOf(sorted),
      ...Object.fromEntries(sorted.map(plugin => [`plugin.${plugin.name}`, optionsOf(plugin)])),
    },
  }
}

/** Text of config/gateway.schema.json. */
export function jsonSchemaText(plugins: readonly PluginDefinition[]): string {
  return `${JSON.stringify(jsonSchema(plugins), null, 2)}\n`
}

/** One entry of a list of plugins: a bare name, a map with one known name, or a user's module. */
function entryOf(plugins: readonly PluginDefinition[]): Json {
  const maps = plugins.map(plugin => ({
    type: 'object',
    description: plugin.description,
    properties: { [plugin.name]: withoutOptions(plugin, { $ref: `#/definitions/plugin.${plugin.name}` }) },
    required: [plugin.name],
    additionalProperties: false,
  }))
  const bare = plugins.length === 0 ? [] : [{ type: 'string', enum: plugins.map(plugin => plugin.name) }]
  const user = '^\\./'
  return {
    description: 'A plugin: its bare name, or { name: { options } }; a name that begins with ./ is a module of yours.',
    anyOf: [
      ...bare,
      { type: 'string', pattern: user },
      FROM_ENVIRONMENT,
      ...maps,
      {
        type: 'object',
        patternProperties: { [user]: { type: ['object', 'null'] } },
        minProperties: 1,
        maxProperties: 1,
        additionalProperties: false,
      },
    ],
  }
}

/** `- request-id:` with nothing behind the colon is the bare name, where that is enough. */
function withoutOptions(plugin: PluginDefinition, options: Json): Json {
  return plugin.options.safeParse({}).success
    ? { description: plugin.description, anyOf: [options, { type: 'null' }] }
    : options
}

/** A plugin's own options, and the two that every plugin has. */
function optionsOf(plugin: PluginDefinition): Json {
  const { $schema: _, ...own } = z.toJSONSchema(plugin.options, SETTINGS) as Json
  const schema = forEditors(own) as Json
  const { $schema: __, ...when } = z.toJSONSchema(condition, SETTINGS) as Json
  const { $schema: ___, ...without } = z.toJSONSchema(off, SETTINGS) as Json
  const shared = { when: forEditors(when), off: forEditors(without) }
  // A union of shapes has its properties in its branches; each takes the two.
  const branches = (schema.anyOf ?? schema.oneOf) as Json[] | undefined
  for (const shape of branches ?? [schema]) shape.properties = { ...(shape.properties as Json | undefined), ...shared }
  return { description: plugin.description, ...schema }
}

/** A default as one writes it, told by the pattern that its text must have. */
function withUnit(value: unknown, schema: string): string | undefined {
  if (typeof value !== 'number') return undefined
  for (const units of [DURATION_UNITS, SIZE_UNITS])
    if (schema.includes(`(${Object.keys(units).join('|')})`)) return inUnits(value, units)
  return schema.includes(')%$') ? `${value * 100}%` : undefined
}

/** A default that the transformation leaves as it is, such as a lower-case name; undefined for any other. */
function unchanged(schema: z.core.$ZodType, value: unknown): unknown {
  const read = z.safeParse(schema, value)
  return read.success && isDeepStrictEqual(read.data, value) ? value : undefined
}

function inUnits(value: number, units: Readonly<Record<string, number>>): string {
  const [least, ...larger] = Object.entries(units) as [[string, number], ...[string, number][]]
  const [unit, worth] = larger.findLast(([, worth]) => value >= worth && value % worth === 0) ?? least
  return `${value / worth}${unit}`
}

const NUMERIC = new Set<unknown>(['number', 'integer', 'boolean'])

// What is no free text may come from the environment too; what the schema's generator adds for machines is left out.
function forEditors(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(forEditors)
  if (typeof node !== 'object' || node === null) return node
  const { description, default: fallback, ...rest } = node as Json
  if (rest.maximum === Number.MAX_SAFE_INTEGER) delete rest.maximum
  if (rest.minimum === Number.MIN_SAFE_INTEGER) delete rest.minimum
  const kept: Json = {}
  if (description !== undefined) kept.description = description
  if (fallback !== undefined && JSON.stringify(fallback) !== '{}') kept.default = fallback
  const bound = NUMERIC.has(rest.type) || [rest.pattern, rest.format, rest.enum].some(limit => limit !== undefined)
  if (bound && rest.const === undefined) {
    return { ...kept, anyOf: [rest, FROM_ENVIRONMENT] }
  }
  for (const [key, value] of Object.entries(rest)) {
    if (key === 'properties' || key === 'patternProperties') {
      kept[key] = Object.fromEntries(Object.entries(value as Json).map(([name, inner]) => [name, forEditors(inner)]))
    } else if (key !== 'propertyNames') kept[key] = forEditors(value)
    else if ((value as Json).pattern !== undefined) kept[key] = value
  }
  // A word beside other shapes, such as `admin: off`. Where a branch takes texts of its own, so it does this one.
  const branches = rest.anyOf as Json[] | undefined
  if (
    branches?.some(branch => branch.const !== undefined) &&
    !branches.some(branch => branch.type === 'string' && branch.const === undefined)
  )
    (kept.anyOf as unknown[]).push(FROM_ENVIRONMENT)
  return kept
}
