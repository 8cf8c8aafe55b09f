// A file that others write to: its text once it is whole, and again when it changes.
import { type FSWatcher, watch } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { abortable, waitAtMost } from './abortable.ts'
import { AnswerError, digestOf } from './ask.ts'
import { MAX_ANSWER, WAIT } from './provider.ts'

/** Milliseconds without a change before a file counts as written: some write it in several steps. */
const SETTLE = 50
/**
 * Milliseconds between two looks when no event comes: not every file system tells, and a folder may be replaced. Each look
 * that finds nothing doubles it: a thousand files that are looked at every second take a tenth of a core.
 */
const LOOK = 1_000
const LONGEST_LOOK = 5_000
/** Part of a time that chance takes away. */
const JITTER = 0.3

/** What a file is known by without reading it; null when there is none. Throws for what is no file. */
async function identityOf(path: string): Promise<string | null> {
  try {
    const found = await stat(path, { bigint: true })
    // Opening a FIFO would wait for a writer, and /dev/zero has no end.
    if (!found.isFile()) throw new AnswerError(`${path} is no regular file`)
    if (found.size > MAX_ANSWER) throw new AnswerError(`${path} is larger than ${MAX_ANSWER / 1024 / 1024} MiB`)
    const { dev, ino, size, mtimeNs, ctimeNs } = found
    return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Events in the folder of a file: writes to it, renames over it or over the link that leads to it. */
class FolderWatch {
  #wake: () => void = () => {}
  #event: 'none' | 'other' | 'file' = 'none'
  readonly #watcher: FSWatcher | null = null

  constructor(path: string) {
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_type, name) => {
        if (name === null || name === basename(path)) this.#event = 'file'
        else if (this.#event === 'none') this.#event = 'other'
        this.#wake()
      })
      this.#watcher.on('error', () => {})
    } catch {
      // No such folder, or no watches left: looking now and then has to do.
    }
  }

  /** Wait for an event since the last call, `ms` at most; whether one was about the file itself. Rejects on abort. */
  async next(ms: number, signal: AbortSignal): Promise<boolean> {
    if (this.#event === 'none') {
      const wait = waitAtMost(ms, signal)
      this.#wake = wait.wake
      await wait.done
    }
    // Some folders are busy: what comes in one go is one look.
    if ((this.#event as string) !== 'none') await waitAtMost(SETTLE, signal).done
    const touched = (this.#event as string) === 'file'
    this.#event = 'none'
    return touched
  }

  close(): void {
    this.#watcher?.close()
  }
}

/** Null when there is none. */
async function read(path: string): Promise<string | null> {
  try {
    if ((await identityOf(path)) === null) return null
    return (await readFile(path, 'utf8')).replace(/^\ufeff/, '')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** What a file that is not there, or cannot be read, has for a digest: any text has another. */
export const NONE = ''

/** What was found of a file. */
export interface FileReading {
  /** Null when there is none; undefined when it is as it was, and was not read again. */
  readonly text: string | null | undefined
  readonly digest: string
  /** What the file is known by without reading it; null where it may still be written to. */
  readonly identity: string | null
}

/** The file as it is now. Rejects for what cannot be read, and when the signal is aborted. */
export async function unsettled(path: string, signal: AbortSignal): Promise<FileReading> {
  const text = await abortable(read(path), signal)
  return { text, digest: text === null ? NONE : digestOf(text), identity: null }
}

const unreadable = () => null

/**
 * The file once its text is another than the one with digest `cursor`, and whole; after WAIT in any case. What the file of
 * that one was `seen` as, where that is known, need not be read again. A file that is gone for a moment, or cannot be read,
 * is no change: what follows it is. No text when it is gone in the end.
 */
export async function changed(
  path: string,
  cursor: string,
  seen: string | null,
  signal: AbortSignal,
): Promise<FileReading> {
  // A thousand files that were read at the start must not all come to their end at once, ever after.
  const end = performance.now() + WAIT * (1 - JITTER * Math.random())
  // Before the first look, so that nothing falls between the two.
  const folder = new FolderWatch(path)
  let look = LOOK
  let touched = false
  /** What was seen last holds the text that `cursor` stands for. */
  let same = seen !== null
  try {
    while (performance.now() < end) {
      const now = await abortable(identityOf(path).catch(unreadable), signal)
      // The clock of a file system may stand still for some milliseconds: an event counts for more.
      if (now === null) same = false
      else if (now !== seen || touched) {
        const text = await abortable(read(path).catch(unreadable), signal)
        seen = now
        const digest = text === null ? NONE : digestOf(text)
        same = text !== null && digest === cursor
        if (text !== null && !same) {
          await waitAtMost(SETTLE, signal).done
          if ((await abortable(identityOf(path).catch(unreadable), signal)) === now)
            return { text, digest, identity: now }
          // Still being written.
          seen = null
          continue
        }
      }
      const pause = Math.min(look * (1 - JITTER * Math.random()), Math.max(0, end - performance.now()))
      touched = await folder.next(pause, signal)
      look = Math.min(look * 2, LONGEST_LOOK)
    }
    return same ? { text: undefined, digest: cursor, identity: seen } : await unsettled(path, signal)
  } finally {
    folder.close()
  }
}
