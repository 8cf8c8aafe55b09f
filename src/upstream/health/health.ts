// What is known of the health of one endpoint: by active probes, and by what became of its requests.

/** What active probes say; `unknown` before the first has come to something, and where there are none. */
export type ActiveState = 'unknown' | 'healthy' | 'unhealthy'

/** Fields are written by active.ts and passive.ts alone; the upstream reads `usable`. */
export class EndpointHealth {
  active: ActiveState = 'unknown'
  /** What the last probe found wrong; empty after a good one. */
  probeFault = ''
  /** Time of the wheel at which a passive ejection ends; 0 while there is none. */
  ejectedUntil = 0
  /** Why it was ejected. */
  ejectedFor = ''
  /** Ejections that count towards the length of the next. */
  ejections = 0
  /** Time of the wheel at which the last ejection ended. */
  returnedAt = 0
  /** Failures since the last success. */
  consecutiveFailures = 0
  /** Requests and failures of the current window, and when that began. */
  windowRequests = 0
  windowFailures = 0
  windowStart = 0

  /** True when requests may go there. */
  get usable(): boolean {
    return this.active !== 'unhealthy' && this.ejectedUntil === 0
  }

  /** Why it is not used, for the admin page and the log; empty while it is. */
  get reason(): string {
    if (this.active === 'unhealthy') return `probe: ${this.probeFault}`
    return this.ejectedUntil === 0 ? '' : this.ejectedFor
  }
}
