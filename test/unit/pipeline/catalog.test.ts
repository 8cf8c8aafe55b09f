// The kinds of plugin by name, and modules beside the YAML file in every state that a file may be in.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { Catalog } from '../../../src/pipeline/catalog.ts'
import { definePlugin, type PluginDefinition } from '../../../src/pipeline/plugin.ts'

const kind = (name: string) =>
  definePlugin({ name, description: '', options: z.strictObject({}), create: () => ({}) }) as PluginDefinition

t.test('bundled plugins by name', async t => {
  const catalog = new Catalog([kind('b'), kind('a')])
  t.same(catalog.names(), ['b', 'a'])
  t.equal(catalog.get('a')!.name, 'a')
  t.equal(catalog.get('toString'), undefined)
  t.throws(() => new Catalog([kind('a'), kind('a')]), { message: 'two plugins are named a' })
})

t.test('a module of the user, in TypeScript, shares the modules that it is given', async t => {
  const dir = t.testdir({
    'mine.ts': `
      import { definePlugin, z } from 'sluice'
      import { text } from './beside.ts'
      const options = z.strictObject({ greeting: z.string().default(text as string).describe('What to say.') })
      export default definePlugin({ name: 'mine', description: 'Mine.', options, create: () => ({}) })
    `,
    'beside.ts': 'export const text: string = "hello"\n',
  })
  const catalog = new Catalog([], { sluice: { definePlugin, z } })
  const found = await catalog.loadUser('./mine.ts', dir)
  t.equal(found.name, 'mine')
  t.same(found.options.parse({}), { greeting: 'hello' })
  t.ok(found.options instanceof z.ZodType, 'the class is ours')
  t.equal(await catalog.loadUser('./mine.ts', dir), found, 'once for each catalog')
})

t.test('a later catalog reads a changed module anew, whatever its kind', async t => {
  const plugin = (name: string) => `{ name: '${name}', description: '', options: { safeParse() {} }, create() {} }`
  const kinds: Record<string, (name: string) => string> = {
    ts: name => `const plugin: object = ${plugin(name)}\nexport default plugin\n`,
    mjs: name => `export default ${plugin(name)}\n`,
    js: name => `export default ${plugin(name)}\n`,
    cjs: name => `module.exports = ${plugin(name)}\n`,
  }
  const dir = t.testdir({})
  for (const [kind, source] of Object.entries(kinds)) {
    const name = `./mine.${kind}`
    writeFileSync(join(dir, name), source('one'))
    t.equal((await new Catalog([]).loadUser(name, dir)).name, 'one', kind)
    writeFileSync(join(dir, name), source('two'))
    t.equal((await new Catalog([]).loadUser(name, dir)).name, 'two', kind)
  }
})

t.test('a later catalog also reads the data and the TypeScript anew that a module imports', async t => {
  const dir = t.testdir({
    'mine.ts': `
      import data from './data.json'
      import { word } from './word.ts'
      export default { name: data.name + word, description: '', options: { safeParse() {} }, create() {} }
    `,
  })
  for (const said of ['one', 'two']) {
    writeFileSync(join(dir, 'data.json'), JSON.stringify({ name: said }))
    writeFileSync(join(dir, 'word.ts'), `export const word: string = ' ${said}'\n`)
    t.equal((await new Catalog([]).loadUser('./mine.ts', dir)).name, `${said} ${said}`)
  }
})

t.test('what is no plugin says why', async t => {
  const dir = t.testdir({
    'throws.js': 'throw new Error("not today\\nsecond line")\n',
    'syntax.ts': 'export default {{\n',
    'other.ts': 'export const plugin = 1\n',
    'number.ts': 'export default 5\n',
    'import.ts': 'import "gone-package"\nexport default 1\n',
    folder: {},
  })
  const told = async (name: string) => {
    const error = await new Catalog([]).loadUser(name, dir).then(
      () => null,
      (error: Error) => error,
    )
    t.equal(error?.name, 'PluginOptionsError', name)
    return error?.message
  }
  t.equal(await told('./gone.ts'), 'there is no file ./gone.ts beside the configuration file')
  t.equal(await told('./folder'), './folder is not a file')
  t.equal(await told('./throws.js'), './throws.js does not load: not today at ./throws.js:1')
  t.match(await told('./syntax.ts'), /^\.\/syntax\.ts does not load: .* at \.\/syntax\.ts:1:17$/)
  t.match(await told('./import.ts'), /^\.\/import\.ts does not load: .*gone-package/)
  for (const name of ['./other.ts', './number.ts']) t.match(await told(name), /has no plugin as its default export/)
})
