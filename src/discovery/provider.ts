// What a provider is: it asks one kind of registry for the instances of a service, and keeps nothing else.
import type { z } from 'zod'
import type { CertificateFiles, CertificatePlaces } from '../http/certificates.ts'
import type { Log } from '../log.ts'

/** One instance of a service as a registry tells it, before an upstream picks those it wants. */
export interface Instance {
  /** Host name or IP address, IPv6 without brackets. Checked by the poller, not by providers. */
  readonly host: string
  /** 0 when the registry knows none; then the upstream says `port`. */
  readonly port: number
  /** Ports by name, where the registry names them. */
  readonly ports?: Readonly<Record<string, number>>
  /** Share of the traffic beside the others; 1 when the registry says nothing. */
  readonly weight: number
  readonly labels: Readonly<Record<string, string>>
}

/** One answer of a registry: the whole service, never a part. */
export interface Found {
  /** The list of an earlier answer, the same object, says the same as then. */
  readonly instances: readonly Instance[]
  /**
   * Where the registry stood. Given to the next poll, which then waits at the registry until something changes, at most
   * WAIT; so it is asked again at once. Null: the registry cannot wait, and is asked again after the interval.
   */
  readonly cursor: string | null
  /** Milliseconds that the answer says it is good for, such as the TTL of DNS; a shorter wait than the interval. */
  readonly ttl?: number
}

/** Longest that a poll with a cursor may wait for a change, in milliseconds. */
export const WAIT = 30_000

/** Largest answer of a registry that is read, in bytes. */
export const MAX_ANSWER = 16 * 1024 * 1024

/** Most entries of a list that are read, whatever a registry's options allow: each takes its time. */
export const MAX_ENTRIES = 100_000

/** See the head of this file. One for each registry under `discovery:`; polls of several services run side by side. */
export interface DiscoveryProvider {
  /**
   * Ask for the instances of `service`. With a cursor, wait until what it stands for has changed, at most WAIT, then
   * answer with the whole service all the same. After a rejection the next call comes with a null cursor: start anew; but
   * after an AnswerError with a cursor it comes at once and with that one.
   * Rejects with whatever went wrong, its message fit for a log (no credentials), and as soon as `signal` is aborted.
   */
  poll(service: string, cursor: string | null, signal: AbortSignal): Promise<Found>
  /** Nobody asks for this service any more: let go of what is kept of it. Its polls are over or aborted then. */
  forget?(service: string): void
  /** Let go of connections. No poll is under way then, and none comes after. */
  close?(): void
}

/** What a provider gets beside its options. */
export interface ProviderContext {
  /** Name of the registry under `discovery:`. */
  readonly name: string
  /** Folder that relative paths start from. */
  readonly baseDir: string
  /** What stands in the certificate files that its options name, read once: a renewal is told by comparing with it. */
  readonly certificates: CertificateFiles
  readonly log: Log
}

/** One kind of registry: its options and how a provider is made from them. Made with `defineProvider`. */
export interface ProviderDefinition {
  /** The value of `kind`. */
  readonly kind: string
  /** Options beside `kind` and those that every kind has (interval, timeout, onEmpty, holdFor, maxInstances, linkLocal). */
  readonly options: z.ZodObject
  /** Where its options name certificate files, for those kinds that have any; asked of options that may be faulty, too. */
  certificates?(options: Readonly<Record<string, unknown>>): CertificatePlaces
  /** May reject: what is missing (such as an optional package) is a fault at load. */
  create(options: unknown, context: ProviderContext): DiscoveryProvider | Promise<DiscoveryProvider>
}

/** A definition whose `create` gets its options as its schema gives them out. */
export function defineProvider<Shape extends z.ZodObject>(definition: {
  readonly kind: string
  readonly options: Shape
  certificates?(options: Readonly<Record<string, unknown>>): CertificatePlaces
  create(options: z.output<Shape>, context: ProviderContext): DiscoveryProvider | Promise<DiscoveryProvider>
}): ProviderDefinition {
  return definition as ProviderDefinition
}
