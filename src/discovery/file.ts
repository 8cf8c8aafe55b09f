// A YAML or JSON file as a registry: a list of instances, or a map from services to such lists, read again when it changes.
import { resolve } from 'node:path'
import { z } from 'zod'
import { AnswerError } from './ask.ts'
import { FileThread } from './file-thread.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance } from './provider.ts'
import { reuse, sameInstance } from './same.ts'

/** Options of `kind: file`. */
export const fileOptions = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe(
      'YAML or JSON file, relative to the YAML file of the gateway; `{service}` stands for the name of the service.',
    ),
})

/** The file that tells of a service, as the thread knows it, and what was found in it last. */
interface Known {
  readonly file: number
  readonly path: string
  found: Found | null
}

class FileRegistry implements DiscoveryProvider {
  readonly #path: string
  readonly #baseDir: string
  readonly #thread = new FileThread()
  /** By service. */
  readonly #known = new Map<string, Known>()
  #files = 0

  constructor(path: string, baseDir: string) {
    this.#path = path
    this.#baseDir = baseDir
  }

  async poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    const known = this.#known.get(service) ?? this.#open(service)
    const { file, path, found } = known
    const question = { file, path, service, cursor, known: found?.cursor ?? null }
    const { digest, instances, fault } = await this.#thread.ask(question, signal)
    // It is watched on: whoever mends the file need not wait for a backoff.
    if (fault !== null) throw new AnswerError(fault, 0, digest)
    if (instances !== null) {
      const told = JSON.parse(instances) as Instance[]
      known.found = { instances: reuse(found?.instances ?? [], told, sameInstance), cursor: digest }
    }
    return known.found!
  }

  #open(service: string): Known {
    const path = resolve(
      this.#baseDir,
      this.#path.replaceAll('{service}', () => service),
    )
    const known = { file: this.#files++, path, found: null }
    this.#known.set(service, known)
    return known
  }

  forget(service: string): void {
    const known = this.#known.get(service)
    if (known !== undefined) this.#thread.forget(known.file)
    this.#known.delete(service)
  }

  close(): void {
    this.#thread.close()
  }
}

/** The definition of `kind: file`. */
export const file = defineProvider({
  kind: 'file',
  options: fileOptions,
  create: ({ path }, { baseDir }) => new FileRegistry(path, baseDir),
})
