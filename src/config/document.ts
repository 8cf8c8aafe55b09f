// The outline of the whole YAML file: every section's schema, put together from its owners.
import { z } from 'zod'
import { discoveryOptions } from '../discovery/options.ts'
import { parseCidr } from '../http/cidr.ts'
import { listenerOptions, listenHost } from '../listener/listener.ts'
import { pluginList } from '../pipeline/entry.ts'
import { routeOptions } from '../route/options.ts'
import { MEMORY_STORE, storeOptions } from '../store/kinds.ts'
import { duration } from '../units.ts'
import { upstreamName, upstreamOptions } from '../upstream/options.ts'

/** `admin` where it is a map. */
export const adminListener = z.strictObject({
  host: listenHost().default('127.0.0.1').describe('Address of the admin pages; keep them off the public net.'),
  port: z.int().min(0).max(65535).default(9901).describe('Port of the admin pages; 0 takes any free one.'),
})

const admin = z
  .union([z.literal('off'), z.literal(false), adminListener], {
    error: 'a map with host and port, or off, is due',
  })
  .prefault({})
  .transform(given => (typeof given === 'object' ? given : null))
  .describe('The admin pages: /healthz /readyz /metrics /config /routes /upstreams; `off` closes them.')

/** A name that records are keyed by. */
const storeName = upstreamName.refine(name => name !== MEMORY_STORE, {
  error: '`memory` exists without being declared; take another name',
})

/** The whole file. Output: milliseconds, bytes, plain data that passes between threads; plugins' options stay raw. */
export const document = z.strictObject({
  listeners: z
    .array(listenerOptions, { error: 'a list of listeners is due' })
    .min(1, { error: 'at least one listener is due' })
    .describe('Where clients connect.'),
  admin,
  stateDir: z
    .string()
    .min(1)
    .optional()
    .describe('Folder for what outlives a restart, such as the last good discovery; relative to the YAML file.'),
  shutdown: z
    .strictObject({
      grace: duration().default(30_000).describe('How long requests in flight may take to finish at shutdown.'),
    })
    .prefault({})
    .describe('How the gateway ends.'),
  trustedProxies: z
    .array(
      z.string().refine(text => parseCidr(text) !== null, {
        error: 'an IP address or network is due, such as 10.0.0.0/8, 192.0.2.1 or fd00::/8',
      }),
      { error: 'a list of addresses and networks is due' },
    )
    .default([])
    .describe('Peers whose X-Forwarded-For, -Proto and -Host are believed; nobody unless named.'),
  stores: z
    .record(storeName, storeOptions, { error: 'a map of name to store is due' })
    .default({})
    .describe('Shared stores for counters; `memory` exists without being declared.'),
  discovery: z
    .record(z.string(), discoveryOptions, { error: 'a map of name to registry is due' })
    .default({})
    .describe('Registries to ask for endpoints, by name.'),
  upstreams: z
    .record(upstreamName, upstreamOptions, { error: 'a map of name to upstream is due' })
    .default({})
    .describe('Services that requests are forwarded to, by name.'),
  plugins: pluginList.default([]).describe("Plugins on every route, before the route's own, in this order."),
  routes: z
    .array(routeOptions, { error: 'a list of routes is due' })
    .default([])
    .describe('What to do with which request. The most specific match wins; among equals the order written.'),
})

/** The checked configuration. Frozen, plain, JSON-cloneable. */
export type Config = z.output<typeof document>
