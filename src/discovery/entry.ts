// One instance as people and programs write it down: `host:port`, or a map with address, port, weight and labels.
import { type EndpointAddress, joinAddress, parseEndpoint } from '../http/address.ts'
import type { Log } from '../log.ts'
import { isRecord } from '../value-at.ts'
import { asLabels } from './ask.ts'
import type { Instance } from './provider.ts'

/** Largest weight that an upstream takes. */
const MAX_WEIGHT = 1_000_000
/** So many faults are named in one line of the log. */
const NAMED = 5

/** What was read of one service. */
export interface Reading {
  readonly instances: readonly Instance[]
  /** What had to be left out and why, one text each, fit for a log. */
  readonly leftOut: readonly string[]
}

/** One entry; a string says what is wrong with it. A map's `address` holds the port, unless `port` stands beside it. */
export function readEntry(value: unknown): Instance | string {
  if (typeof value === 'string') return instanceAt(parseEndpoint(value.trim()), 1, {})
  if (!isRecord(value)) return 'is neither host:port nor a map'
  const { address, port, weight = 1, labels } = value
  if (typeof address !== 'string') return 'has no address'
  const wrong = wrongLabel(labels)
  if (wrong !== null) return wrong
  if (typeof weight !== 'number' || !(weight >= 0 && weight <= MAX_WEIGHT))
    return `has a weight that is no number between 0 and ${MAX_WEIGHT}`
  if (port === undefined || port === null) return instanceAt(parseEndpoint(address), weight, labels)
  if (!isPort(port)) return 'has a port that is no number between 1 and 65535'
  return instanceAt(joinAddress(address, port), weight, labels)
}

/** What is wrong with the labels that stand in an entry, or null. */
function wrongLabel(labels: unknown): string | null {
  if (labels === undefined || labels === null) return null
  if (!isRecord(labels)) return 'has labels that are no map'
  for (const [name, value] of Object.entries(labels)) {
    if (!['string', 'number', 'boolean'].includes(typeof value))
      return `has a label ${name.slice(0, 100)} that is no text`
  }
  return null
}

/** True for numbers that an instance may listen at. */
export function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535
}

function instanceAt(at: EndpointAddress | string, weight: number, labels: unknown): Instance | string {
  if (typeof at === 'string') return at
  return { host: at.host, port: at.port, weight, labels: asLabels(labels) }
}

/** The first of them for a line of the log, the same in whatever order they come: many registries turn theirs each time. */
export function firstFaults(faults: readonly string[]): string {
  return [...faults]
    .sort()
    .slice(0, NAMED)
    .map(fault => fault.slice(0, 200))
    .join('; ')
}

/** Tells the log what had to be left out of answers: when that changes, not at every poll. */
export class LeftOut {
  readonly #registry: string
  readonly #log: Log
  /** By service. */
  readonly #told = new Map<string, string>()

  constructor(registry: string, log: Log) {
    this.#registry = registry
    this.#log = log
  }

  /** Nobody asks for this service any more. */
  forget(service: string): void {
    this.#told.delete(service)
  }

  tell(service: string, leftOut: readonly string[]): void {
    if (leftOut.length === 0) {
      this.#told.delete(service)
      return
    }
    const text = firstFaults(leftOut)
    if (this.#told.get(service) === text) return
    this.#told.set(service, text)
    this.#log.warn('discovery told entries that cannot be read', {
      registry: this.#registry,
      service,
      count: leftOut.length,
      leftOut: text,
    })
  }
}
