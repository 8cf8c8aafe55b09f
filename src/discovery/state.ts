// The last good answer on disk, so that a cold start without the registry begins from it.
import { hash, randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { Instance } from './provider.ts'

/** Raised when the form of the file changes; others are not read. */
const VERSION = 1

const stateFile = z.object({
  version: z.literal(VERSION),
  registry: z.string(),
  service: z.string(),
  instances: z.array(
    z.object({
      host: z.string(),
      port: z.number(),
      ports: z.record(z.string(), z.number()).optional(),
      weight: z.number(),
      labels: z.record(z.string(), z.string()),
    }),
  ),
})

/** A file that is being written; what it holds next is null once nothing more was said. */
interface Writing {
  next: readonly Instance[] | null
  done: Promise<void>
}

/** By path, for the whole process: over a reload two pollers have the same file, and whoever spoke last is to count. */
const writings = new Map<string, Writing>()

/** What is still there of a write after this many milliseconds was left by a process that was killed. */
const ABANDONED = 60_000

/** What files are called while they are written: others' may stand in the folder. */
const BESIDE = /^[0-9a-f]{24}\.json\..*\.tmp$/

/** Folders in which that was cleared away, once a process: few, as each was a `stateDir` of some configuration. */
const cleared = new Set<string>()

/** The file of one service of one registry in the folder `stateDir`. Writes come one after the other. */
export class StateFile {
  readonly path: string
  readonly #registry: string
  readonly #service: string

  constructor(stateDir: string, registry: string, service: string) {
    this.#registry = registry
    this.#service = service
    // Names of services are the registry's business and may hold anything.
    const id = hash('sha256', `${registry}\0${service}`).slice(0, 24)
    this.path = join(stateDir, 'discovery', `${id}.json`)
  }

  /** What was written last; null when there is none. Rejects when there is one that cannot be used. */
  async read(): Promise<readonly Instance[] | null> {
    let text: string
    try {
      text = await readFile(this.path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw error
    }
    const state = stateFile.parse(JSON.parse(text))
    if (state.registry !== this.#registry || state.service !== this.#service)
      throw new Error('it is of another service')
    return state.instances.map(({ ports, ...rest }) => (ports === undefined ? rest : { ...rest, ports }))
  }

  /** Write, whole or not at all: a file beside it takes its place. Of several calls in a row the last counts. */
  write(instances: readonly Instance[]): Promise<void> {
    const under = writings.get(this.path)
    if (under !== undefined) {
      under.next = instances
      return under.done
    }
    const writing: Writing = { next: instances, done: Promise.resolve() }
    writings.set(this.path, writing)
    writing.done = this.#writeAll(writing)
    return writing.done
  }

  async #writeAll(writing: Writing): Promise<void> {
    try {
      while (writing.next !== null) {
        const instances = writing.next
        writing.next = null
        const state = { version: VERSION, registry: this.#registry, service: this.#service, instances }
        await makeFolder(dirname(this.path))
        await clearAway(dirname(this.path))
        await replaceFile(this.path, `${JSON.stringify(state)}\n`)
      }
    } finally {
      // Here and not in who awaits it: what is said from now on begins anew.
      writings.delete(this.path)
    }
  }
}

/** Remove what is half written and old; others in the folder may be at work. What cannot be removed stays. */
async function clearAway(folder: string): Promise<void> {
  if (cleared.has(folder)) return
  cleared.add(folder)
  const old = Date.now() - ABANDONED
  const names = await readdir(folder).catch(() => [])
  for (const name of names) {
    if (!BESIDE.test(name)) continue
    const path = join(folder, name)
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.NaN }))
    if (mtimeMs < old) await rm(path, { force: true }).catch(() => {})
  }
}

async function replaceFile(path: string, text: string): Promise<void> {
  // Gateways that share a folder may have the same process id: containers mostly have 1.
  const beside = `${path}.${randomUUID()}.tmp`
  try {
    await writeFile(beside, text, { mode: 0o600 })
    await rename(beside, path)
  } catch (error) {
    // On a full disk the half of it would keep the disk full.
    await rm(beside, { force: true }).catch(() => {})
    throw error
  }
}

/** Make a folder and those above it. Node's own `recursive` tries for ever where the system says ENOENT whatever is there (/proc). */
async function makeFolder(path: string): Promise<void> {
  const make = () =>
    mkdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  try {
    await make()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await makeFolder(dirname(path))
    await make()
  }
}
