// A port on 127.0.0.1 for a server that is started later, or for nobody at all.
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'

/**
 * The ports below those that the kernel gives to whoever asks for any: neither an outgoing connection nor a `listen(0)`
 * of another test takes one of them between this answer and its use.
 */
const [LOWEST, BELOW] = [10_000, Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0])]

/** A port on which nobody listens now, and which the kernel gives to nobody by itself. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST, BELOW)
    const server = net.createServer()
    const free = await new Promise<boolean>(resolve => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!free) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
