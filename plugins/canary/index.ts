// canary: which version does a request get? By rules, then by weight, and the same for the same user every time.
import {
  type Attribute,
  compileCondition,
  definePlugin,
  type Exchange,
  type Plugin,
  type PluginContext,
  type Predicate,
  problemReply,
  type Reply,
  type Slot,
} from '../../src/plugin-api.ts'
import { check, DEFAULT_COOKIE, type Options, options, userOf } from './options.ts'
import { BUCKETS, bucketCounts, Split } from './split.ts'
import { drawTicket, TicketCookie } from './ticket.ts'

interface Rule {
  readonly holds: Predicate
  readonly to: string
}

/** In the slot: an upstream was chosen, and no cookie is due. Above it: the ticket to hand out. */
const CHOSEN = -1

class Canary implements Plugin {
  readonly #rules: readonly Rule[]
  readonly #targets: readonly string[]
  readonly #split: Split | null
  /** Who the user is, and who where that is not known; null when it is not asked. */
  readonly #user: Attribute | null
  readonly #otherUser: Attribute | null
  readonly #cookie: TicketCookie | null
  readonly #label: string | null
  readonly #toStable: boolean
  readonly #slot: Slot<number>
  readonly #unavailable: () => void
  readonly #shares: readonly number[]
  /** Requests by target, and by rule. */
  readonly #dealt: number[]
  readonly #ruled: number[]
  /** Only where there is something to say. */
  readonly onResponse?: NonNullable<Plugin['onResponse']>

  constructor({ rules, split, sticky, seed, label, unhealthy }: Options, context: PluginContext) {
    this.#rules = rules.map(({ when, to }) => ({ holds: compileCondition(when), to }))
    this.#targets = split.map(({ to }) => to)
    const weights = split.map(({ weight }) => weight)
    this.#split = split.length === 0 ? null : new Split(weights, seed)
    this.#shares = split.length === 0 ? [] : bucketCounts(weights)
    this.#dealt = split.map(() => 0)
    this.#ruled = rules.map(() => 0)
    const by = sticky?.by ?? 'random'
    const fallback = sticky?.fallback ?? 'random'
    this.#user = userUnless(by)
    this.#otherUser = userUnless(fallback)
    this.#cookie = by === 'cookie' || fallback === 'cookie' ? new TicketCookie(sticky?.cookie ?? DEFAULT_COOKIE) : null
    this.#label = label ?? null
    this.#toStable = unhealthy === 'stable'
    this.#slot = context.slot<number>()
    this.#unavailable = context.counter('unavailable')
    if (this.#label !== null || this.#cookie !== null) this.onResponse = x => this.#tell(x)
  }

  onRequest(x: Exchange): Reply | undefined {
    // A route that answers itself has nowhere to send.
    if (x.upstream === null) return undefined
    const rules = this.#rules
    for (let i = 0; i < rules.length; i++) {
      if (!rules[i]!.holds(x)) continue
      this.#ruled[i]!++
      return this.#send(x, rules[i]!.to, CHOSEN)
    }
    return this.#split === null ? undefined : this.#deal(x, this.#split)
  }

  #deal(x: Exchange, split: Split): Reply | undefined {
    let ticket = CHOSEN
    let target: number
    const user = this.#user?.(x) ?? this.#otherUser?.(x)
    if (user !== undefined) target = split.ofText(user)
    else if (this.#cookie === null) target = split.ofTicket(drawTicket())
    else {
      const brought = this.#cookie.read(x)
      if (brought < 0) ticket = drawTicket()
      target = split.ofTicket(brought < 0 ? ticket : brought)
    }
    this.#dealt[target]!++
    return this.#send(x, this.#targets[target]!, ticket)
  }

  #send(x: Exchange, name: string, ticket: number): Reply | undefined {
    this.#slot.set(x, ticket)
    const before = x.upstream!
    x.routeTo(name)
    if (x.upstream!.available) return undefined
    this.#unavailable()
    // Not left to the upstream: where so few are healthy it uses them all (`panicBelow`).
    if (!this.#toStable) return problemReply(x, 'SLUICE_NO_ENDPOINT')
    x.routeTo(this.#targets[0] ?? before.name)
    return undefined
  }

  #tell(x: Exchange): void {
    const ticket = this.#slot.get(x)
    if (ticket === undefined || x.response === null) return
    // Of a name that was checked with the options, and numbers.
    if (ticket !== CHOSEN) x.addProven(x.response.headers, 'set-cookie', this.#cookie!.text(x, ticket))
    if (this.#label === null) return
    x.removeResponseHeader(this.#label)
    // Where it went in the end: a circuit breaker may have sent it elsewhere.
    x.addResponseHeader(this.#label, x.upstream!.name)
  }

  inspect(): unknown {
    const upstreams = new Map<string, Record<string, unknown>>()
    for (const [i, name] of this.#targets.entries())
      upstreams.set(name, { share: `${this.#shares[i]! / (BUCKETS / 100)}%`, dealt: this.#dealt[i]!, byRule: 0 })
    for (const [i, { to }] of this.#rules.entries()) {
      const facts = upstreams.get(to) ?? { share: '0%', dealt: 0, byRule: 0 }
      upstreams.set(to, { ...facts, byRule: (facts['byRule'] as number) + this.#ruled[i]! })
    }
    return { upstreams: Object.fromEntries(upstreams) }
  }
}

function userUnless(text: string): Attribute | null {
  return text === 'cookie' || text === 'random' ? null : userOf(text)
}

export default definePlugin({
  name: 'canary',
  description: 'Chooses the upstream by rules and weights, and keeps users where they are.',
  options,
  check,
  vouches: true,
  create: (given, context) => new Canary(given, context),
})
