// etcd as a registry for tests: a real one behind a relay, which answers in its place what no etcd would.
import { startEtcd } from './etcd-process.ts'
import type { Registered, StartRegistry } from './registry.ts'
import { startRelay } from './relay.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
/** etcd takes no more in one transaction. */
const MAX_OPERATIONS = 128

function http(status: string, type: string, body: string, length = body.length): string {
  return `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n${body}`
}

/** What the relay answers by itself. */
const ANSWERS: Readonly<Record<string, string>> = {
  'status-500': http('500 Internal Server Error', 'application/json', '{"error":"etcdserver: no leader"}'),
  html: http('200 OK', 'text/html', '<!doctype html><title>Welcome</title>'),
  'half-json': http('200 OK', 'application/json', '{"header":{"revision":"1"},"kvs":[{"key":"L3N'),
  huge: http('200 OK', 'application/json', `{"header":"${'x'.repeat(17 * 1024 * 1024)}"}`),
}

/** The JSON that the provider reads. */
export function entryOf({ host, port, weight = 1, labels = {} }: Registered): string {
  return JSON.stringify({ address: host, port, weight, labels })
}

/** Start one, empty. */
export const startEtcdRegistry: StartRegistry = async t => {
  const etcd = await startEtcd(t)
  const relay = await startRelay(t, new URL(etcd.url).host)
  const known = new Map<string, ReadonlySet<string>>()
  let polls = 0
  relay.onData = data => {
    if (data.includes('POST /v3/kv/range ')) polls++
  }
  return {
    kind: 'etcd',
    options: { address: `http://${relay.address}` },
    get polls() {
      return polls
    },
    async set(service, instances) {
      const entries = new Map(instances.map(one => [`/services/${service}/${one.host}:${one.port}`, entryOf(one)]))
      const gone = [...(known.get(service) ?? [])].filter(key => !entries.has(key))
      const operations = [
        ...[...entries].map(([key, value]) => ({ request_put: { key: base64(key), value: base64(value) } })),
        ...gone.map(key => ({ request_delete_range: { key: base64(key) } })),
      ]
      for (let at = 0; at < operations.length; at += MAX_OPERATIONS) {
        await etcd.ask('kv/txn', { success: operations.slice(at, at + MAX_OPERATIONS) })
      }
      known.set(service, new Set(entries.keys()))
    },
    async fail(how) {
      relay.stall(how === 'stall')
      relay.reset(how === 'reset')
      relay.answer(how === null ? null : (ANSWERS[how] ?? null))
    },
    stop: async () => {
      await relay.close()
      await etcd.kill()
    },
  }
}
