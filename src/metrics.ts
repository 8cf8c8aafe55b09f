// Counters and gauges of the whole process, in Prometheus' text form, with label children resolved at load.
import { Counter, Gauge, Registry } from 'prom-client'

/** What /metrics shows. */
export const registry = new Registry()

const pluginEvents = new Counter({
  name: 'sluice_plugin_events_total',
  help: 'What plugins report, such as refused requests and state changes.',
  labelNames: ['plugin', 'route', 'event'],
  registers: [registry],
})

const reloads = new Counter({
  name: 'sluice_config_reloads_total',
  help: 'Reloads of the configuration by how they went.',
  labelNames: ['result'],
  registers: [registry],
})

const configGood = new Gauge({
  name: 'sluice_config_last_reload_success',
  help: '1 when the configuration file was last read without faults, 0 while a faulty one waits.',
  registers: [registry],
})
configGood.set(1)

/** A counter for one event of one plugin; `route` is empty for a gateway-wide plugin. Resolve at load, call per event. */
export function pluginCounter(plugin: string, route: string, event: string): () => void {
  const child = pluginEvents.labels(plugin, route, event)
  return () => child.inc()
}

/** Note how a reload went. */
export function countReload(good: boolean): void {
  reloads.labels(good ? 'success' : 'faulty').inc()
  configGood.set(good ? 1 : 0)
}
