// Sees to it that the servers which the tests start are installed: with apt-get where that can be done, else it says what is missing.
import { type ExecFileSyncOptions, execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

/** Command that a test starts, and the Debian package that brings it. nginx and haproxy are the bench's: not needed here. */
const NEEDED = [
  { command: 'redis-server', package: 'redis-server' },
  { command: 'etcd', package: 'etcd-server' },
  { command: 'dnsmasq', package: 'dnsmasq-base' },
  { command: 'zkServer.sh', package: 'zookeeper' },
] as const

function installed(command: string): boolean {
  // Servers live in sbin, which is not on everybody's PATH.
  const folders = [
    ...(process.env['PATH'] ?? '').split(':'),
    '/usr/sbin',
    '/usr/local/sbin',
    '/sbin',
    '/usr/share/zookeeper/bin',
  ]
  return folders.some(folder => fs.existsSync(path.join(folder, command)))
}

const missing = NEEDED.filter(({ command }) => !installed(command))
if (missing.length > 0) {
  const packages = missing.map(one => one.package)
  const install = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  const canInstall = process.getuid?.() === 0 && installed('apt-get')
  if (!canInstall) {
    console.error(
      `The tests start real servers, and ${missing.map(one => one.command).join(', ')} is not here. Install with:`,
    )
    console.error(`  sudo apt-get update && sudo ${install}`)
    process.exit(1)
  }
  console.log(`installing ${packages.join(', ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const quiet: ExecFileSyncOptions = { env, stdio: ['ignore', 'ignore', 'inherit'] }
  // A failed update is no reason to stop: what is wanted may be in the lists that are there.
  spawnSync('apt-get', ['update', '-qq'], { env, stdio: 'ignore' })
  execFileSync('sh', ['-c', install], quiet)
  const still = missing.filter(({ command }) => !installed(command))
  if (still.length > 0) {
    console.error(`apt-get brought no ${still.map(one => one.command).join(', ')}`)
    process.exit(1)
  }
}
