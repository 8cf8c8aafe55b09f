// What the limiter in memory costs a request: key, decision and headers, in nanoseconds of processor time and bytes of garbage; and a bare hit.
import rateLimit from '../../plugins/rate-limit/index.ts'
import { Exchange } from '../../src/exchange/exchange.ts'
import { Slot } from '../../src/exchange/slot.ts'
import type { PluginContext } from '../../src/pipeline/plugin.ts'
import { MemoryStore } from '../../src/store/memory.ts'

const REQUESTS = 3_000_000
const store = new MemoryStore()
const context: PluginContext = {
  route: null,
  site: 'bench',
  baseDir: '.',
  upstreams: new Set(),
  slot: <T>() => new Slot<T>(0),
  store: () => store,
  shared() {
    throw new Error('nothing is shared')
  },
  counter: () => () => {},
  log() {},
}

/** As many exchanges as may be under way, used in turn: only what the plugin reads. */
const exchanges = Array.from({ length: 64 }, (_, i) => ({
  slots: [],
  clientIp: `10.0.${i >> 3}.${i & 7}`,
  requestId: 'id',
  route: { name: 'all' },
  response: { status: 200, headers: [] as string[] },
  proven: null,
  addProven: Exchange.prototype.addProven,
})) as unknown as Exchange[]

function measure(what: string, run: (count: number) => void): void {
  run(1_000_000)
  const heap = process.memoryUsage().heapUsed
  const start = process.cpuUsage()
  run(REQUESTS)
  const { user, system } = process.cpuUsage(start)
  const nanoseconds = ((user + system) * 1e3) / REQUESTS
  const bytes = Math.max(0, process.memoryUsage().heapUsed - heap) / REQUESTS
  console.log(`${what.padEnd(56)} ${nanoseconds.toFixed(0)} ns  ${bytes.toFixed(2)} B`)
}

const limits = [{ limit: 1_000_000_000, window: 60_000, burst: 1_000_000_000 }]
const counter = store.counter({ id: 'hit', algorithm: 'sliding-window', limits, maxKeys: 1_000_000, lease: 0 })
measure('hit', count => {
  for (let i = 0; i < count; i++) counter.hit(exchanges[i & 63]!.clientIp, 1)
})

for (const options of [
  { limit: 1_000_000_000 },
  { limit: 1 },
  { limit: 1_000_000_000, algorithm: 'token-bucket' },
  {
    limits: [
      { limit: 1_000_000_000, window: '1s' },
      { limit: 1_000_000_000, window: '1h' },
    ],
  },
]) {
  const plugin = rateLimit.create(rateLimit.options.parse(options), context)
  measure(JSON.stringify(options).slice(0, 56), count => {
    for (let i = 0; i < count; i++) {
      const x = exchanges[i & 63]!
      plugin.onRequest!(x)
      plugin.onResponse!(x)
      x.response!.headers.length = 0
    }
  })
  plugin.close?.()
}
