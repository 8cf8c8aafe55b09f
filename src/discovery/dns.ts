// DNS: the addresses of a name, or of the targets of its SRV records, asked of name servers directly (no hosts file, no search list).
import type { RecordWithTtl, SrvRecord } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import { z } from 'zod'
import { parseEndpoint } from '../http/address.ts'
import { abortable } from './abortable.ts'
import { AnswerError } from './ask.ts'
import { LeftOut, type Reading } from './entry.ts'
import { type DiscoveryProvider, defineProvider, type Found, type Instance, type ProviderContext } from './provider.ts'

/** Milliseconds for a first try; the second has twice as long, so both end before the usual timeout of a poll. */
const PATIENCE = 1_000
const TRIES = 2
/** Targets whose addresses are asked for at a time. */
const AT_ONCE = 16
/** What a server says that another may know better. */
const CANNOT = new Set(['ESERVFAIL', 'EREFUSED', 'ENOTIMP', 'EFORMERR'])
/** Underscores begin the labels of SRV names; what c-ares would cut off or read otherwise is no name. */
const NAME = /^(?=.{1,254}$)[\w-]{1,63}(?:\.[\w-]{1,63})*\.?$/

/** Options of `kind: dns`. */
export const dnsOptions = z.strictObject({
  type: z
    .enum(['SRV', 'A', 'AAAA'])
    .optional()
    .describe('Records to ask for. Without it, SRV for a service that begins with `_`, else A and AAAA together.'),
  servers: z
    .array(
      z.string().refine(isServer, {
        error: 'an IP address, or one with a port, is due, such as 10.0.0.2, 127.0.0.1:5353 or [::1]:53',
      }),
    )
    .min(1)
    .optional()
    .describe("Name servers to ask, tried in turn when one fails; without them the system's."),
})

/** node:dns itself ends the process over some ports. */
function isServer(text: string): boolean {
  if (isIP(text) !== 0) return true
  const parsed = parseEndpoint(text)
  return typeof parsed !== 'string' && isIP(parsed.host) !== 0
}

/** What an answer comes to, before the poller. */
export type DnsReading = Reading & { readonly ttl?: number }

/** Addresses without a port: the upstream says it. The least TTL counts. */
export function parseAddresses(records: readonly RecordWithTtl[]): DnsReading {
  const instances = records.map(({ address }) => ({ host: address, port: 0, weight: 1, labels: {} }))
  return { instances, leftOut: [], ...leastTtl(records) }
}

function leastTtl(records: readonly RecordWithTtl[]): { ttl?: number } {
  let least = Number.POSITIVE_INFINITY
  for (const { ttl } of records) if (ttl >= 0) least = Math.min(least, ttl)
  return Number.isFinite(least) ? { ttl: least * 1000 } : {}
}

/**
 * The records that a client goes by: those of the lowest priority, without the root, which says that there is no such
 * service (RFC 2782).
 */
export function pickTargets(records: readonly SrvRecord[]): readonly SrvRecord[] {
  const targets = records.filter(({ name }) => name !== '' && name !== '.')
  const lowest = Math.min(...targets.map(({ priority }) => priority))
  return targets.filter(({ priority }) => priority === lowest)
}

/**
 * Every address of every target, with the port and the weight of its record. Weight 0 becomes 1: beside others that is
 * the share which the draw of RFC 2782 gives it, one in their sum and one, and among themselves all get the same.
 * SRV records have a TTL too, but node:dns does not tell it; the least of the addresses' counts.
 */
export function parseTargets(
  targets: readonly SrvRecord[],
  addresses: ReadonlyMap<string, readonly RecordWithTtl[]>,
): DnsReading {
  const instances: Instance[] = []
  const leftOut: string[] = []
  const used: RecordWithTtl[] = []
  for (const { name, port, weight } of targets) {
    const found = addresses.get(name) ?? []
    if (port === 0 || found.length === 0) {
      leftOut.push(`${name}:${port} ${port === 0 ? 'has no port' : 'has no address'}`)
      continue
    }
    for (const { address } of found) instances.push({ host: address, port, weight: Math.max(1, weight), labels: {} })
    used.push(...found)
  }
  return { instances, leftOut, ...leastTtl(used) }
}

class Dns implements DiscoveryProvider {
  readonly #options: z.output<typeof dnsOptions>
  readonly #leftOut: LeftOut
  /** What was found last of each service, and what that is known by. */
  readonly #last = new Map<string, { readonly key: string; readonly instances: readonly Instance[] }>()

  constructor(options: z.output<typeof dnsOptions>, { name, log }: ProviderContext) {
    this.#options = options
    this.#leftOut = new LeftOut(name, log)
  }

  async poll(service: string, _cursor: string | null, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted()
    if (!NAME.test(service)) throw new AnswerError(`${JSON.stringify(service)} is no name of DNS`)
    const { instances, leftOut, ...ttl } = await this.#ask(service, signal, 0)
    this.#leftOut.tell(service, leftOut)
    return { instances: this.#kept(service, instances), cursor: null, ...ttl }
  }

  /** Ask the servers, the one at `first` before the others, and then those behind it while one answers that it cannot. */
  async #ask(service: string, signal: AbortSignal, first: number): Promise<DnsReading> {
    // One each time: cancelling ends this one's questions alone, and a changed resolv.conf is read.
    const resolver = new Resolver({ timeout: PATIENCE, tries: TRIES })
    const { servers: given, type } = this.#options
    const servers = given ?? resolver.getServers()
    if (given !== undefined || first > 0) resolver.setServers([...servers.slice(first), ...servers.slice(0, first)])
    try {
      const asked = type ?? (service.startsWith('_') ? 'SRV' : undefined)
      return await abortable(asked === 'SRV' ? bySrv(resolver, service) : byName(resolver, service, asked), signal)
    } catch (error) {
      // Node.js goes on to the next server where one does not answer, not where it says that it failed.
      if (first + 1 >= servers.length || !CANNOT.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    } finally {
      // Whatever still waits when one question failed, or nobody wants it any more.
      resolver.cancel()
    }
    return this.#ask(service, signal, first + 1)
  }

  /** The list of the last answer where this one says the same: servers turn the order of records at each question. */
  #kept(service: string, instances: readonly Instance[]): readonly Instance[] {
    const key = instances
      .map(({ host, port, weight }) => `${host} ${port} ${weight}`)
      .sort()
      .join()
    const last = this.#last.get(service)
    if (last?.key === key) return last.instances
    this.#last.set(service, { key, instances })
    return instances
  }

  forget(service: string): void {
    this.#last.delete(service)
    this.#leftOut.forget(service)
  }
}

async function byName(resolver: Resolver, name: string, type: 'A' | 'AAAA' | undefined): Promise<DnsReading> {
  return parseAddresses(await addressesOf(resolver, name, type))
}

async function bySrv(resolver: Resolver, name: string): Promise<DnsReading> {
  const targets = pickTargets(await orNone(resolver.resolveSrv(name)))
  const names = [...new Set(targets.map(target => target.name))].filter(target => NAME.test(target))
  const addresses = new Map<string, readonly RecordWithTtl[]>()
  for (let at = 0; at < names.length; at += AT_ONCE) {
    const some = names.slice(at, at + AT_ONCE)
    const found = await Promise.all(some.map(target => addressesOf(resolver, target)))
    for (const [i, target] of some.entries()) addresses.set(target, found[i]!)
  }
  return parseTargets(targets, addresses)
}

/** A and AAAA unless one is meant. When one of the two fails so does the whole: half of the addresses are no answer. */
async function addressesOf(resolver: Resolver, name: string, type?: 'A' | 'AAAA'): Promise<RecordWithTtl[]> {
  const [four, six] = await Promise.all([
    type === 'AAAA' ? [] : orNone(resolver.resolve4(name, { ttl: true })),
    type === 'A' ? [] : orNone(resolver.resolve6(name, { ttl: true })),
  ])
  return [...four, ...six]
}

/** No such name, and a name without such records, are answers: there are none. All else is a failure. */
async function orNone<T>(records: Promise<T[]>): Promise<T[]> {
  try {
    return await records
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOTFOUND' || code === 'ENODATA') return []
    throw error
  }
}

/** The definition of `kind: dns`. */
export const dns = defineProvider({
  kind: 'dns',
  options: dnsOptions,
  create: (options, context) => new Dns(options, context),
})
