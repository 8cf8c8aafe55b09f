// Which instances of a service an upstream takes, and at which port.
import { type EndpointFacts, joinAddress } from '../http/address.ts'
import type { Instance } from './provider.ts'
import { targetFault } from './target.ts'

/** What an upstream says of the instances it wants. */
export interface Wanted {
  /** Labels that an instance must have, all of them. */
  readonly labels: Readonly<Record<string, string>>
  /** A port for all, the name of a port, or none: the registry's. */
  readonly port?: number | string | undefined
}

/** The endpoints among `instances`, in the order of their addresses, each address once. */
export function select(instances: readonly Instance[], { labels, port }: Wanted): EndpointFacts[] {
  const wanted = Object.entries(labels)
  const found = new Map<string, EndpointFacts>()
  for (const instance of instances) {
    if (!wanted.every(([name, value]) => Object.hasOwn(instance.labels, name) && instance.labels[name] === value))
      continue
    const number = typeof port === 'string' ? (instance.ports?.[port] ?? 0) : (port ?? instance.port)
    const address = joinAddress(instance.host, number)
    if (typeof address === 'string' || found.has(address.address)) continue
    found.set(address.address, { ...address, weight: instance.weight, labels: instance.labels })
  }
  return [...found.values()].sort((a, b) => (a.address < b.address ? -1 : 1))
}

/** What is wrong with an instance that a registry told, or null: it must not send traffic to where none belongs. */
export function instanceFault(instance: Instance, linkLocal: boolean): string | null {
  const { host, port, weight } = instance
  if (typeof host !== 'string') return 'has no address'
  if (!Number.isInteger(port) || port < 0 || port > 65535) return `port ${port} is out of range`
  if (!Number.isFinite(weight) || weight < 0 || weight > 1_000_000) return `weight ${weight} is out of range`
  const address = joinAddress(host, port === 0 ? 1 : port)
  if (typeof address === 'string') return address
  return targetFault(host, linkLocal)
}
