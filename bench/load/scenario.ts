// What a load scenario is: the requests that are sent, the answers that must come, and how many routes the proxy holds.

/** One kind of load. Every rival gets the same bytes. */
export interface Scenario {
  /** File name in bench/results. */
  readonly name: string
  /** One sentence for the head of the result page. */
  readonly question: string
  readonly method: 'GET' | 'POST'
  /** Request targets, sent in turn. */
  readonly paths: readonly string[]
  /** Request body, or null. */
  readonly body: Buffer | null
  /** Exact length of the answer's body; the upstream takes it from the target's `bytes` parameter. */
  readonly answerBytes: number
  /** Requests in flight on one client connection. */
  readonly pipelining: number
  /** Routes that the proxy is configured with; 1 is a single catch-all. */
  readonly routes: number
  /** Plugins of Sluice's route, a YAML list; the others only forward. None when absent. */
  readonly plugins?: string
  /** Plugins that need files and clients that need credentials, instead of `plugins`. Called once a scenario. */
  readonly prepare?: (folder: string) => Promise<Prepared>
  /** True: Sluice finds the upstream's endpoints by discovery and probes them, instead of having them listed. */
  readonly discovered?: boolean
  /** True: a Redis is started for it, which Sluice knows as the store `shared`. */
  readonly redis?: boolean
}

/** What a scenario has made for itself. */
export interface Prepared {
  /** Header fields that clients send beside the usual ones. */
  readonly headers: Readonly<Record<string, string>>
  /** See `plugins`. `bench` and `bench-v2` are upstreams. */
  readonly plugins: string
  /** HAProxy doing the same: lines for its frontend, and the weights of its two servers. */
  readonly haproxy?: { readonly frontend: readonly string[]; readonly weights: readonly [number, number] }
}

/** The prefix of route number `i` in scenarios with more than one route; rivals configure `PREFIX/…` for each. */
export function routePrefix(i: number): string {
  return `/service-${i}`
}
