// Refuses a Node.js that is too old, in plain words: main.ts imports this before what such a Node could not even load.
import { NODE_NEEDED } from './version.ts'

/** As for wrong words: starting again changes nothing. */
const USAGE = 2

const running = process.versions.node
if (isOlder(running, NODE_NEEDED)) {
  process.stderr.write(`sluice: needs Node.js ${NODE_NEEDED} or later, and this is ${running}; install a newer one\n`)
  process.exit(USAGE)
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version.split('.').map(Number), than.split('.').map(Number)]
  for (const [i, part] of b.entries()) if (a[i] !== part) return (a[i] ?? 0) < part
  return false
}
