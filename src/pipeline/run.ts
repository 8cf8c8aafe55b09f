// Running the phases of a plan: a plain loop until a plugin returns a promise, and going on where it stopped.
import type { GatewayError } from '../errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { preflightMethod, type Reply } from '../http/head.ts'
import type { Plan, Step } from './plan.ts'
import type { PassOver } from './plugin.ts'

/** What the phases report back to. */
export interface PhaseEnd {
  /** The request phase is over and nobody answered. */
  requestPassed(x: Exchange): void
  /** A plugin answered. */
  answered(x: Exchange, reply: Reply, by: Step): void
  /** The response phase is over. */
  responsePassed(x: Exchange): void
  /** A plugin threw or rejected. */
  pluginFailed(x: Exchange, step: Step, error: unknown): void
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as Promise<unknown> | null)?.then === 'function'
}

/** A phase that must be synchronous was made async: nobody waits for it, but its rejection must not end the process. */
function watch(result: unknown, x: Exchange, step: Step, report: ReportFault): void {
  if (isPromise(result)) result.then(undefined, fault => report(x, step, fault))
}

/** Throws where a phase that something waits for at once was made async; its rejection must not end the process. */
function refuseAsync(result: unknown, phase: string): void {
  if (!isPromise(result)) return
  result.then(undefined, () => {})
  throw new TypeError(`${phase} returned a promise, but this phase is synchronous`)
}

/** Run the request phase; exactly one of the three outcomes is reported, maybe later. */
export function runRequest(plan: Plan, x: Exchange, end: PhaseEnd): void {
  runSteps(plan, x, end, 0, plan.preflights === null ? null : answererOf(plan.preflights, x))
}

/** The step that is to answer a preflight whatever authenticates before it; null for every other request. */
function answererOf(steps: readonly Step[], x: Exchange): Step | null {
  if (preflightMethod(x.head) === undefined) return null
  for (const step of steps) if (step.when === null || step.when(x)) return step
  return null
}

/** True when a plugin of the plan will answer this preflight. Asked to find its route. */
export function answersPreflight({ steps }: Plan, x: Exchange): boolean {
  return steps.some(
    ({ plugin, when }) => plugin.preflight === true && plugin.onRequest !== undefined && (when === null || when(x)),
  )
}

/**
 * From the step at `from`. `answerer` was settled before the first: its condition is not asked again, for a step between
 * could change the answer after authentication has been passed by.
 */
function runSteps(plan: Plan, x: Exchange, end: PhaseEnd, from: number, answerer: Step | null): void {
  const steps = plan.request
  if (steps !== null) {
    for (let i = from; i < steps.length; i++) {
      const step = steps[i]!
      x.reached = step.position + 1
      let result: Reply | void | Promise<Reply | void>
      let promised: boolean
      try {
        if (answerer !== null && step !== answerer && step.plugin.authenticates === true) {
          x.skipped |= step.bit
          continue
        }
        if (step.when !== null && step !== answerer && !step.when(x)) {
          x.skipped |= step.bit
          continue
        }
        if (step.plugin.onRequest === undefined) continue
        result = step.plugin.onRequest(x)
        // What a plugin made may throw at this question, too.
        promised = isPromise(result)
      } catch (error) {
        end.pluginFailed(x, step, error)
        return
      }
      // Plain JavaScript says null as readily as undefined.
      if (result === undefined || result === null) {
        if (step !== answerer) continue
        end.pluginFailed(x, step, new Error(UNANSWERED))
        return
      }
      if (promised) {
        awaitRequest(plan, x, end, i, answerer, result as Promise<Reply | void>)
        return
      }
      end.answered(x, result as Reply, step)
      return
    }
  }
  x.reached = plan.steps.length
  end.requestPassed(x)
}

/** Going on would serve a request that nobody has authenticated. */
const UNANSWERED = 'a plugin that answers preflights has not answered one'

function awaitRequest(
  plan: Plan,
  x: Exchange,
  end: PhaseEnd,
  at: number,
  answerer: Step | null,
  result: Promise<Reply | void>,
): void {
  const step = plan.request![at]!
  // A promise stays itself; of what is only awaited like one it takes what `then` throws, and one outcome.
  Promise.resolve(result).then(
    reply => {
      if (x.finished || x.response !== null) return
      if (reply !== undefined && reply !== null) end.answered(x, reply, step)
      else if (step === answerer) end.pluginFailed(x, step, new Error(UNANSWERED))
      else runSteps(plan, x, end, at + 1, answerer)
    },
    error => {
      if (!x.finished && x.response === null) end.pluginFailed(x, step, error)
    },
  )
}

/**
 * Run the attempt phase, until a plugin answers, passes the endpoint over or changes the upstream. What a plugin throws
 * is reported, and `failed` returned.
 */
export function runAttempt(steps: readonly Step[], x: Exchange, end: PhaseEnd): Reply | PassOver | 'failed' | null {
  const upstream = x.upstream
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!
    if (!step.joined(x)) continue
    try {
      const reply = step.plugin.onAttempt!(x)
      if (reply !== undefined && reply !== null) {
        refuseAsync(reply, 'onAttempt')
        return reply
      }
      if (x.upstream !== upstream) return null
    } catch (error) {
      end.pluginFailed(x, step, error)
      return 'failed'
    }
  }
  return null
}

/** Run the response phase, backwards; reports `responsePassed` or `pluginFailed`, maybe later. */
export function runResponse(steps: readonly Step[], x: Exchange, end: PhaseEnd, from = 0): void {
  for (let i = from; i < steps.length; i++) {
    const step = steps[i]!
    if (!step.joined(x)) continue
    let result: void | Promise<void>
    try {
      result = step.plugin.onResponse!(x)
      if (!isPromise(result)) continue
    } catch (error) {
      end.pluginFailed(x, step, error)
      return
    }
    awaitResponse(steps, x, end, i, result)
    return
  }
  end.responsePassed(x)
}

// On its own, as awaitRequest is: a closure in the loop above would cost every round of it a context.
function awaitResponse(steps: readonly Step[], x: Exchange, end: PhaseEnd, at: number, result: Promise<unknown>): void {
  const head = x.response
  Promise.resolve(result).then(
    () => {
      if (!x.finished && x.response === head) runResponse(steps, x, end, at + 1)
    },
    error => {
      if (!x.finished && x.response === head) end.pluginFailed(x, steps[at]!, error)
    },
  )
}

/** Takes what a plugin threw where nothing of the exchange depends on it any more. */
export type ReportFault = (x: Exchange, step: Step, error: unknown) => void

/** Tell the plugins how a try ended. */
export function runOutcome(steps: readonly Step[], x: Exchange, error: GatewayError | null, report: ReportFault): void {
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!
    if (!step.joined(x)) continue
    try {
      const result: unknown = step.plugin.onOutcome!(x, error)
      if (result !== undefined) watch(result, x, step, report)
    } catch (fault) {
      report(x, step, fault)
    }
  }
}

/** Tell the plugins that the exchange is over. */
export function runFinish(steps: readonly Step[], x: Exchange, error: GatewayError | null, report: ReportFault): void {
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!
    if (!step.joined(x)) continue
    try {
      const result: unknown = step.plugin.onFinish!(x, error)
      if (result !== undefined) watch(result, x, step, report)
    } catch (fault) {
      report(x, step, fault)
    }
  }
}

/** Pass body bytes through the chunk phase; returns what goes on, or null when a plugin threw (and was reported). */
export function runChunk(
  steps: readonly Step[],
  phase: 'onRequestChunk' | 'onResponseChunk',
  x: Exchange,
  chunk: Uint8Array,
  last: boolean,
  end: PhaseEnd,
): Uint8Array | null {
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!
    if (!step.joined(x)) continue
    try {
      const changed = step.plugin[phase]!(x, chunk, last)
      if (changed === undefined) continue
      refuseAsync(changed, phase)
      if (step.plugin.rewrites !== true) continue
      if (!(changed instanceof Uint8Array)) throw new TypeError(`${phase} returned what is no Uint8Array`)
      chunk = changed
    } catch (error) {
      end.pluginFailed(x, step, error)
      return null
    }
  }
  return chunk
}
