// Gives Node the sources without their types, line for line and column for column; what was stripped once is kept in node_modules/.cache.
import { mkdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { threadId } from 'node:worker_threads'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CACHE = join(ROOT, 'node_modules/.cache/sluice')

/** A hook of node:module that loads `.ts` files; synchronous, so that it serves `register` and `registerHooks`. */
export function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context)
  return { format: 'module', source: stripped(fileURLToPath(url)), shortCircuit: true }
}

/** The text of a source file without its types. */
export function stripped(file) {
  const { mtime, mtimeMs } = statSync(file)
  const path = relative(ROOT, file)
  // Another project's, such as the plugin of a test: stripped each time.
  const kept = path.startsWith('..') ? null : join(CACHE, path)
  if (kept !== null) {
    // A kept file has the time of its source, but for what rounding takes: one that was checked out again or edited has another.
    const found = statSync(kept, { throwIfNoEntry: false })
    if (found !== undefined && Math.abs(found.mtimeMs - mtimeMs) < 2) return readFileSync(kept)
  }
  // The stripper takes 40 ms to load, and is needed only after a change.
  const { transformSync } = createRequire(import.meta.url)('@swc/wasm-typescript')
  const { code } = transformSync(readFileSync(file, 'utf8'), { mode: 'strip-only', filename: file })
  if (kept !== null) {
    mkdirSync(dirname(kept), { recursive: true })
    const own = `${kept}.${process.pid}.${threadId}`
    writeFileSync(own, code)
    utimesSync(own, mtime, mtime)
    // Others may be doing the same.
    renameSync(own, kept)
  }
  return code
}
