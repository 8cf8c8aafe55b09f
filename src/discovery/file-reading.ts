// A file that others write to: its text once it is whole, and again when it changes.
//
// Nothing but the thread in file-worker.ts may call this: it waits for the file system, and some hang.
import { closeSync, constants, type FSWatcher, fstatSync, openSync, readFileSync, statSync, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { waitAtMost } from './abortable.ts'
import { AnswerError, digestOf } from './ask.ts'
import { MAX_ANSWER, WAIT } from './provider.ts'

/** Milliseconds without a change before a file counts as written: some write it in several steps. */
const SETTLE = 100
/**
 * Milliseconds between two looks when no event comes: not every file system tells, and a folder may be replaced. All files
 * are looked at in one go: waking up for each of a thousand takes a twentieth of a core.
 */
const LOOK = 2_000
/** Part of a wait that chance takes away: a thousand files that were read at the start must not all answer at once, ever after. */
const JITTER = 0.3

/** What a file is known by without reading it, and when that last changed. */
interface Standing {
  readonly identity: string
  /** Milliseconds of the system's clock. */
  readonly changedAt: number
}

/** Of a file, or of one that is open as `fd`. Throws for what is no file. */
function standingOf(path: string, fd: number | null = null): Standing {
  const found = fd === null ? statSync(path, { bigint: true }) : fstatSync(fd, { bigint: true })
  // A FIFO waits for a writer, and /dev/zero has no end.
  if (!found.isFile()) throw new AnswerError(`${path} is no regular file`)
  if (found.size > MAX_ANSWER) throw new AnswerError(`${path} is larger than ${MAX_ANSWER / 1024 / 1024} MiB`)
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = found
  return { identity: `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`, changedAt: Number(ctimeMs) }
}

/** Null when there is none. Throws for what cannot be read. */
function read(path: string): (Standing & { readonly text: string }) | null {
  let fd: number | null = null
  try {
    // Opening a FIFO must not wait.
    fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const standing = standingOf(path, fd)
    return { ...standing, text: readFileSync(fd, 'utf8').replace(/^\ufeff/, '') }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  } finally {
    if (fd !== null) closeSync(fd)
  }
}

/** As `of`, and null for what cannot be read. */
function orNull<T>(of: (path: string) => T, path: string): T | null {
  try {
    return of(path)
  } catch {
    return null
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

/** What a file that is not there, or cannot be read, has for a digest: any text has another. */
export const NONE = ''

/** What was found of a file. */
export interface FileReading {
  /** Null when there is none; undefined when it is as it was, and was not read again. */
  readonly text: string | null | undefined
  readonly digest: string
}

/** One file that is asked for again and again. */
export class WatchedFile {
  readonly #path: string
  /** What the file was known by when it held what has `#digest`; null where it may have been written to since. */
  #seen: string | null = null
  #digest = NONE
  /** Between two waits, where the last one ended with an event: what comes meanwhile is not missed. */
  #folder: FolderWatch | null = null

  constructor(path: string) {
    this.#path = path
  }

  /** The file as it is now, whole or not. Throws for what cannot be read. */
  now(): FileReading {
    const found = read(this.#path)
    return found === null ? { text: null, digest: NONE } : { text: found.text, digest: digestOf(found.text) }
  }

  /**
   * The file once its text is another than the one with digest `cursor`, and whole; after WAIT in any case. A file that is
   * gone for a moment, or cannot be read, is no change: what follows it is. No text when it is gone in the end. Rejects for
   * what cannot be read in the end, and when the signal is aborted.
   */
  async changed(cursor: string, signal: AbortSignal): Promise<FileReading> {
    const end = performance.now() + WAIT * (1 - JITTER * Math.random())
    if (this.#digest !== cursor) this.#seen = null
    this.#digest = cursor
    const kept = this.#folder
    this.#folder = null
    // Before the first look, so that nothing falls between the two.
    const folder = kept ?? new FolderWatch(this.#path)
    let reading: FileReading | null = null
    try {
      reading = await this.#watch(folder, kept !== null, end, signal)
      return reading ?? (this.#seen === null ? this.now() : { text: undefined, digest: cursor })
    } finally {
      // Now and then it is made anew: a folder may have been replaced.
      if (reading === null || signal.aborted || this.#folder !== null) folder.close()
      else this.#folder = folder
    }
  }

  /** Null when the time is up before there is another text. */
  async #watch(folder: FolderWatch, looked: boolean, end: number, signal: AbortSignal): Promise<FileReading | null> {
    let touched = false
    while (performance.now() < end) {
      if (looked) looked = false
      // The clock of a file system may stand still for some milliseconds: an event counts for more.
      else if (touched || !this.#stands(this.#seen)) {
        const reading = await this.#read(end, signal)
        if (reading !== null) return reading
      }
      const now = performance.now()
      touched = await folder.next(Math.min(LOOK - (now % LOOK), Math.max(0, end - now)), signal)
    }
    return null
  }

  /** True while the file is what has this identity. */
  #stands(identity: string | null): boolean {
    const standing = orNull(standingOf, this.#path)
    return standing !== null && standing.identity === identity
  }

  /** Another text than the last, once it is whole; null where there is none. */
  async #read(end: number, signal: AbortSignal): Promise<FileReading | null> {
    this.#seen = null
    while (performance.now() < end) {
      const found = orNull(read, this.#path)
      if (found === null) return null
      const { text, identity, changedAt } = found
      const digest = digestOf(text)
      const same = digest === this.#digest
      if (!same) {
        const age = Date.now() - changedAt
        if (age < SETTLE) {
          // Another machine's clock may say anything: then the file has to stay as it is for that long.
          await waitAtMost(age < 0 ? SETTLE : SETTLE - age, signal).done
          if (!this.#stands(identity)) continue
        }
        this.#digest = digest
      }
      this.#seen = identity
      return same ? null : { text, digest }
    }
    return null
  }

  /** Nobody asks any more. No wait is under way then, or it is being aborted. */
  close(): void {
    this.#folder?.close()
    this.#folder = null
  }
}
