// Which instances of a service may be used, which of them an upstream takes, and at which port.
import { type EndpointFacts, parseHost } from '../http/address.ts'
import { isPort } from './entry.ts'
import type { Instance } from './provider.ts'
import { finder, passing } from './same.ts'
import { targetFault } from './target.ts'

/** What an upstream says of the instances it wants. */
export interface Wanted {
  /** Labels that an instance must have, all of them. */
  readonly labels: Readonly<Record<string, string>>
  /** A port for all, the name of a port, or none: the registry's. */
  readonly port?: number | string | undefined
}

/** Among so many one is looked for without a table of them. */
const FEW = 64

/** An instance that may be used. */
export interface Candidate {
  readonly instance: Instance
  /** As net.connect takes it: IPv6 without brackets. */
  readonly host: string
  /** As it stands in addresses: IPv6 in brackets. */
  readonly authority: string
}

/** Check what a registry told: it must not send traffic to where none belongs. A string says what is wrong. */
export function checkInstance(instance: Instance, linkLocal: boolean): Candidate | string {
  const { host, port, weight } = instance
  if (typeof host !== 'string') return 'has no address'
  if (port !== 0 && !isPort(port)) return `port ${port} is out of range`
  if (!Number.isFinite(weight) || weight < 0 || weight > 1_000_000) return `weight ${weight} is out of range`
  const parsed = parseHost(host)
  if (typeof parsed === 'string') return parsed
  return targetFault(parsed.host, linkLocal) ?? { instance, host: parsed.host, authority: parsed.authority }
}

/** The order in which instances and endpoints are kept. */
export function byAddress(a: { host: string; port: number }, b: { host: string; port: number }): number {
  if (a.host !== b.host) return a.host < b.host ? -1 : 1
  return a.port - b.port
}

/** The list, or a sorted one where it is in another order: most often a change leaves it as it is. */
function sorted<T>(list: readonly T[], compare: (a: T, b: T) => number): readonly T[] {
  for (let i = 1; i < list.length; i++) if (compare(list[i - 1]!, list[i]!) > 0) return list.toSorted(compare)
  return list
}

/**
 * What was told, by address. Of several at one address the first counts, so those have an order too, whatever order the
 * registry has them in: the heaviest first, and then by all else that is told of them.
 */
export function inOrder(told: readonly Candidate[]): readonly Candidate[] {
  // Made for those that need it, and once: a hostile registry may tell of one address twenty thousand times.
  let rests: Map<Instance, string> | null = null
  const restOf = (instance: Instance) => {
    rests ??= new Map()
    const known = rests.get(instance)
    if (known !== undefined) return known
    const rest = JSON.stringify([instance.labels, instance.ports ?? {}].map(map => Object.entries(map).sort()))
    rests.set(instance, rest)
    return rest
  }
  return sorted(told, ({ instance: a }, { instance: b }) => {
    const order = byAddress(a, b) || b.weight - a.weight
    if (order !== 0) return order
    return restOf(a) < restOf(b) ? -1 : restOf(a) > restOf(b) ? 1 : 0
  })
}

/** An endpoint as an upstream gets it, and what it was made of. */
export class Chosen implements EndpointFacts {
  readonly address: string
  readonly host: string
  readonly port: number
  readonly weight: number
  readonly labels: Readonly<Record<string, string>>
  readonly candidate: Candidate

  constructor(candidate: Candidate, port: number) {
    this.address = `${candidate.authority}:${port}`
    this.host = candidate.host
    this.port = port
    this.weight = candidate.instance.weight
    this.labels = candidate.instance.labels
    this.candidate = candidate
  }
}

/** What comes of a selection. */
export interface Selection {
  /** In the order of their addresses. */
  readonly chosen: readonly Chosen[]
  /** Why nothing was taken though the registry knows instances, fit for a log; null when something was. */
  readonly mismatch: string | null
}

/** The endpoints among what a registry told, each address once; those chosen `before` that nothing changed for stay. */
export function select(told: readonly Candidate[], wanted: Wanted, before: readonly Chosen[]): Selection {
  const labels = Object.entries(wanted.labels)
  const find = finder(before, (one, candidate: Candidate) => one.candidate === candidate)
  const found: Chosen[] = []
  let labelled = 0
  for (const candidate of told) {
    if (labels.length > 0 && !hasLabels(candidate.instance, labels)) continue
    labelled++
    const port = portOf(candidate.instance, wanted.port)
    if (port !== 0) found.push(before[find(candidate)] ?? new Chosen(candidate, port))
  }
  const ordered = sorted(found, byAddress)
  const chosen = passing(ordered, (one, i) => i === 0 || byAddress(ordered[i - 1]!, one) !== 0)
  const none = chosen.length === 0 && told.length > 0
  return { chosen, mismatch: none ? mismatchOf(told.length, labelled, wanted) : null }
}

function hasLabels({ labels }: Instance, wanted: readonly (readonly [string, string])[]): boolean {
  return wanted.every(([name, value]) => Object.hasOwn(labels, name) && labels[name] === value)
}

/** 0 for none. */
function portOf({ port, ports }: Instance, wanted: Wanted['port']): number {
  if (typeof wanted !== 'string') return wanted ?? port
  const named = ports !== undefined && Object.hasOwn(ports, wanted) ? ports[wanted] : 0
  return isPort(named) ? named : 0
}

function mismatchOf(told: number, labelled: number, { labels, port }: Wanted): string {
  // The names alone: a value may be a secret.
  if (labelled === 0) return `none of ${told} instances has the labels wanted (${Object.keys(labels).join(', ')})`
  const what =
    typeof port === 'string' ? `a port named ${JSON.stringify(port)}` : 'a port: `discover.port` has to say it'
  return `none of ${labelled} instances has ${what}`
}

/**
 * Says of endpoints that are chosen no longer whether the registry still tells of them, only otherwise: with other
 * labels, or where ports are named, at another port of the same host. Those are not lost.
 */
export function toldOtherwise(told: readonly Candidate[], { port }: Wanted): (one: Chosen) => boolean {
  const key = (candidate: Candidate, at: number) =>
    candidate.instance.ports === undefined ? `${candidate.authority}:${at}` : candidate.host
  const keyOf = (other: Candidate) => key(other, portOf(other.instance, port))
  // Made when something is missing: mostly nothing is, and among a few one is soon found.
  let known: Set<string> | null = null
  return ({ candidate, port: at }) => {
    const own = key(candidate, at)
    if (told.length <= FEW) return told.some(other => other.host === candidate.host && keyOf(other) === own)
    known ??= new Set(told.map(keyOf))
    return known.has(own)
  }
}
