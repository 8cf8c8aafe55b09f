// What a closed circuit breaker costs a request: its three phases alone, in nanoseconds and bytes of garbage.
import circuitBreaker from '../../plugins/circuit-breaker/index.ts'
import { Timer, wheel } from '../../src/clock.ts'
import type { Exchange } from '../../src/exchange/exchange.ts'
import { Slot } from '../../src/exchange/slot.ts'
import type { PluginContext } from '../../src/pipeline/plugin.ts'

const REQUESTS = 3_000_000
const context: PluginContext = {
  route: null,
  site: 'bench',
  baseDir: '.',
  upstreams: new Set(['orders']),
  slot: <T>() => new Slot<T>(0),
  store() {
    throw new Error('a breaker counts for itself')
  },
  shared: (_of, make) => make(context),
  counter: () => () => {},
  log() {},
}
// As it is under traffic, when the transports' timers keep the wheel turning.
new Timer(wheel, () => {}).set(600_000)

const endpoints = Array.from({ length: 4 }, (_, i) => ({ address: `127.0.0.1:900${i}` }))
const upstream = { name: 'orders', balancer: { endpoints } }

/** As many exchanges as may be under way, used in turn: only what the plugin reads. */
const exchanges = Array.from({ length: 64 }, (_, i) => ({
  slots: [],
  upstream,
  route: { name: 'all' },
  endpoint: endpoints[i % endpoints.length],
  response: { status: 200, headers: [] },
  exhausted: false,
})) as unknown as Exchange[]

for (const options of [{}, { slowCall: {} }, { calls: 100 }, { scope: 'route' }, { scope: 'endpoint' }]) {
  const plugin = circuitBreaker.create(circuitBreaker.options.parse(options), context)
  const run = (count: number) => {
    for (let i = 0; i < count; i++) {
      const x = exchanges[i % exchanges.length]!
      plugin.onAttempt!(x)
      plugin.onOutcome!(x, null)
      plugin.onFinish!(x, null)
    }
  }
  run(1_000_000)
  const heap = process.memoryUsage().heapUsed
  const start = performance.now()
  run(REQUESTS)
  const nanoseconds = ((performance.now() - start) * 1e6) / REQUESTS
  const bytes = Math.max(0, process.memoryUsage().heapUsed - heap) / REQUESTS
  console.log(`${JSON.stringify(options).padEnd(24)} ${nanoseconds.toFixed(0)} ns  ${bytes.toFixed(2)} B`)
  plugin.close?.()
}
process.exit(0)
