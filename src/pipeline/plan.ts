// The plugins of one route compiled into one list a phase; a phase that nobody takes part in is null.

import type { Predicate } from '../exchange/attribute.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Plugin } from './plugin.ts'

/** One plugin at its place in a plan. */
export class Step {
  readonly plugin: Plugin
  readonly name: string
  readonly when: Predicate | null
  /** Place in the order written. */
  readonly position: number
  /** This step's bit in `Exchange.skipped`; 0 when it always runs. Those of a condition, and those that preflights pass by. */
  readonly bit: number

  constructor(plugin: Plugin, name: string, when: Predicate | null, position: number, bit: number) {
    this.plugin = plugin
    this.name = name
    this.when = when
    this.position = position
    this.bit = bit
  }

  /** True when this plugin takes part in the exchange: its turn came and its condition held. */
  joined(x: Exchange): boolean {
    return this.position < x.reached && (this.bit & x.skipped) === 0
  }
}

/** What a plan is made from. */
export interface PlanMember {
  readonly plugin: Plugin
  readonly name: string
  readonly when: Predicate | null
  /** As of PluginDefinition. */
  readonly vouches?: boolean
}

/** Bits that `Exchange.skipped` has room for. */
export const MAX_CONDITIONAL = 31

/** See the head of this file. Built at load, never changed. */
export class Plan {
  readonly steps: readonly Step[]
  /** Members of the request phase: those with `onRequest`, and those whose condition is decided there. */
  readonly request: readonly Step[] | null
  readonly attempt: readonly Step[] | null
  readonly outcome: readonly Step[] | null
  /** In reverse order. */
  readonly response: readonly Step[] | null
  readonly requestChunk: readonly Step[] | null
  /** In reverse order. */
  readonly responseChunk: readonly Step[] | null
  readonly finish: readonly Step[] | null
  /** True when what plugins leave in heads is looked at before it goes out: not all of them vouch for it. */
  readonly checksHeads: boolean
  /** True when a plugin may change the body's length. */
  readonly rewritesRequest: boolean
  readonly rewritesResponse: boolean
  /** True when a plugin answers preflights: those for which its condition holds. */
  readonly preflight: boolean
  /** Those that answer preflights behind one that authenticates, or on a condition; null where the order written will do. */
  readonly preflights: readonly Step[] | null

  /** Throws a RangeError when more than MAX_CONDITIONAL members have a condition, or may be passed by. */
  constructor(members: readonly PlanMember[]) {
    const first = members.findIndex(member => member.plugin.authenticates === true)
    const last = members.findLastIndex(member => member.plugin.preflight === true)
    let conditional = 0
    this.steps = members.map(({ plugin, name, when }, position) => {
      const passedBy = plugin.authenticates === true && position < last
      const bit = when === null && !passedBy ? 0 : 1 << conditional++
      return new Step(plugin, name, when, position, bit)
    })
    if (conditional > MAX_CONDITIONAL)
      throw new RangeError(`at most ${MAX_CONDITIONAL} plugins of a route may have a condition`)
    const backwards = [...this.steps].reverse()
    this.request = some(this.steps, step => step.plugin.onRequest !== undefined || step.when !== null)
    this.attempt = some(this.steps, step => step.plugin.onAttempt !== undefined)
    this.outcome = some(this.steps, step => step.plugin.onOutcome !== undefined)
    this.response = some(backwards, step => step.plugin.onResponse !== undefined)
    this.requestChunk = some(this.steps, step => step.plugin.onRequestChunk !== undefined)
    this.responseChunk = some(backwards, step => step.plugin.onResponseChunk !== undefined)
    this.finish = some(backwards, step => step.plugin.onFinish !== undefined)
    this.checksHeads = members.some(member => member.vouches !== true)
    this.rewritesRequest = this.requestChunk?.some(step => step.plugin.rewrites === true) ?? false
    this.rewritesResponse = this.responseChunk?.some(step => step.plugin.rewrites === true) ?? false
    const answering = this.steps.filter(({ plugin }) => plugin.preflight === true && plugin.onRequest !== undefined)
    this.preflight = answering.length > 0
    this.preflights = some(answering, step => step.when !== null || (first >= 0 && step.position > first))
  }
}

function some(steps: readonly Step[], takesPart: (step: Step) => boolean): readonly Step[] | null {
  const members = steps.filter(takesPart)
  return members.length === 0 ? null : members
}
