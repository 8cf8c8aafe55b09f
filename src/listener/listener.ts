// What a listener is: its options as they stand in the YAML, and what an engine makes of them.
import { isIPv6 } from 'node:net'
import { z } from 'zod'
import { isHost } from '../http/address.ts'
import type { Receiver } from '../http/downstream.ts'
import { absentKeys, duration, label, size } from '../units.ts'
import type { Door } from './handover.ts'

/** What can be listened on: an address of this machine, or a name that comes to one. */
export function listenHost() {
  return z
    .string()
    .min(1)
    .refine(text => text === '' || isIPv6(text) || isHost(text.toLowerCase()), {
      error: 'an address or a host name is due, such as 127.0.0.1, "::" or localhost; the port has its own line',
    })
}

const NOT_HERE = 'this version has no TLS on listeners; end it in front of the gateway'

/** What this version's listeners cannot do. */
const absent = {
  tls: NOT_HERE,
  ssl: NOT_HERE,
  http2: 'this version has no HTTP/2 on listeners',
  proxyProtocol: 'this version reads no PROXY protocol; X-Forwarded-For of trustedProxies is believed',
}

/** One entry under `listeners:`. */
export const listenerOptions = z
  .strictObject({
    name: label().describe('Unique name of the listener.'),
    host: listenHost().default('127.0.0.1').describe('Address to listen on; 0.0.0.0 or :: for all.'),
    port: z.int().min(0).max(65535).describe('Port; 0 takes any free one, printed at start.'),
    engine: z
      .enum(['native', 'uws'])
      .default('native')
      .describe('native (complete, no native binary) or uws (uWebSockets.js).'),
    limits: z
      .strictObject({
        headers: size(256)
          .default(16 * 1024)
          .describe('Largest request head; 431 past it.'),
        headerCount: z.int().min(1).max(10_000).default(100).describe('Most header fields; 431 past it.'),
        body: z
          .union([z.literal('unlimited'), size()])
          .default(10 * 1024 * 1024)
          .describe('Largest request body, 413 past it; `unlimited` streams any size.'),
        pipelining: z
          .int()
          .min(1)
          .max(100)
          .default(10)
          .describe('Most safe requests of a connection that are under way at once; others wait their turn.'),
      })
      .prefault({})
      .describe('What a request may take up.'),
    timeouts: z
      .strictObject({
        idle: duration(1).default(60_000).describe('A keep-alive connection without a request closes after this.'),
        requestHeader: duration(1)
          .default(10_000)
          .describe('A head must be complete this long after its first byte; 408 past it.'),
      })
      .prefault({})
      .describe('How long a client may take.'),
    paths: z
      .strictObject({
        encodedSlash: z
          .enum(['refuse', 'keep'])
          .default('refuse')
          .describe('%2F in a path: refuse with 400, or keep it as part of a segment.'),
      })
      .prefault({})
      .describe('How paths are read.'),
  })
  .register(absentKeys, absent)

/** Checked options of one listener: durations in milliseconds, sizes in bytes. */
export type ListenerOptions = z.output<typeof listenerOptions>

/** Request bodies larger than this are refused, in bytes. */
export function bodyLimit(options: ListenerOptions): number {
  return options.limits.body === 'unlimited' ? Number.POSITIVE_INFINITY : options.limits.body
}

/** A listener that accepts connections. */
export interface Listener extends Door {
  readonly name: string
  readonly host: string
  /** What is printed at start: `native`, or `uws (…)` with how the library was loaded. */
  readonly engine: string
  /** Connections open now. */
  readonly connections: number
  /** Take other limits and timeouts, for connections from now on; address and engine stay. */
  reconfigure(options: ListenerOptions): void
  /** Stop accepting and close idle connections; others close after their current answer. Resolves when none is left. */
  drain(): Promise<void>
  /** Close everything at once. */
  destroy(): void
}

/** Turns sockets into `(RequestHead, Downstream)`. */
export interface Engine {
  /**
   * Calls `makeWay` right before it takes the port, when nothing else is left to be waited for. Rejects with an Error
   * whose `code` is the system's when it cannot listen.
   */
  listen(options: ListenerOptions, receiver: Receiver, makeWay?: () => void): Promise<Listener>
}
