// A real dnsmasq on a free port that knows the names under `.test` that a test gives it, and refuses all others.

import { Resolver } from 'node:dns/promises'
import { existsSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { ServerProcess, temporaryFolder } from './server-process.ts'

/** Debian keeps it off the PATH of most. */
const DEBIAN = '/usr/sbin/dnsmasq'

/** See the head of this file. */
export class DnsServer extends ServerProcess {
  /** As `servers` takes it. */
  readonly address: string
  readonly #config: string
  readonly #head: readonly string[]

  constructor(t: Pick<Test, 'teardown'>, port: number, folder: string) {
    const config = join(folder, 'dnsmasq.conf')
    const address = `127.0.0.1:${port}`
    const answers = async () => {
      const resolver = new Resolver({ timeout: 500, tries: 1 })
      resolver.setServers([address])
      return (await resolver.resolve4('up.test')).length === 1
    }
    super(t, existsSync(DEBIAN) ? DEBIAN : 'dnsmasq', ['--no-daemon', `--conf-file=${config}`], answers)
    this.address = address
    this.#config = config
    this.#head = [
      ...[`port=${port}`, 'listen-address=127.0.0.1', 'bind-interfaces', 'no-resolv', 'no-hosts', 'local=/test/'],
      // By itself it becomes nobody, which only root can; a pid file would lie outside of the folder.
      ...[`user=${userInfo().username}`, 'pid-file=', 'host-record=up.test,127.0.0.1'],
    ]
  }

  /** Know these records and no others: lines of dnsmasq's configuration, which it reads at its start alone. */
  async know(lines: readonly string[]): Promise<void> {
    await this.kill()
    writeFileSync(this.#config, [...this.#head, ...lines, ''].join('\n'))
    await this.start()
  }
}

/** Start one that knows these records, such as `host-record=a.test,10.0.0.1,30`. */
export async function startDnsmasq(t: Pick<Test, 'teardown'>, ...lines: readonly string[]): Promise<DnsServer> {
  const server = new DnsServer(t, await freePort(), temporaryFolder(t, 'dnsmasq'))
  await server.know(lines)
  return server
}
