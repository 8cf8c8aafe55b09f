// The JSON Schema for editors: complete, described, the same text each time, and the one that is checked in.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import plugins from '../../../plugins/bundled.ts'
import { jsonSchema, jsonSchemaText } from '../../../src/config/json-schema.ts'
import { definePlugin, type PluginDefinition } from '../../../src/pipeline/plugin.ts'
import { fieldName } from '../../../src/units.ts'
import { ROOT } from '../../support/root.ts'

type Json = Record<string, unknown>

const sample = definePlugin({
  name: 'sample',
  description: 'A sample.',
  options: z.strictObject({
    count: z.int().min(1).default(5).describe('How many.'),
    mode: z.enum(['a', 'b']).describe('Which.'),
  }),
  create: () => ({}),
}) as PluginDefinition

/** Every option of a schema, with where it stands. Containers that hold nothing but described options may go without. */
function* undescribed(node: unknown, path: string): Generator<string> {
  if (typeof node !== 'object' || node === null) return
  for (const [name, option] of Object.entries(((node as Json).properties ?? {}) as Record<string, Json>)) {
    const container = option.properties !== undefined || option.$ref !== undefined
    if (!container && typeof option.description !== 'string') yield `${path}.${name}`
    yield* undescribed(option, `${path}.${name}`)
  }
  for (const [key, inner] of Object.entries(node)) {
    if (key === 'properties') continue
    if (Array.isArray(inner)) for (const each of inner) yield* undescribed(each, path)
    else if (typeof inner === 'object') yield* undescribed(inner, key === 'definitions' ? '#' : path)
  }
}

t.test('every option of the outline and of every bundled plugin has a description', async t => {
  t.same([...undescribed(jsonSchema(plugins), '')], [])
  for (const plugin of plugins) t.match(plugin.description, /\S/, plugin.name)
  const bare = { ...sample, options: z.strictObject({ nameless: z.string() }) } as PluginDefinition
  t.same([...undescribed(jsonSchema([bare]), '')], ['#.nameless'], 'the walk does find one')
})

t.test('plugins stand as a name, as a map of one, or as a module', async t => {
  const { definitions, properties } = jsonSchema([sample]) as {
    definitions: Record<string, Json>
    properties: Record<string, Json>
  }
  t.match(properties.plugins, { type: 'array', items: { $ref: '#/definitions/plugin' } })
  t.match(definitions.plugin!.anyOf, [
    { type: 'string', enum: ['sample'] },
    { type: 'string', pattern: '^\\./' },
    { $ref: '#/definitions/fromEnvironment' },
    {
      properties: { sample: { $ref: '#/definitions/plugin.sample' } },
      required: ['sample'],
      additionalProperties: false,
    },
    { patternProperties: { '^\\./': {} }, maxProperties: 1 },
  ])
  const options = definitions['plugin.sample']!.properties as Record<string, Json>
  t.same(Object.keys(options), ['count', 'mode', 'when', 'off'])
  t.equal(options.count!.default, 5)
})

t.test(
  'a plugin without options may have none behind its colon; a word beside a map may come from a variable',
  async t => {
    const bare = { ...sample, name: 'bare', options: z.strictObject({ a: z.string().optional().describe('A.') }) }
    const { definitions, properties } = jsonSchema([sample, bare as PluginDefinition]) as {
      definitions: Record<string, Json>
      properties: Record<string, Json>
    }
    const maps = (definitions.plugin!.anyOf as Json[]).flatMap(one => Object.values((one.properties ?? {}) as Json))
    t.match(maps, [
      { anyOf: [{ $ref: '#/definitions/plugin.bare' }, { type: 'null' }] },
      { $ref: '#/definitions/plugin.sample' },
    ])
    t.match((properties.admin!.anyOf as Json[]).at(-1), { $ref: '#/definitions/fromEnvironment' })
  },
)

t.test('an editor takes what the gateway takes: variables for addresses, and hashes in capitals', async t => {
  const { properties, definitions } = jsonSchema(plugins) as Record<string, Record<string, Json>>
  const bare: string[] = []
  let addresses = 0
  const look = (node: unknown, path: string, around: unknown) => {
    if (typeof node !== 'object' || node === null) return
    if ((node as Json).format !== undefined) {
      addresses++
      if (!JSON.stringify(around).includes('#/definitions/fromEnvironment')) bare.push(path)
    }
    for (const [key, inner] of Object.entries(node)) look(inner, `${path}/${key}`, node)
  }
  look(properties, '', null)
  t.ok(addresses > 0)
  t.same(bare, [])
  const hash = JSON.stringify(definitions!['plugin.api-key']).match(/"pattern":"([^"]*256:[^"]*)"/)![1]!
  for (const letters of ['ab', 'AB']) t.match(`sha256:${letters.repeat(32)}`, new RegExp(hash))
})

t.test('defaults stand as one writes them, and keys with one are not required', async t => {
  const { properties } = jsonSchema([]) as { properties: Record<string, Json> }
  const listener = (properties.listeners!.items as Json).properties as Record<
    string,
    Record<string, Record<string, Json>>
  >
  t.equal(listener.limits!.properties!.headers!.default, '16KiB')
  t.equal(listener.limits!.properties!.body!.default, '10MiB')
  t.equal(listener.timeouts!.properties!.requestHeader!.default, '10s')
  const route = (properties.routes!.items as Json).properties as Record<string, Record<string, Record<string, Json>>>
  t.equal(route.retry!.properties!.budget!.default, '20%')
  t.same((properties.listeners!.items as Json).required, ['name', 'port'])
  t.same((jsonSchema([]) as Json).required, ['listeners'])
  const names = z.strictObject({
    one: fieldName().default('x-one').describe('One.'),
    more: z.array(fieldName()).default(['a', 'b']).describe('More.'),
  })
  const { definitions } = jsonSchema([{ ...sample, options: names } as PluginDefinition]) as Record<string, Json>
  t.match((definitions!['plugin.sample'] as Json).properties, {
    one: { default: 'x-one' },
    more: { default: ['a', 'b'] },
  })
})

t.test('every reference leads somewhere', async t => {
  const schema = jsonSchema(plugins)
  const references = [...JSON.stringify(schema).matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)].map(found => found[1]!)
  t.ok(references.length > 0)
  t.same(
    references.filter(name => !Object.hasOwn(schema.definitions as Json, name)),
    [],
  )
})

t.test('the file that is checked in is what the source says', async t => {
  t.equal(jsonSchemaText(plugins), jsonSchemaText([...plugins].reverse()), 'the order of the list does not matter')
  const file = join(ROOT, 'config/gateway.schema.json')
  t.ok(existsSync(file))
  t.equal(readFileSync(file, 'utf8'), jsonSchemaText(plugins), 'run: npm run schema')
})

t.test('docs/configuration.md has every option of the outline, with its default', async t => {
  const text = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8')
  const sections = text.split(/^## /m).map(section => section.split('\n'))
  // What every registry has stands with the rest; the options of each kind have a page.
  const kinds = readFileSync(join(ROOT, 'docs/discovery.md'), 'utf8').split('\n')
  const discovery = sections.find(([heading]) => heading!.includes('`discovery`'))!
  discovery.push(...kinds.filter(line => line.startsWith('|')).map(line => `${line} \`discovery\``))
  const missing: string[] = []
  let count = 0
  const check = (path: string[], fallback: unknown) => {
    count++
    const [top = '', ...rest] = path
    const section = sections.find(([heading]) => heading!.includes(`\`${top}\``)) ?? []
    const rows = section.filter(line => line.startsWith('|') || line === section[0])
    const inside = rows.filter(row =>
      (rest.length === 0 ? [top] : rest.slice(-2)).every(part => row.includes(`\`${part}\``)),
    )
    // `*` and `/*` read as any, an empty text as empty, and `1m` as `60s`.
    const said = ['string', 'number', 'boolean'].includes(typeof fallback) && !/^(?:\/?\*|)$/.test(String(fallback))
    const words = said ? `\`${fallback === '1m' ? '60s' : fallback}\`` : ''
    if (!inside.some(row => row.includes(words))) missing.push(`${path.join('.')} ${words}`)
  }
  const walk = (node: unknown, path: string[]) => {
    const { properties, items, additionalProperties, anyOf, oneOf } = node as Json
    for (const [name, option] of Object.entries((properties ?? {}) as Record<string, Json>)) {
      // A leaf stands in a row together with its default; what holds options is told by them.
      if (!JSON.stringify(option).includes('"properties"')) check([...path, name], option.default)
      walk(option, [...path, name])
    }
    for (const inner of [items, additionalProperties, ...((anyOf ?? oneOf ?? []) as unknown[])]) {
      if (typeof inner === 'object') walk(inner, path)
    }
  }
  walk({ properties: jsonSchema([]).properties }, [])
  t.same(missing, [])
  t.ok(count > 50, `${count} options`)
})
