// Finding endpoints among others, with a table of them only where there are many: most upstreams have few, and many of those may change.
import type { Endpoint } from './endpoint.ts'

/** Up to so many are looked through. */
const FEW = 64

/** Finds one of them by its address. */
export function finder(endpoints: readonly Endpoint[]): (address: string) => Endpoint | undefined {
  if (endpoints.length <= FEW) return address => endpoints.find(endpoint => endpoint.address === address)
  const known = new Map<string, Endpoint>()
  for (const endpoint of endpoints) known.set(endpoint.address, endpoint)
  return address => known.get(address)
}

/** Of some endpoints those that are not among the others. */
export function without(endpoints: readonly Endpoint[], others: readonly Endpoint[]): readonly Endpoint[] {
  if (others.length <= FEW) return endpoints.filter(endpoint => !others.includes(endpoint))
  const there = new Set(others)
  return endpoints.filter(endpoint => !there.has(endpoint))
}
