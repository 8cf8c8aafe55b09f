// concurrency: how much at once? At most so many requests of a key under way, some more waiting, and 503 to the rest.
import {
  checkAttribute,
  compileKey,
  definePlugin,
  duration,
  type Exchange,
  type Plugin,
  type PluginContext,
  problemReply,
  type Reply,
  type Slot,
  z,
} from '../../src/plugin-api.ts'
import { Gate, Gates, Waiter } from './gate.ts'

/** A whole number within these bounds. */
function whole(least: number, most: number) {
  const error = `a whole number from ${least} to ${most} is due`
  return z.int({ error }).min(least, { error }).max(most, { error })
}

const options = z.strictObject({
  max: whole(1, 1_000_000).describe('Requests of one key that may be under way at once.'),
  key: z
    .string()
    .min(1)
    .default('client.ip')
    .describe('Whose requests are counted together: attributes joined with +, or `all`.'),
  queue: whole(0, 1_000_000).default(0).describe('Requests of one key that may wait for a place.'),
  wait: duration(20).prefault('1s').describe('How long one waits at most.'),
  maxKeys: whole(1, 16_000_000)
    .default(100_000)
    .describe('Keys with a request under way; one of yet another key is refused.'),
})

type Options = z.output<typeof options>

function keyOf(text: string): (x: Exchange) => string {
  return text === 'all' ? () => '' : compileKey(text)
}

/** Without jitter on purpose: it is the least that can be said, and the next place may be free at once. */
const RETRY = ['retry-after', '1']

class Concurrency implements Plugin {
  readonly #max: number
  readonly #queue: number
  readonly #wait: number
  readonly #maxKeys: number
  readonly #keyOf: (x: Exchange) => string
  readonly #gates: Gates
  /** The gate that the exchange has a place in, or its place in the queue. */
  readonly #slot: Slot<Gate | Waiter>
  readonly #route: string | null
  readonly #count: Readonly<Record<'refused' | 'timedOut' | 'queued' | 'tooManyKeys', () => void>>

  constructor({ max, key, queue, wait, maxKeys }: Options, context: PluginContext) {
    this.#max = max
    this.#queue = queue
    this.#wait = wait
    this.#maxKeys = maxKeys
    this.#keyOf = keyOf(key)
    // With other numbers after a reload, whoever is under way still counts.
    this.#gates = context.shared([context.site, key], () => new Gates())
    this.#slot = context.slot<Gate | Waiter>()
    this.#route = context.route
    this.#count = {
      refused: context.counter('refused'),
      timedOut: context.counter('timed_out'),
      queued: context.counter('queued'),
      tooManyKeys: context.counter('too_many_keys'),
    }
  }

  onRequest(x: Exchange): Reply | void | Promise<Reply | void> {
    const key = this.#keyOf(x)
    let gate = this.#gates.get(key)
    if (gate === undefined) {
      if (this.#gates.size >= this.#maxKeys) {
        this.#count.tooManyKeys()
        return problemReply(x, 'SLUICE_OVERLOADED', RETRY)
      }
      gate = new Gate(key)
      this.#gates.set(key, gate)
    }
    gate.max = this.#max
    // Whoever waits keeps all places taken, so nobody is overtaken here: unless there are more of them since a reload.
    if (gate.waiting > 0) gate.advance()
    if (gate.running < this.#max) {
      gate.running++
      this.#slot.set(x, gate)
      return
    }
    if (gate.waiting < this.#queue) return this.#await(x, gate)
    this.#count.refused()
    return problemReply(x, 'SLUICE_OVERLOADED', RETRY)
  }

  #await(x: Exchange, gate: Gate): Promise<Reply | void> {
    this.#count.queued()
    return new Promise(done => {
      const waiter = new Waiter(gate, this.#wait, admitted => {
        if (admitted) {
          this.#slot.set(x, gate)
          done()
          return
        }
        this.#forget(x)
        this.#count.timedOut()
        done(problemReply(x, 'SLUICE_OVERLOADED', RETRY))
      })
      gate.enter(waiter)
      this.#slot.set(x, waiter)
    })
  }

  // On every way out: also for one that went away while it waited, or between its turn and its going on.
  onFinish(x: Exchange): void {
    const place = this.#slot.get(x)
    if (place === undefined) return
    this.#forget(x)
    if (place instanceof Waiter) {
      place.gate.leave(place)
      return
    }
    place.release()
    if (place.idle) this.#gates.delete(place.key)
  }

  #forget(x: Exchange): void {
    x.slots[this.#slot.index] = undefined
  }

  inspect(): unknown {
    if (this.#route === null) return null
    let running = 0
    let waiting = 0
    for (const gate of this.#gates.values()) {
      running += gate.running
      waiting += gate.waiting
    }
    return { routes: { [this.#route]: { keys: this.#gates.size, running, waiting } } }
  }
}

export default definePlugin({
  name: 'concurrency',
  description: 'Admits so many requests of a key at once, lets some wait, and answers 503 to the rest.',
  options,
  check({ key }) {
    checkAttribute(['key'], () => keyOf(key))
  },
  vouches: true,
  create: (given, context) => new Concurrency(given, context),
})
