// Every configuration that is shipped loads without a fault, and tells an editor where its schema is.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import plugins from '../plugins/bundled.ts'
import { formatFault } from '../src/config/fault.ts'
import { loadFile } from '../src/config/load.ts'
import { Catalog } from '../src/pipeline/catalog.ts'
import * as pluginApi from '../src/plugin-api.ts'
import { ROOT } from './support/root.ts'

const config = join(ROOT, 'config')
const examples = readdirSync(join(config, 'examples')).filter(name => /\.ya?ml$/.test(name))
const files = [join(config, 'gateway.yaml'), ...examples.map(name => join(config, 'examples', name))]

t.ok(examples.length >= 6, `${examples.length} examples`)

for (const file of files) {
  t.test(file.slice(config.length + 1), async t => {
    const catalog = new Catalog(plugins, { sluice: pluginApi })
    // An example must not need anything from the environment.
    const { config: loaded, faults } = await loadFile(file, { env: {}, catalog })
    t.same(faults.map(formatFault), [])
    t.ok(loaded === null || loaded.routes.length > 0, 'it does something')
    const schema = /^# yaml-language-server: \$schema=(\S+)\n/.exec(readFileSync(file, 'utf8'))?.[1]
    t.equal(resolve(dirname(file), schema ?? ''), join(config, 'gateway.schema.json'), 'editors find the schema')
  })
}
