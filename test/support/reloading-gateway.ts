// A gateway in this process whose file a test rewrites, with the counting plugins, watched or told to reload.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Gateway, type ReloadState } from '../../src/gateway.ts'
import * as pluginApi from '../../src/plugin-api.ts'
import plugins, { PLUGINS_URL } from './counting-plugins.ts'
import { replaceFile } from './replace-file.ts'
import { eventually } from './within.ts'

/** See the head of this file. Stopped when the test is over. */
export class ReloadingGateway {
  readonly gateway: Gateway
  readonly file: string
  readonly log: { level: string; message: string; fields: Record<string, unknown> }[]

  constructor(gateway: Gateway, file: string, log: ReloadingGateway['log']) {
    this.gateway = gateway
    this.file = file
    this.log = log
  }

  get port(): number {
    return this.gateway.listeners[0]!.port
  }

  write(config: string): void {
    writeFileSync(this.file, config)
  }

  /** As editors and deployments do: a new file takes the name of the old one. */
  rename(config: string): void {
    replaceFile(this.file, config)
  }

  /** Write and reload; true when it was taken. */
  reload(config: string): Promise<boolean> {
    this.write(config)
    return this.gateway.reload()
  }

  /** The faults of the last reload. */
  get faults(): readonly string[] {
    return this.gateway.lastReload?.faults ?? []
  }

  /** Wait until the watched file was read after `change`. */
  async changed(change: () => void): Promise<ReloadState> {
    const before = this.gateway.lastReload
    change()
    await eventually(
      () => this.gateway.lastReload !== before,
      () => 'the file was not read again',
      60_000,
    )
    return this.gateway.lastReload!
  }
}

interface ReloadingOptions {
  watch?: boolean
  env?: Readonly<Record<string, string>>
}

/** Start on this configuration; `watch` is off unless asked for. */
export async function startReloading(
  t: Test,
  config: string,
  options: ReloadingOptions = {},
): Promise<ReloadingGateway> {
  const made = makeReloading(t, config, options)
  await made.gateway.start()
  return made
}

/** As above, but not started. */
export function makeReloading(
  t: Test,
  config: string,
  { watch = false, env = {} }: ReloadingOptions = {},
): ReloadingGateway {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-reload-'))
  const file = join(folder, 'gateway.yaml')
  writeFileSync(file, config)
  const log: ReloadingGateway['log'] = []
  const at =
    (level: string) =>
    (message: string, fields: Record<string, unknown> = {}) => {
      log.push({ level, message, fields })
    }
  const gateway = new Gateway({
    file,
    bundled: PLUGINS_URL,
    plugins,
    modules: { sluice: pluginApi },
    moduleUrls: { sluice: new URL('../../src/plugin-api.ts', import.meta.url).href },
    env,
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    watch,
  })
  t.teardown(async () => {
    await gateway.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return new ReloadingGateway(gateway, file, log)
}
