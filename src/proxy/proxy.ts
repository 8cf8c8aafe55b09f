// The story: what becomes of a request, from its head to the end of its answer, in this order.
// Over 300 lines because it is one story: whoever reads how a request can end has to see every end in one place.
import { Timer, wheel } from '../clock.ts'
import { GatewayError, stackOf } from '../errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { Downstream, Receiver } from '../http/downstream.ts'
import { addForwarding, countForward, dropClaims } from '../http/forwarded.ts'
import type { Reply, RequestHead } from '../http/head.ts'
import { normalizePath } from '../http/path.ts'
import { problem } from '../http/problem.ts'
import { headerListFault, requestLineFault } from '../http1/serialize.ts'
import type { Log } from '../log.ts'
import type { Step } from '../pipeline/plan.ts'
import { PASS_OVER } from '../pipeline/plugin.ts'
import { answersPreflight, runAttempt, runFinish, runRequest, runResponse } from '../pipeline/run.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { Endpoint } from '../upstream/endpoint.ts'
import type { Upstream } from '../upstream/upstream.ts'
import { replyFault, replyHead, responseHeadFault, writeProblem, writeReply } from './answer.ts'
import { Attempt, type AttemptOwner } from './attempt.ts'
import { Choice } from './choice.ts'
import { FailureLog } from './failure-log.ts'
import { Passage } from './passage.ts'
import { backoff, countRequest } from './retry.ts'

/** Where the proxy finds the configuration in force. */
export interface SnapshotHolder {
  readonly snapshot: Snapshot
}

/** Takes what a listener receives. One for each listener. */
export class EdgeProxy implements Receiver, AttemptOwner {
  readonly #holder: SnapshotHolder
  /** What the listener does with %2F in a path. */
  keepEncodedSlash: boolean
  readonly #failures: FailureLog
  /** Log what a plugin did; null where it is not known which. */
  readonly report: (x: Exchange, step: Step | null, error: unknown) => void

  constructor(holder: SnapshotHolder, keepEncodedSlash: boolean, log: Log) {
    this.#holder = holder
    this.keepEncodedSlash = keepEncodedSlash
    this.#failures = new FailureLog(log)
    this.report = (x, step, error) => this.#failures.plugin(x, step, error)
  }

  // 1. The engine has read a head. 2. The snapshot is read once and its route table asked.
  receive(head: RequestHead, down: Downstream): void {
    const snapshot = this.#holder.snapshot
    const path = normalizePath(head.rawPath, this.keepEncodedSlash)
    if (path === null) {
      this.refuse(new GatewayError('SLUICE_BAD_REQUEST', 'the path is malformed'), down)
      return
    }
    head.path = path
    dropClaims(head, snapshot.trusted)
    const { table } = snapshot
    const entry =
      head.method === 'OPTIONS'
        ? table.findEntry(head, ({ route, patternIndex }) =>
            // What a `when` goes by may be anything of an exchange.
            answersPreflight(route.plan, new Passage(head, down, route, patternIndex, snapshot)),
          )
        : table.findEntry(head)
    if (entry === null) {
      const allow = table.allow(head)
      if (allow === null) writeProblem(down, new GatewayError('SLUICE_NO_ROUTE', 'no route'))
      else
        writeProblem(down, new GatewayError('SLUICE_METHOD_NOT_ALLOWED', 'wrong method'), ['allow', allow.join(', ')])
      return
    }
    // 3. One exchange, which keeps this snapshot to its end.
    const x = new Passage(head, down, entry.route, entry.patternIndex, snapshot)
    snapshot.inFlight++
    down.onAbort = error => this.#aborted(x, error)
    if (entry.route.timeout !== Number.POSITIVE_INFINITY) x.deadline = wheel.time() + entry.route.timeout
    if (entry.route.plan.checksHeads) {
      x.received = { method: head.method, path, query: head.query, host: head.host }
      x.proven = head.headers.slice()
    }
    // 4. The request phase, synchronously until the first promise.
    runRequest(entry.route.plan, x, this)
    if (!x.finished && x.attempt === null && x.response === null && x.timer === null) this.#guard(x)
  }

  /** Bytes that are no acceptable request: answered, and the connection is not read any further. */
  refuse(error: GatewayError, down: Downstream): void {
    down.close()
    writeProblem(down, error)
  }

  /** While a plugin's promise is awaited, the route's timeout needs a timer of its own. */
  #guard(x: Passage): void {
    if (x.deadline === Number.POSITIVE_INFINITY) return
    x.timer?.remove()
    x.timer = new Timer(wheel, () => {
      const source = { source: 'gateway' } as const
      const error = new GatewayError('SLUICE_UPSTREAM_TIMEOUT', 'the time is up while a plugin is at it', source)
      // Its response phase may hang as it did just now.
      if (x.response === null) this.fail(x, error)
      else this.#failHard(x, error)
    })
    x.timer.set(x.deadline - wheel.time())
  }

  requestPassed(given: Exchange): void {
    const x = given as Passage
    const { route, head } = x
    x.timer?.remove()
    if (route.reply !== null) {
      this.answered(x, route.reply)
      return
    }
    // Before anything is made of them; all else that plugins may have written is looked at below.
    if (route.plan.checksHeads && (typeof head.path !== 'string' || typeof head.query !== 'string')) {
      this.pluginFailed(x, null, 'a plugin set a path or a query that is no text')
      return
    }
    if (route.redirects !== null) {
      const location = route.redirects[x.patternIndex]!.apply(head.path, head.query)
      if (location === null)
        this.fail(x, new GatewayError('SLUICE_BAD_REQUEST', 'the query cannot stand in a Location'))
      else this.answered(x, { status: route.options.redirect!.status, headers: ['location', location], body: null })
      return
    }
    if (route.rewrites !== null) {
      const path = route.rewrites[x.patternIndex]!.apply(head.path)
      if (path === null) {
        this.fail(x, new GatewayError('SLUICE_BAD_REQUEST', 'the rewritten path climbs above the root'))
        return
      }
      head.path = path
    }
    if (route.plan.checksHeads && this.#spoilt(x)) return
    if (!countForward(head)) {
      // TRACE would send the client's credentials back as content (RFC 9110 9.3.8).
      if (head.method === 'TRACE') this.fail(x, new GatewayError('SLUICE_NOT_IMPLEMENTED', 'TRACE ends here'))
      else this.answered(x, { status: 204, headers: [], body: null })
      return
    }
    if (!addForwarding(head)) {
      this.fail(x, new GatewayError('SLUICE_LOOP_DETECTED', 'Via names this gateway too often'))
      return
    }
    // Whatever comes of the body, its old length would end the message at the wrong byte.
    if (route.plan.rewritesRequest && head.bodyLength > 0) head.bodyLength = -1
    countRequest(route)
    x.down.onDrain = () => x.attempt?.drained()
    this.#try(x)
  }

  // 5. The balancer picks an endpoint, the attempt phase may refuse. 6. The attempt sends.
  #try(x: Passage): void {
    try {
      this.#send(x)
    } catch (error) {
      // A plugin has left what nobody can go on with: an upstream that is none, say.
      this.pluginFailed(x, null, error)
    }
  }

  #send(x: Passage): void {
    const upstream = x.upstream
    const endpoint = upstream === null ? null : upstream.balancer.pick(x.snapshot.keyFor(upstream, x), x.endpoint)
    if (upstream === null || endpoint === null) {
      const why = `upstream ${upstream?.name} has no endpoint: ${upstream?.whyNone}`
      this.fail(x, new GatewayError('SLUICE_NO_ENDPOINT', why))
      return
    }
    x.endpoint = endpoint.pool.full ? this.#withRoom(x, upstream, endpoint) : endpoint
    const steps = x.route.plan.attempt
    if (steps !== null) {
      const said = this.#askAttempt(x, steps)
      if (said !== null || x.upstream !== upstream) {
        this.#choose(x, steps, upstream, said)
        return
      }
    }
    this.#begin(x, upstream, x.endpoint)
  }

  /** Another endpoint that can take a request, or `full` itself where none can. */
  #withRoom(x: Passage, upstream: Upstream, full: Endpoint): Endpoint {
    const choice = new Choice(upstream, full, to => x.snapshot.keyFor(to, x))
    for (;;) {
      const endpoint = choice.next()
      if (endpoint === null || choice.exhausted) return full
      if (!endpoint.pool.full) return endpoint
    }
  }

  /** The attempt phase, which seldom writes: only what it adds or exchanges is looked at, for the sake of all others. */
  #askAttempt(x: Passage, steps: readonly Step[]): ReturnType<typeof runAttempt> {
    if (!x.route.plan.checksHeads) return runAttempt(steps, x, this)
    const { head } = x
    const { method, path, query, host, headers } = head
    const { length } = headers
    const said = runAttempt(steps, x, this)
    const same = head.path === path && head.query === query && head.method === method && head.host === host
    if (said === 'failed' || (same && head.headers === headers && headers.length === length)) return said
    return this.#spoilt(x) ? 'failed' : said
  }

  /** Plugins wrote what must not go upstream: then the exchange has failed. */
  #spoilt(x: Passage): boolean {
    const { head, received } = x
    const asBefore =
      received !== null &&
      head.path === received.path &&
      head.query === received.query &&
      head.method === received.method &&
      head.host === received.host
    const fault = (asBefore ? null : requestLineFault(head)) ?? headerListFault(head.headers, x.proven)
    if (fault === null) return false
    this.fail(x, new GatewayError('SLUICE_PLUGIN_FAILED', `towards the upstream ${fault}`))
    return true
  }

  #begin(x: Passage, upstream: Upstream, endpoint: Endpoint): void {
    const attempt = new Attempt(this, x, endpoint)
    x.attempt = attempt
    attempt.begin(upstream)
  }

  /** A plugin had it otherwise: its own answer, another upstream, or another endpoint. */
  #choose(x: Passage, steps: readonly Step[], upstream: Upstream, said: ReturnType<typeof runAttempt>): void {
    const choice = new Choice(upstream, x.endpoint!, to => x.snapshot.keyFor(to, x))
    while (said !== 'failed') {
      const moved = x.upstream !== choice.upstream
      if (said === null && !moved) {
        this.#begin(x, choice.upstream, x.endpoint!)
        return
      }
      if (said !== null && said !== PASS_OVER) {
        this.answered(x, said)
        return
      }
      const endpoint = moved ? choice.move(x.upstream) : choice.next()
      if (endpoint === null) {
        this.fail(x, new GatewayError('SLUICE_NO_ENDPOINT', `plugins left no endpoint of ${choice.upstream.name}`))
        return
      }
      x.endpoint = endpoint
      x.exhausted = choice.exhausted
      said = this.#askAttempt(x, steps)
      x.exhausted = false
    }
  }

  /** The attempt failed and another may follow, after a pause. Called by the attempt. */
  tryAgain(x: Passage): void {
    x.attempt = null
    x.response = null
    const pause = backoff(x)
    x.timer?.remove()
    x.timer = new Timer(wheel, () => {
      if (wheel.now >= x.deadline)
        this.fail(x, new GatewayError('SLUICE_UPSTREAM_TIMEOUT', 'the time for retries is up'))
      else this.#try(x)
    })
    x.timer.set(Math.min(pause, x.deadline - wheel.time()))
  }

  /** An upstream's answer is known and plugins want to see it. Called by the attempt. */
  respond(x: Passage): void {
    runResponse(x.route.plan.response!, x, this)
    if (!x.finished && x.attempt !== null && !x.attempt.passing) this.#guard(x)
  }

  /** A plugin, a route or the gateway itself answers. */
  answered(given: Exchange, reply: Reply, by: Step | null = null): void {
    const x = given as Passage
    if (x.finished) return
    x.timer?.remove()
    let fault: string | null
    try {
      fault = replyFault(reply)
    } catch (error) {
      // A plugin may make the parts of its answer only when they are read.
      fault = stackOf(error)
    }
    if (fault !== null) {
      this.pluginFailed(x, by, fault)
      return
    }
    x.reply = reply
    x.response = replyHead(reply)
    const steps = x.route.plan.response
    if (steps === null || x.reached === 0) this.responsePassed(x)
    else {
      runResponse(steps, x, this)
      if (!x.finished) this.#guard(x)
    }
  }

  /** The exchange ends with an error that the client is told of. */
  fail(x: Passage, error: GatewayError): void {
    if (x.finished) return
    if (error.code === 'SLUICE_PLUGIN_FAILED') this.report(x, null, error.message)
    // Nobody waits for the rest of that request any more (RFC 9110 15.5.9).
    if (error.code === 'SLUICE_REQUEST_TIMEOUT') x.down.close()
    x.attempt?.cancel(error)
    x.attempt = null
    x.error = error
    this.answered(x, problem(error, x.requestId))
  }

  // 7. The response phase ran backwards over the head: now it goes out.
  responsePassed(given: Exchange): void {
    const x = given as Passage
    x.timer?.remove()
    const fault = x.route.plan.checksHeads ? responseHeadFault(x.response, x.proven) : null
    if (fault !== null) this.pluginFailed(x, null, fault)
    else if (x.reply === null) x.attempt?.release()
    else {
      writeReply(x.down, x.response!, x.reply)
      this.finish(x, x.error)
    }
  }

  pluginFailed(given: Exchange, step: Step | null, error: unknown): void {
    const x = given as Passage
    this.report(x, step, error)
    this.#failHard(x)
  }

  /** 500 for this one exchange, past the response phase: a plugin broke, and may break again. */
  #failHard(x: Passage, error = new GatewayError('SLUICE_PLUGIN_FAILED', 'a plugin failed')): void {
    if (x.finished) return
    x.error = error
    const begun = x.attempt?.passing ?? false
    x.attempt?.cancel(error)
    if (begun) x.down.abort()
    else {
      x.reply = problem(error, x.requestId)
      x.response = replyHead(x.reply)
      writeReply(x.down, x.response, x.reply)
    }
    this.finish(x, error)
  }

  /** The client is gone (null), or its request's body broke. */
  #aborted(x: Passage, error: GatewayError | null): void {
    if (x.finished) return
    const gone = error ?? new GatewayError('SLUICE_CLIENT_CLOSED', 'the client closed the connection')
    const begun = x.attempt?.passing ?? false
    x.attempt?.cancel(gone)
    x.attempt = null
    if (error === null || begun || x.reply !== null) {
      if (error !== null) x.down.abort()
      this.finish(x, gone)
    } else if (x.response === null) this.fail(x, error)
    // Its response phase is under way, and must not run twice.
    else this.#failHard(x, error)
  }

  // 8. Once, on every way out.
  finish(x: Passage, error: GatewayError | null): void {
    if (x.finished) return
    x.finished = true
    x.error ??= error
    x.timer?.remove()
    x.attempt = null
    if (x.error !== null) this.#failures.note(x, x.error)
    const steps = x.route.plan.finish
    if (steps !== null) runFinish(steps, x, x.error, this.report)
    x.snapshot.leave()
  }
}
