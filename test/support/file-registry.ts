// A file as a registry for tests, renamed over with every change; it fails by what is in it, and a file that is gone is silent.
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Registered, StartRegistry } from './registry.ts'
import { temporaryFolder } from './server-process.ts'

const BROKEN: Readonly<Record<string, string>> = {
  'status-500': '',
  html: '<!doctype html><title>Welcome</title>',
  'half-json': '{"orders":["10.0.0.1:80","10.0',
  huge: ' '.repeat(17 * 1024 * 1024),
  reset: '\u0000',
}

/** Start one, empty. */
export const startFileRegistry: StartRegistry = async t => {
  const folder = temporaryFolder(t, 'file-registry')
  const path = join(folder, 'services.json')
  const services = new Map<string, unknown[]>()
  let failing = false
  const write = (text: string) => {
    writeFileSync(`${path}.tmp`, text)
    renameSync(`${path}.tmp`, path)
  }
  const tell = () => write(JSON.stringify(Object.fromEntries(services)))
  const asText = ({ host, port }: Registered) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)
  tell()
  return {
    kind: 'file',
    options: { path },
    polls: Number.NaN,
    async set(service, instances) {
      services.set(
        service,
        instances.map(one => ({ address: asText(one), weight: one.weight ?? 1, labels: one.labels ?? {} })),
      )
      if (!failing) tell()
    },
    async fail(how) {
      failing = how !== null
      if (how === null) tell()
      else if (how === 'stall') rmSync(path)
      else write(BROKEN[how]!)
    },
    stop: async () => rmSync(path, { force: true }),
  }
}
