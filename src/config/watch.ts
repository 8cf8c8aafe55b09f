// Watching the configuration file by its directory, so that in-place writes, renames and symlink swaps are all seen.
import { type BigIntStats, type FSWatcher, statSync, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Quiet time after the last event before the file is looked at, in milliseconds: editors write in several steps. */
const DEBOUNCE = 100
/** After so long it is looked at all the same: the directory may hold a log that is never quiet. */
const LONGEST = 1_000
/** How often a directory that went away is looked for, in milliseconds. */
const RETRY = 1_000

/** A file that is being watched. */
export interface Watching {
  /** No calls come after this. */
  close(): void
}

/**
 * Call `changed` once some while after the content of `file` may have changed: its device, inode, size or times are not
 * what they were. Kubernetes swaps a `..data` symlink in the directory, so any event in it makes us look. A file that
 * is gone for a moment is no change: what follows it is. `retry` is for tests.
 */
export function watchFile(file: string, changed: () => void, retry = RETRY): Watching {
  const directory = dirname(resolve(file))
  let watcher: FSWatcher | null = null
  let timer: NodeJS.Timeout | null = null
  /** When the look that `timer` is for was first wanted. */
  let wanted = 0
  let closed = false
  let directoryId = ''
  // Looks are one after the other, or an older answer could come after a newer one.
  let looking: Promise<void> = Promise.resolve()
  // Taken at once: a change right after this call is one.
  let seen = identity(statNow(file))

  const later = (time: number) => {
    const now = performance.now()
    if (timer === null) wanted = now
    else clearTimeout(timer)
    timer = setTimeout(
      () => {
        timer = null
        look(true)
      },
      Math.min(time, Math.max(0, wanted + LONGEST - now)),
    )
    // The gateway's listeners keep the process; a watch does not.
    timer.unref()
  }

  // `settled` is false for a look that no quiet time went before: what it finds may be half-written.
  const look = (settled: boolean) => {
    looking = looking.then(async () => {
      await follow()
      const now = identity(await statOf(file))
      if (closed || now === seen) return
      // What follows is a change though it be the same file again: a reload may have missed it meanwhile.
      if (now === '') {
        seen = ''
        return
      }
      if (!settled) return later(DEBOUNCE)
      seen = now
      changed()
    })
  }

  // A directory that was replaced leaves its watcher on the old one: silent, and for ever.
  const follow = async () => {
    const id = await identityOf(directory)
    if (closed || (id !== '' && id === directoryId && watcher !== null)) return
    watcher?.close()
    watcher = null
    directoryId = id
    if (id === '') return later(retry)
    try {
      watcher = watch(directory, { persistent: false }, () => later(DEBOUNCE))
      watcher.on('error', () => later(DEBOUNCE))
    } catch {
      later(retry)
    }
  }

  look(false)
  // Replacing a directory is no event inside it on every system; a slow look now and then finds it.
  const slow = setInterval(() => {
    if (timer === null) look(false)
  }, retry)
  slow.unref()
  return {
    close() {
      closed = true
      if (timer !== null) clearTimeout(timer)
      clearInterval(slow)
      watcher?.close()
    },
  }
}

/** Why a file cannot be looked at (no right to, a circle of links) is told by whoever reads it. */
function statNow(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true })
  } catch {
    return undefined
  }
}

async function statOf(path: string): Promise<BigIntStats | undefined> {
  return stat(path, { bigint: true }).catch(() => undefined)
}

/** What changes when the content does; `''` when there is no such file. */
function identity(found: BigIntStats | undefined): string {
  if (found === undefined) return ''
  const { dev, ino, size, mtimeNs, ctimeNs } = found
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
}

async function identityOf(directory: string): Promise<string> {
  const found = await statOf(directory)
  return found === undefined ? '' : `${found.dev} ${found.ino}`
}
