// Writes the sources and tests without their types into a folder that Node runs without a loader: each process and thread of a test starts in half the time.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { stripped } from './loader/hooks.mjs'

/** What tests import, directly or not. */
const FOLDERS = ['src', 'plugins', 'test', 'bench']

// Imports, and files named beside one's own: `from './x.ts'`, `import('./x.ts')`, `new URL('./x.ts', import.meta.url)`;
// but no line that begins with a quote, which is text that looks like that.
const NAMED = /^(?!\s*['"`])(.*\b(?:from |import |import\(|new URL\()'\.{1,2}\/[^'\n]+)\.ts'/gm

/** Lines and columns stay those of the sources, only `.ts` becomes `.js`. What stood in `out` before is gone. */
export function stripTree(root: string, out: string): void {
  rmSync(out, { recursive: true, force: true })
  for (const folder of FOLDERS) {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
      const file = join(entry.parentPath, entry.name)
      const to = join(out, `${file.slice(root.length, -3)}.js`)
      mkdirSync(dirname(to), { recursive: true })
      writeFileSync(to, stripped(file).toString().replace(NAMED, "$1.js'"))
    }
  }
}
