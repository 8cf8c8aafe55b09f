// rate-limit: how often may somebody ask? Counts requests by a key, refuses what is too many, and says so in headers.
import {
  compileAttribute,
  compileKey,
  definePlugin,
  type Exchange,
  problemReply,
  type Reply,
  type Tally,
} from '../../src/plugin-api.ts'
import { unitsOf } from './cost.ts'
import { policyField, retryAfter, standingField, standingHeads } from './fields.ts'
import { check, options, policies } from './options.ts'

export default definePlugin({
  name: 'rate-limit',
  description:
    'Admits so many requests by key in a window, counted in memory or in Redis, and answers 429 to the rest.',
  options,
  check,
  vouches: true,
  create(given, context) {
    const { algorithm, cost, dryRun, key, lease, maxKeys, mode } = given
    const limits = policies(given)
    const counter = context.store(given.store).counter({
      id: JSON.stringify([context.site, key]),
      algorithm,
      limits,
      maxKeys,
      lease: mode === 'lease' ? lease : 0,
    })
    const keyOf = compileKey(key)
    const fixed = typeof cost === 'number' ? cost : 0
    const costOf = typeof cost === 'number' ? null : compileAttribute(cost)
    const slot = context.slot<Tally>()
    const policy = policyField(limits)
    const heads = standingHeads(limits)
    const refused = context.counter(dryRun ? 'would_refuse' : 'refused')
    const local = context.counter('decided_locally')
    const undecided = context.counter('undecided')

    function settle(x: Exchange, tally: Tally): Reply | void {
      slot.set(x, tally)
      if (tally.decider !== 'store') (tally.decider === 'local' ? local : undecided)()
      if (tally.allowed) return
      if (tally.decider === 'nobody') return dryRun ? undefined : problemReply(x, 'SLUICE_STORE_UNAVAILABLE')
      refused()
      if (dryRun) return
      const after = retryAfter(tally)
      return problemReply(x, 'SLUICE_RATE_LIMITED', after === null ? [] : ['retry-after', after])
    }

    return {
      onRequest(x) {
        const tally = counter.hit(keyOf(x), costOf === null ? fixed : unitsOf(costOf(x)))
        return tally instanceof Promise ? tally.then(settled => settle(x, settled)) : settle(x, tally)
      },
      onResponse(x) {
        const tally = slot.get(x)
        if (tally === undefined || x.response === null) return
        // Beside what another limit on the way says: both fields are lists.
        const { headers } = x.response
        // Of numbers, and of names that were checked with the options.
        x.addProven(headers, 'ratelimit-policy', policy)
        if (tally.decider !== 'nobody') x.addProven(headers, 'ratelimit', standingField(heads, tally))
      },
      close() {
        counter.close()
      },
    }
  },
})
