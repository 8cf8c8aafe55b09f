// The options of an upstream as they stand in the YAML: its endpoints, connections, timeouts and how one is picked.
import { z } from 'zod'
import { type EndpointAddress, parseEndpoint } from '../http/address.ts'
import { isHostField } from '../http1/framing.ts'
import { meant } from '../nearest.ts'
import { duration, tlsOptions, together, untold, whereSound } from '../units.ts'
import { healthOptions } from './health/options.ts'

/** The balancers by name; upstream/balance holds one file for each. */
const BALANCER_NAMES = ['round-robin', 'least-request', 'peak-ewma', 'ring-hash', 'random'] as const

const balanceFault = ({ input }: { readonly input?: unknown }) =>
  `${BALANCER_NAMES.join(', ')} or a module such as ./sticky.ts is due${meant(input, BALANCER_NAMES)}`

/** True for a balancer that is a module beside the YAML file. */
export function isUserBalancer(name: string): boolean {
  return name.startsWith('./')
}

const address = z
  .string({ error: 'host:port is due, such as 127.0.0.1:9001 (in quotes)' })
  .superRefine((text, context) => {
    const parsed = parseEndpoint(text)
    if (typeof parsed === 'string') context.addIssue({ code: 'custom', message: parsed })
  })
  .describe('host:port of the endpoint; IPv6 in brackets.')

const weight = z
  .number()
  .min(0)
  .max(1_000_000)
  .default(1)
  .describe('Share of the requests beside the others; 0 sends none.')

/** One entry under `endpoints:`, either form made into one. */
const endpointOptions = z
  .union([
    address,
    z.strictObject({
      address,
      weight,
      labels: z
        .record(z.string(), z.string({ error: 'a label is text; put numbers in quotes' }))
        .default({})
        .describe('Labels of the endpoint, such as its version.'),
    }),
  ])
  .transform(given => {
    const full = typeof given === 'string' ? { address: given, weight: 1, labels: {} } : given
    return { ...(parseEndpoint(full.address) as EndpointAddress), weight: full.weight, labels: full.labels }
  })

const tls = tlsOptions('upstream')
  .extend({
    servername: z
      .string()
      .min(1)
      .optional()
      .describe('Name to ask for (SNI) and to find in the certificate; without it, the host of the endpoint.'),
  })
  .refine(...together('cert', 'key'))

const PORT = 'a port, or the name of one, is due'
const HOST_FAULT = 'pass, endpoint or a literal host is due'

/** `Pass` and `Endpoint` would be the Host that the service sees. */
function isMistyped(host: string): boolean {
  return /^(?:pass|endpoint)$/i.test(host) && host !== host.toLowerCase()
}

const discover = z.strictObject({
  from: z.string().min(1).describe('Name of a registry under `discovery:`.'),
  service: z
    .string()
    .min(1)
    .max(512)
    // It becomes part of URLs and paths.
    .refine(text => !text.split('/').some(part => part === '.' || part === '..'), {
      error: 'must not be a way up (..)',
    })
    .describe('What the registry calls the service.'),
  labels: z
    .record(z.string(), z.string({ error: 'a label is text; put numbers in quotes' }))
    .default({})
    .describe('Labels that an instance must have to be taken.'),
  port: z
    .union([z.int().min(1).max(65_535), z.string().regex(/\D/, { error: PORT })], { error: PORT })
    .optional()
    .describe("Port of every instance, or its name; without it the registry's."),
})

/** One entry under `upstreams:`. */
export const upstreamOptions = z
  .strictObject({
    endpoints: z
      .array(endpointOptions, { error: 'a list of endpoints is due' })
      .superRefine(
        (list, context) => {
          const seen = new Map<string, number>()
          for (const [i, endpoint] of list.entries()) {
            // Beside sound ones there may be what is no endpoint: it was told.
            const given: string | undefined = endpoint?.address
            if (given === undefined) continue
            const first = seen.get(given)
            if (first === undefined) seen.set(given, i)
            else context.addIssue({ code: 'custom', message: `is the same address as endpoints[${first}]`, path: [i] })
          }
        },
        { when: whereSound() },
      )
      .optional()
      .describe('Where the service runs: host:port, or a map with address, weight and labels.'),
    discover: discover.optional().describe('Where a registry says that the service runs; instead of `endpoints`.'),
    scheme: z.enum(['http', 'https']).default('http').describe('How to talk to the endpoints.'),
    tls: tls.optional().describe('How to trust the endpoints; for scheme https.'),
    balance: z
      .union([z.enum(BALANCER_NAMES), z.string().regex(/^\.\/./, { error: balanceFault })], { error: balanceFault })
      .default('round-robin')
      .describe(
        'How an endpoint is picked: round-robin (smooth, weighted), least-request (two choices), peak-ewma (latency), ring-hash (by `hashOn`), random (weighted), or a module beside the YAML file.',
      ),
    hashOn: z
      .string()
      .min(1)
      .optional()
      .describe('Attribute that ring-hash goes by, such as client.ip (its default), header.x-user or cookie.id.'),
    host: z
      .string()
      .regex(/^[^\s/?#@\\$]+$/, { error: HOST_FAULT })
      .refine(text => isHostField(text) && !text.endsWith(':'), { error: HOST_FAULT, when: untold })
      .refine(text => !isMistyped(text), {
        error: ({ input }) => `${HOST_FAULT}${meant(input, ['pass', 'endpoint'])}`,
        when: untold,
      })
      .default('pass')
      .describe("Host that the endpoints see: pass (the client's), endpoint (its own address) or a literal."),
    connections: z
      .strictObject({
        max: z.int().min(1).max(65_535).default(256).describe('Most connections to one endpoint.'),
        pending: z.int().min(0).max(1_000_000).default(1024).describe('Most requests that wait for one; 503 past it.'),
        idle: duration(1).default(30_000).describe('An unused connection closes after this.'),
      })
      .prefault({})
      .describe('Connections kept to each endpoint.'),
    timeouts: z
      .strictObject({
        connect: duration(1).default(5_000).describe('Until the connection stands.'),
        response: duration(1).default(30_000).describe("From the sent request to the answer's head."),
        idle: duration(1).default(60_000).describe('Between two pieces of a body, both ways.'),
      })
      .prefault({})
      .describe('How long the endpoints may take.'),
    health: healthOptions.optional().describe('How endpoints that do not work are found and left out.'),
    slowStart: duration().prefault('0s').describe('How long an endpoint that comes (back) takes to its full share.'),
  })
  .refine(given => (given.endpoints === undefined) !== (given.discover === undefined), {
    error: 'either endpoints or discover is due',
    when: whereSound(),
  })
  .refine(given => given.tls === undefined || given.scheme === 'https', {
    error: 'tls needs `scheme: https`',
    path: ['tls'],
    when: whereSound('scheme'),
  })

/** Checked options of one upstream: durations in milliseconds, addresses taken apart. Plain data. */
export type UpstreamOptions = z.output<typeof upstreamOptions>

/** A name under `upstreams:`, safe in logs, metric labels and the admin pages. */
export const upstreamName = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,128}$/, { error: 'a name is due: letters, digits, dot, dash and underscore' })
