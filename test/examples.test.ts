// Every configuration that is shipped loads without a fault, tells an editor where its schema is, and does what it says it does.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import plugins from '../plugins/bundled.ts'
import { formatFault } from '../src/config/fault.ts'
import { loadFile } from '../src/config/load.ts'
import { Catalog } from '../src/pipeline/catalog.ts'
import * as pluginApi from '../src/plugin-api.ts'
import { startGateway } from './support/gateway.ts'
import { RawUpstream } from './support/raw-upstream.ts'
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

t.test(
  'circuit-breaker.yaml: the fallbacks of the routes come before the refusal of the gateway-wide breaker',
  async t => {
    let text = readFileSync(join(config, 'examples/circuit-breaker.yaml'), 'utf8').replace('port: 8080', 'port: 0')
    for (const address of new Set(text.match(/127\.0\.0\.1:\d+/g))) {
      const upstream = await RawUpstream.start(t)
      const works = address.endsWith(':9011')
      upstream.onRequest = request => (works ? request.reply('200 OK', 'export') : request.reply('500 Broken'))
      text = text.replace(address, upstream.address)
    }
    const gateway = await startGateway(t, `${text}\nadmin: off\n`)
    const client = await gateway.connect()
    for (const [path, fallback] of [
      ['/orders/1', 'export'],
      ['/reviews/1', '[]'],
    ]) {
      const seen = new Set<string>()
      for (let i = 0; i < 60; i++) {
        client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
        const { status, text } = await client.response()
        seen.add(`${status} ${text}`)
      }
      t.same([...seen], ['500 ', `200 ${fallback}`], path)
    }
  },
)
