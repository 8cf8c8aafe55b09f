// DNS as a registry for tests: SRV records in a real dnsmasq, which refuses, freezes or is gone; labels are not known to it.
import { startDnsmasq } from './dnsmasq-process.ts'
import type { Registered, StartRegistry } from './registry.ts'

/** Seconds. */
const TTL = 1

/** Start one, empty. Services are names of one label. */
export const startDnsRegistry: StartRegistry = async t => {
  const server = await startDnsmasq(t, 'local=/#/', 'log-queries')
  const services = new Map<string, readonly Registered[]>()
  let refuses = false
  let polls = 0
  server.onOutput = text => {
    polls += text.match(/query\[SRV\]/g)?.length ?? 0
  }
  const tell = async () => {
    const lines: string[] = []
    for (const [service, instances] of services) {
      for (const [i, { host, port, weight = 1 }] of instances.entries()) {
        lines.push(
          `srv-host=${service},${i}.${service}.test,${port},0,${weight}`,
          `host-record=${i}.${service}.test,${host},${TTL}`,
        )
      }
    }
    // A name that it does not know at all it would ask others for, and it has none.
    await server.know(refuses ? ['log-queries'] : ['local=/#/', 'log-queries', `local-ttl=${TTL}`, ...lines])
  }
  return {
    kind: 'dns',
    options: { type: 'SRV', servers: [server.address] },
    get polls() {
      return polls
    },
    async set(service, instances) {
      services.set(service, instances)
      if (!refuses && server.running) await tell()
    },
    async fail(how) {
      server.thaw()
      if (how === 'stall') return server.freeze()
      if (how === 'reset') return server.kill()
      refuses = how !== null
      await tell()
    },
    stop: () => server.kill(),
  }
}
