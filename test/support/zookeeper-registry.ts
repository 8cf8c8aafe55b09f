// ZooKeeper as a registry for tests: a real one behind a relay; whatever is wrong over HTTP is nonsense on its wire.
import { entryOf } from './etcd-registry.ts'
import type { StartRegistry } from './registry.ts'
import { startRelay } from './relay.ts'
import { startZookeeper } from './zookeeper-process.ts'

const GET_CHILDREN2 = 12

const NONSENSE: Readonly<Record<string, string>> = {
  'status-500': 'HTTP/1.1 500 Internal Server Error\r\n\r\n',
  html: '<!doctype html><title>Welcome</title>',
  'half-json': '{"address":"10.0',
  huge: '\u007f'.repeat(17 * 1024 * 1024),
}

/** Questions for children among the requests in `data`, each with its length, a number and its kind before it. */
function countAsked(data: Buffer): number {
  let count = 0
  for (let at = 0; at + 12 <= data.length; at += 4 + Math.max(0, data.readInt32BE(at))) {
    if (data.readInt32BE(at + 8) === GET_CHILDREN2) count++
  }
  return count
}

/** Start one, empty. */
export const startZookeeperRegistry: StartRegistry = async t => {
  const zookeeper = await startZookeeper(t)
  const relay = await startRelay(t, zookeeper.address)
  let polls = 0
  relay.onData = data => {
    polls += countAsked(data)
  }
  return {
    kind: 'zookeeper',
    options: { address: relay.address },
    get polls() {
      return polls
    },
    set: (service, instances) =>
      zookeeper.replace(
        `/services/${service}`,
        new Map(instances.map(one => [`${one.host}:${one.port}`, entryOf(one)])),
      ),
    async fail(how) {
      relay.stall(how === 'stall')
      relay.reset(how === 'reset')
      relay.answer(how === null ? null : (NONSENSE[how] ?? null))
    },
    stop: async () => {
      await relay.close()
      await zookeeper.kill()
    },
  }
}
