// What the sluice command does: start, check, routes, schema and demo, signals and exit codes.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import bundled from '../plugins/bundled.ts'
import { formatFault } from './config/fault.ts'
import { jsonSchemaText } from './config/json-schema.ts'
import { loadFile } from './config/load.ts'
import { runDemo } from './demo/demo.ts'
import { stackOf } from './errors.ts'
import { ConfigError, Gateway, type GatewayOptions, ListenError } from './gateway.ts'
import { hostPort } from './http/address.ts'
import { createLog } from './log.ts'
import { noSuch } from './nearest.ts'
import { Catalog } from './pipeline/catalog.ts'
import * as pluginApi from './plugin-api.ts'
import { describe, formatListing, type ShownRoute } from './route/listing.ts'
import type { RouteOptions } from './route/options.ts'
import { RouteTableBuilder } from './route/table.ts'
import { VERSION } from './version.ts'

/** Exit codes (docs/operations.md, Start). */
const EXIT = { done: 0, config: 1, usage: 2, listen: 3, crash: 4 } as const

const DEFAULT_FILE = 'config/gateway.yaml'

const USAGE = `usage: sluice <command> [-c FILE]

  start    run the gateway
  check    look for faults in the configuration
  routes   list the routes in the order in which they are tried
  schema   print the JSON Schema of the configuration
  demo     run three sample services and the gateway in front of them

  -c, --config FILE   the configuration (default: $SLUICE_CONFIG or config/gateway.yaml)
  -h, --help          this text
  -v, --version       the version`

/** The names under which package.json offers it to plugins: a user's module may import either. */
const API_NAMES = ['sluice', 'sluice/plugin-api']

/** What user plugins get for an import of these names. */
const modules = Object.fromEntries(API_NAMES.map(name => [name, pluginApi]))

/** What a gateway of this command is made with. */
function gatewayOptions(file: string): GatewayOptions {
  const apiUrl = new URL('./plugin-api.js', import.meta.url).href
  return {
    file,
    plugins: bundled,
    bundled: new URL('../plugins/bundled.js', import.meta.url).href,
    modules,
    moduleUrls: Object.fromEntries(API_NAMES.map(name => [name, apiUrl])),
    log: createLog(),
  }
}

async function main(argv: readonly string[]): Promise<number> {
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(argv)
  } catch (error) {
    // Node's own advice behind it is about something else.
    return usage((error as Error).message.split(/\.\s/, 1)[0]!)
  }
  const { values, positionals } = parsed
  if (values.version) return print(VERSION)
  if (values.help) return print(USAGE)
  const [command, ...rest] = positionals
  if (command === undefined) return usage('a command is due')
  if (rest.length > 0) return usage(`too many words: ${rest.join(' ')}; a file is named with -c`)
  const [config, another] = values.config ?? []
  if (another !== undefined) return usage('-c stands twice: one file is read')
  if (config === '') return usage('-c names no file; is the variable behind it empty?')
  const given = config ?? (process.env['SLUICE_CONFIG'] || null)
  const run = COMMANDS.get(command)
  return run === undefined ? usage(noSuch('command', command, COMMANDS.keys())) : run(given)
}

/** Gets the file that was named, or null; gives the exit code. */
type Command = (file: string | null) => number | Promise<number>

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['start', file => start(file ?? DEFAULT_FILE)],
  ['check', file => check(file ?? DEFAULT_FILE)],
  ['routes', file => routes(file ?? DEFAULT_FILE)],
  ['schema', () => print(jsonSchemaText(bundled).trimEnd())],
  ['demo', file => runDemo(gatewayOptions(file ?? demoFile()), untilSignal)],
])

/** The file of the folder that one is in, or the one that comes with the package: a demo runs anywhere. */
function demoFile(): string {
  if (existsSync(DEFAULT_FILE)) return DEFAULT_FILE
  return fileURLToPath(new URL(`../../${DEFAULT_FILE}`, import.meta.url))
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      config: { type: 'string', short: 'c', multiple: true },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
    },
  })
}

function print(text: string): number {
  process.stdout.write(`${text}\n`)
  return EXIT.done
}

function usage(message: string): number {
  process.stderr.write(`sluice: ${message}\n\n${USAGE}\n`)
  return EXIT.usage
}

async function start(file: string): Promise<number> {
  const gateway = new Gateway(gatewayOptions(file))
  // Before the start: without a listener for it a signal would end the process.
  const stopped = untilSignal(gateway)
  await gateway.start()
  for (const { name, host, port, engine } of gateway.listeners)
    print(`listener ${name} on http://${hostPort(host, port)} (${engine})`)
  if (gateway.adminPort !== 0) print(`admin on http://${hostPort(gateway.adminHost, gateway.adminPort)}`)
  return stopped
}

/**
 * Serve until SIGTERM or SIGINT, then stop in good order; a second one ends at once, and so does one before it listens.
 * SIGHUP reloads.
 */
function untilSignal(gateway: Gateway): Promise<number> {
  process.on('SIGHUP', () => void gateway.reload())
  return new Promise(done => {
    let asked = false
    const end = () => {
      if (asked || gateway.listeners.length === 0) {
        gateway.destroy()
        process.exit(EXIT.done)
      }
      asked = true
      void gateway.stop().then(() => done(EXIT.done))
    }
    process.on('SIGTERM', end)
    process.on('SIGINT', end)
  })
}

/** What the file comes to. Rejects with ConfigError. */
async function load(file: string) {
  const loaded = await loadFile(file, { env: process.env, catalog: new Catalog(bundled, modules) })
  if (loaded.config === null) throw new ConfigError(loaded.faults)
  return loaded
}

async function check(file: string): Promise<number> {
  const { listeners, upstreams, routes } = (await load(file)).config
  const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`
  return print(
    `${file} is fine: ${count(listeners.length, 'listener')}, ${count(routes.length, 'route')}, ${count(Object.keys(upstreams).length, 'upstream')}`,
  )
}

async function routes(file: string): Promise<number> {
  const loaded = await load(file)
  const { routes: shown } = JSON.parse(loaded.shown) as { routes: ShownRoute[] }
  const builder = new RouteTableBuilder<RouteOptions>()
  for (const [order, route] of loaded.config.routes.entries()) builder.add(route.match, route, order)
  const entries = builder.build().listing()
  return print(formatListing(entries.map(entry => describe(entry, entry.route, shown[entry.order]!))))
}

function report(error: unknown): number {
  if (error instanceof ConfigError) {
    for (const fault of error.faults) process.stderr.write(`${formatFault(fault)}\n`)
    return EXIT.config
  }
  if (error instanceof ListenError) {
    process.stderr.write(`sluice: ${error.message}\n`)
    return EXIT.listen
  }
  process.stderr.write(`sluice: ${stackOf(error)}\n`)
  return EXIT.crash
}

// What nobody caught is a defect, of the gateway or of a plugin: whatever state it leaves, nothing should be served from
// it.
process.on('uncaughtException', error => {
  createLog().error('the gateway crashed', { error: stackOf(error) })
  process.exit(EXIT.crash)
})
// A promise that nobody awaits is no reason either: it is mostly a plugin's, and belongs to one request.
process.on('unhandledRejection', error => {
  createLog().error('a promise was rejected, and nobody awaits it', { error: stackOf(error) })
})
// Whoever reads what is printed may be gone: no reason to end.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

/** Resolves when a stream has handed on all that was written to it, or nobody reads it any more. */
function handedOn(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise(done => {
    if (stream.writableLength === 0) done()
    else stream.write('', () => done())
  })
}

process.exitCode = await main(process.argv.slice(2)).catch(report)
// A pipe takes 64 KiB at once: the end of the process would take the rest of a schema, or of the faults, with it.
await Promise.all([handedOn(process.stdout), handedOn(process.stderr)])
// A signal handler or an idle socket must not keep a command alive that is done.
process.exit()
