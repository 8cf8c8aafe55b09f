// A file of keys that is read again when it changes, so that a key is given or taken back without a reload.
import { readFileSync, statSync } from 'node:fs'
import { type KeyTable, readKeyFile } from './key-table.ts'

/** Time between two looks at the file, in milliseconds. */
const LOOK = 5_000
/** Time for which a changed file must rest before it is read, in milliseconds. */
const REST = 100
/** Largest file, in bytes: some 100,000 keys. */
const MAX_FILE = 10 * 1024 * 1024

/** Read the file now. Throws an Error whose message says what is wrong, without any of the file's text. */
export function readKeys(path: string): KeyTable {
  let text: string
  try {
    const found = statSync(path)
    if (!found.isFile()) throw new Error('it is no file')
    if (found.size > MAX_FILE) throw new Error('it is larger than 10 MiB')
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(`cannot be read: ${code === 'ENOENT' ? 'there is no such file' : message}`)
  }
  return readKeyFile(text)
}

/**
 * What the file looked like: another inode, size or time is another file. Of the times the change's too: all keys are of
 * one length, `cp -p` takes over the other time, and a file that may be read from now on has changed in nothing else.
 */
function state(path: string): string {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(path)
    return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`
  } catch {
    return ''
  }
}

/** Run once in `ms`; the result takes it back. Never keeps the process alive. */
function unhurried(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms)
  timer.unref()
  return () => clearTimeout(timer)
}

/**
 * Look at the file every few seconds and tell of its new keys, or of what is wrong with it, once a change, and not before
 * two looks in a row found it the same: one that is being written has not all its keys. Looking is one stat, which on
 * any sound disk takes microseconds; watching would miss symbolic links that are swapped. Returns what ends it. `every`
 * in milliseconds.
 */
export function watchKeys(
  path: string,
  changed: (keys: KeyTable) => void,
  failed: (message: string) => void,
  every = LOOK,
  later = unhurried,
): () => void {
  let taken = state(path)
  let seen = taken
  let stop = later(every, look)
  return () => stop()

  function look(): void {
    const now = state(path)
    stop = later(now === seen ? every : Math.min(REST, every), look)
    if (now !== seen) {
      seen = now
      return
    }
    if (now === taken) return
    taken = now
    let keys: KeyTable
    try {
      keys = readKeys(path)
    } catch (error) {
      failed((error as Error).message)
      return
    }
    changed(keys)
  }
}
