// A plugin that counts its own instances and what each of them saw, in a list with the bundled ones: for tests of reloads.
import bundled from '../../plugins/bundled.ts'
import { definePlugin, type Exchange, type PluginDefinition, z } from '../../src/plugin-api.ts'

/** URL of this module, for the thread that checks a reload. */
export const PLUGINS_URL = import.meta.url

/** One instance from its making to its end. */
export interface Life {
  readonly label: string
  readonly route: string | null
  requests: number
  /** Exchanges begun and not finished. */
  open: number
  closed: number
  /** Exchanges that were not finished when it was closed. */
  openAtClose: number
  /** Phases that ran after it was closed, or found another's state in its slot. */
  faults: string[]
}

/** All instances that this thread has made, in order. */
export const lives: Life[] = []

const options = z.strictObject({ label: z.string().default('') })

const counting = (name: string) =>
  definePlugin({
    name,
    description: 'Counts requests, and says in the answer how many this instance has seen.',
    options,
    create({ label }, { route, slot }) {
      const life: Life = { label, route, requests: 0, open: 0, closed: 0, openAtClose: 0, faults: [] }
      lives.push(life)
      const mine = slot<Life>()
      const look = (x: Exchange, phase: string) => {
        if (life.closed > 0) life.faults.push(`${phase} after close`)
        if (mine.get(x) !== life) life.faults.push(`${phase} found another's state`)
      }
      return {
        onRequest(x) {
          mine.set(x, life)
          look(x, 'onRequest')
          life.requests++
          life.open++
        },
        onResponse(x) {
          look(x, 'onResponse')
          x.addResponseHeader(`x-${name}`, `${label} ${life.requests}`)
        },
        onFinish(x) {
          look(x, 'onFinish')
          life.open--
        },
        close() {
          life.closed++
          life.openAtClose = life.open
        },
      }
    },
  }) as PluginDefinition

/** The bundled plugins, and `count-a`, `count-b`, `count-c`. */
const plugins: readonly PluginDefinition[] = [...bundled, counting('count-a'), counting('count-b'), counting('count-c')]

export default plugins
