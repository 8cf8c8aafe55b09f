// A named group of endpoints with its balancer and its settings.

import type { EndpointFacts } from '../http/address.ts'
import { BALANCERS } from './balance/algorithms.ts'
import type { Balancer } from './balance/balancer.ts'
import { Endpoint } from './endpoint.ts'
import type { UpstreamOptions } from './options.ts'
import { Http1Pool, readTlsFile } from './transport/pool.ts'
import type { TransportOptions, TransportTls } from './transport/transport.ts'

/** Lives across reloads for as long as its options stay the same. */
export class Upstream {
  readonly name: string
  options: UpstreamOptions
  /** Swapped by one assignment when the endpoints change. */
  balancer: Balancer
  /** True while some endpoint may be picked. Settled whenever the endpoints change, so that asking costs nothing. */
  available: boolean
  readonly #transport: TransportOptions

  /** Throws when a certificate file cannot be read: security that cannot be had must not be left out. */
  constructor(name: string, options: UpstreamOptions, tlsDir: (path: string) => string) {
    this.name = name
    this.options = options
    this.#transport = {
      scheme: options.scheme,
      tls: options.scheme === 'https' ? loadTls(options.tls, tlsDir) : null,
      connections: options.connections,
      timeouts: options.timeouts,
    }
    this.balancer = BALANCERS[options.balance](options.endpoints.map(facts => this.#endpoint(facts)))
    this.available = anyUsable(this.balancer)
  }

  /** False when a certificate file was renewed since it was read. Throws when one can no longer be read. */
  certificatesCurrent(tlsDir: (path: string) => string): boolean {
    if (this.options.scheme !== 'https') return true
    return JSON.stringify(loadTls(this.options.tls, tlsDir)) === JSON.stringify(this.#transport.tls)
  }

  /** Take over options that differ in nothing but their endpoints. */
  reconfigure(options: UpstreamOptions): void {
    const before = this.options.endpoints
    this.options = options
    if (JSON.stringify(before) !== JSON.stringify(options.endpoints)) this.update(options.endpoints)
  }

  /** Set the endpoints: those known before keep their connections and numbers, those gone finish what they have. */
  update(endpoints: readonly EndpointFacts[]): void {
    const known = new Map(this.balancer.endpoints.map(endpoint => [endpoint.address, endpoint]))
    const next: Endpoint[] = []
    for (const facts of endpoints) {
      const kept = known.get(facts.address)
      if (kept === undefined) next.push(this.#endpoint(facts))
      else {
        known.delete(facts.address)
        kept.weight = facts.weight
        kept.labels = facts.labels
        next.push(kept)
      }
    }
    this.balancer = BALANCERS[this.options.balance](next)
    this.available = anyUsable(this.balancer)
    for (const gone of known.values()) gone.pool.close()
  }

  #endpoint(facts: EndpointFacts): Endpoint {
    return new Endpoint(facts, new Http1Pool(facts.host, facts.port, this.#transport))
  }

  /** The Host field for an attempt: the client's, the endpoint's or a literal. */
  hostFor(endpoint: Endpoint, clientHost: string): string {
    const host = this.options.host
    if (host === 'pass') return clientHost === '' ? endpoint.address : clientHost
    return host === 'endpoint' ? endpoint.address : host
  }

  /** Let go of all connections; requests in flight finish. */
  close(): void {
    for (const endpoint of this.balancer.endpoints) endpoint.pool.close()
  }
}

function anyUsable({ endpoints }: Balancer): boolean {
  return endpoints.some(endpoint => endpoint.weight > 0)
}

function loadTls(options: UpstreamOptions['tls'], resolve: (path: string) => string): TransportTls {
  const read = (path: string | undefined) => (path === undefined ? null : readTlsFile(resolve(path)))
  return {
    ca: read(options?.ca),
    cert: read(options?.cert),
    key: read(options?.key),
    verify: options?.verify ?? true,
    servername: options?.servername ?? null,
  }
}
