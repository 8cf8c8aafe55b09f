// Ports that a reload hands from one listener to another: two cannot have one port at once, so the first makes way.

import { lookup } from 'node:dns/promises'
import type { AddressInfo, ListenOptions, Server } from 'node:net'

/** What connections come in by: a listener, or the admin pages. */
export interface Door {
  /** The real port. */
  readonly port: number
  /** Close to new connections at once, and to those alone: another may take the port. */
  stopAccepting(): void
  /** Open again what `stopAccepting` closed, at the same address. Rejects with the system's error when it cannot. */
  acceptAgain(): Promise<void>
}

/** The doors that a reload closes, of which some have to close before others can open. */
export class Handover {
  readonly #going: readonly Door[]
  /** Those that gave up their ports; they are open again by `acceptAgain`. */
  readonly madeWay: Door[] = []

  /** `going` are those that the reload takes away. */
  constructor(going: readonly Door[]) {
    this.#going = going
  }

  /** True when somebody has to make way for who takes this port. */
  concerns(port: number): boolean {
    return port !== 0 && this.#going.some(door => door.port === port)
  }

  /** Call right before the port is taken: who connects in between is refused. */
  makeWay(port: number): void {
    for (const door of this.#going) {
      if (door.port !== port || this.madeWay.includes(door)) continue
      door.stopAccepting()
      this.madeWay.push(door)
    }
  }
}

/**
 * Listen, and resolve with the real port. `makeWay` is called right before the port is taken: a name may take seconds to
 * look up, and meanwhile the port must not be nobody's. Rejects with the system's error when it cannot listen.
 */
export async function takePort(server: Server, options: ListenOptions, makeWay: () => void): Promise<number> {
  const { address } = await lookup(options.host!)
  makeWay()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...options, host: address }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return (server.address() as AddressInfo).port
}
