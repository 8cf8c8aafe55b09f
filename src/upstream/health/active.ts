// Active health: every endpoint is asked by itself, off the way of the requests, and believed after a few answers alike.
import { type ClientRequest, request as plainRequest } from 'node:http'
import { type RequestOptions, request as secureRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { Timer, type Wheel } from '../../clock.ts'
import { type ClientTls, secureTo } from '../../http/certificates.ts'
import type { Endpoint } from '../endpoint.ts'
import type { ActiveState } from './health.ts'
import { type ActiveOptions, statusRanges } from './options.ts'

/** What active health tells its upstream. */
export interface ActiveOwner {
  /** The state of an endpoint changed from `before`: its health says to what. */
  probed(endpoint: Endpoint, before: ActiveState): void
  /** A probe succeeded, whatever the state. */
  proven(endpoint: Endpoint): void
}

/** How probes reach endpoints. */
export interface ProbeTarget {
  /** Null for http. */
  readonly tls: ClientTls | null
  /** Host field of a probe; null for the endpoint's address. */
  readonly host: string | null
  /** Resolves host names; null as the system does. */
  readonly lookup: LookupFunction | null
}

/** First probes of a set are spread over this long, in milliseconds, and one more a probe. */
const START_SPREAD = 100
const JITTER = 0.1

/** The probes of one upstream. One connection a probe, so that connecting is part of what is checked. */
export class ActiveHealth {
  readonly options: ActiveOptions
  readonly target: ProbeTarget
  readonly owner: ActiveOwner
  readonly wheel: Wheel
  readonly #expect: [number, number][]
  readonly #probes = new Map<Endpoint, Probe>()

  constructor(options: ActiveOptions, target: ProbeTarget, owner: ActiveOwner, wheel: Wheel) {
    this.options = options
    this.target = target
    this.owner = owner
    this.wheel = wheel
    this.#expect = statusRanges(options.expect)
  }

  /** Begin to probe an endpoint. */
  watch(endpoint: Endpoint): void {
    const probe = new Probe(this, endpoint)
    this.#probes.set(endpoint, probe)
    probe.timer.set(Math.random() * Math.min(this.options.interval, START_SPREAD + this.#probes.size))
  }

  forget(endpoint: Endpoint): void {
    this.#probes.get(endpoint)?.end()
    this.#probes.delete(endpoint)
  }

  close(): void {
    for (const probe of this.#probes.values()) probe.end()
    this.#probes.clear()
  }

  /** True for a status that counts as success. */
  isExpected(status: number): boolean {
    return this.#expect.some(([first, last]) => status >= first && status <= last)
  }
}

/** The probe of one endpoint: one timer, which is the pause between two requests and the timeout of each. */
class Probe {
  readonly timer: Timer
  readonly #health: ActiveHealth
  readonly #endpoint: Endpoint
  #request: ClientRequest | null = null
  /** Results alike in a row; negative for failures. */
  #streak = 0

  constructor(health: ActiveHealth, endpoint: Endpoint) {
    this.#health = health
    this.#endpoint = endpoint
    this.timer = new Timer(health.wheel, () => {
      if (this.#request === null) this.#begin()
      else this.#settle('no answer in time')
    })
  }

  #begin(): void {
    const { options, target } = this.#health
    const { host, port, address } = this.#endpoint
    const to: RequestOptions = {
      host,
      port,
      path: options.path,
      agent: false,
      headers: { host: target.host ?? address, 'user-agent': 'sluice-health', connection: 'close' },
      ...(target.lookup !== null && { lookup: target.lookup }),
    }
    this.timer.set(options.timeout)
    let request: ClientRequest
    try {
      request = target.tls === null ? plainRequest(to) : secureRequest({ ...to, ...secureTo(target.tls, host) })
    } catch (error) {
      // What cannot even be begun is a failed probe like any other.
      this.#settle((error as NodeJS.ErrnoException).code ?? (error as Error).message)
      return
    }
    this.#request = request
    request.on('response', response => {
      const status = response.statusCode ?? 0
      if (this.#request === request) this.#settle(this.#health.isExpected(status) ? null : `status ${status}`)
    })
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#request === request) this.#settle(error.code ?? error.message)
    })
    request.end()
  }

  /** `fault` is null for a success. */
  #settle(fault: string | null): void {
    const { options, owner } = this.#health
    const { health } = this.#endpoint
    const before = health.active
    this.#drop()
    this.timer.set(options.interval * (1 - JITTER + 2 * JITTER * Math.random()))
    health.probeFault = fault ?? ''
    if (fault === null) {
      this.#streak = Math.max(1, this.#streak + 1)
      // The first answer of all is believed at once: nothing speaks against it.
      const enough = health.active === 'unknown' || this.#streak >= options.healthyAfter
      if (health.active !== 'healthy' && enough) {
        health.active = 'healthy'
        owner.probed(this.#endpoint, before)
      }
      owner.proven(this.#endpoint)
      return
    }
    this.#streak = Math.min(-1, this.#streak - 1)
    if (health.active === 'unhealthy' || -this.#streak < options.unhealthyAfter) return
    health.active = 'unhealthy'
    owner.probed(this.#endpoint, before)
  }

  #drop(): void {
    const request = this.#request
    this.#request = null
    // A late error has nobody to go to.
    request?.on('error', () => {}).destroy()
  }

  end(): void {
    this.timer.remove()
    this.#drop()
  }
}
