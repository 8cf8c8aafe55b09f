// One registry under `discovery:` with a poller for each service that some upstream asks it for.
import { resolve } from 'node:path'
import { type CertificateFiles, pathsAt, readCertificates } from '../http/certificates.ts'
import type { Log } from '../log.ts'
import { showRegistry } from '../metrics.ts'
import { certificatePlaces, type DiscoveryOptions } from './options.ts'
import { Poller } from './poller.ts'
import type { DiscoveryProvider, Instance } from './provider.ts'
import { providers } from './providers.ts'
import { StateFile } from './state.ts'

/** What a registry is opened with beside its options. */
export interface RegistryContext {
  /** Folder that relative paths start from. */
  readonly baseDir: string
  /** Where state is kept; null for nowhere. */
  readonly stateDir: string | null
  readonly log: Log
}

/** See the head of this file. Lives across reloads for as long as its options stay the same. */
export class Registry {
  readonly name: string
  readonly #options: DiscoveryOptions
  readonly #provider: DiscoveryProvider
  readonly #context: RegistryContext
  /** What the provider was made with. */
  readonly #certificates: CertificateFiles
  readonly #pollers = new Map<string, Poller>()
  readonly #forget: () => void

  private constructor(
    name: string,
    options: DiscoveryOptions,
    provider: DiscoveryProvider,
    context: RegistryContext,
    certificates: CertificateFiles,
  ) {
    this.name = name
    this.#options = options
    this.#provider = provider
    this.#context = context
    this.#certificates = certificates
    this.#forget = showRegistry(name, () =>
      Array.from(this.#pollers.values(), poller => ({
        service: poller.service,
        age: poller.age,
        instances: poller.told + poller.held,
        held: poller.held,
      })),
    )
  }

  /**
   * Rejects when the provider cannot be made, such as for want of an optional package or for certificate files that cannot
   * be used (CertificateError).
   */
  static async open(name: string, options: DiscoveryOptions, context: RegistryContext): Promise<Registry> {
    const definition = providers.find(({ kind }) => kind === options.kind)
    if (definition === undefined) throw new Error(`there is no kind of registry named ${options.kind}`)
    const { baseDir, log } = context
    const certificates = certificatesOf(options, baseDir)
    const provider = await definition.create(options, { name, baseDir, log, certificates })
    return new Registry(name, options, provider, context, certificates)
  }

  /** False when a certificate file was renewed since it was opened. Throws when one can no longer be read. */
  certificatesCurrent(): boolean {
    const files = certificatesOf(this.#options, this.#context.baseDir)
    return JSON.stringify(files) === JSON.stringify(this.#certificates)
  }

  /** What is in use of a service; null where nothing is known of it. */
  inUse(service: string): readonly Instance[] | null {
    return this.#pollers.get(service)?.inUse ?? null
  }

  /**
   * The poller for a service, begun when nobody has asked for it yet; then `before` is what is used on until this
   * registry answers. Whoever takes it subscribes before the next `sweep`.
   */
  watch(service: string, before: readonly Instance[] | null): Poller {
    let poller = this.#pollers.get(service)
    if (poller === undefined) {
      const { stateDir, baseDir, log } = this.#context
      const state = stateDir === null ? null : new StateFile(resolve(baseDir, stateDir), this.name, service)
      const { name: registry } = this
      const parts = { registry, service, provider: this.#provider, options: this.#options, state, before, log }
      poller = new Poller(parts)
      this.#pollers.set(service, poller)
      poller.start()
    }
    return poller
  }

  /** End the pollers that nobody listens to. Called when a snapshot has gone live, or was given up. */
  sweep(): void {
    for (const poller of this.#pollers.values()) {
      if (!poller.idle) continue
      this.#pollers.delete(poller.service)
      poller.close()
      this.#provider.forget?.(poller.service)
    }
  }

  /**
   * Write all state anew. Called when a reload is over that opened another registry of this name: both had the same files,
   * and those are to hold what the one says that is in use.
   */
  keep(): void {
    for (const poller of this.#pollers.values()) poller.keep()
  }

  close(): void {
    this.#forget()
    for (const poller of this.#pollers.values()) poller.close()
    this.#pollers.clear()
    this.#provider.close?.()
  }
}

/** What stands in the files that the options name. */
function certificatesOf(options: DiscoveryOptions, baseDir: string): CertificateFiles {
  const paths = pathsAt(options, certificatePlaces(options))
  return readCertificates(paths, path => resolve(baseDir, path))
}
