// A gateway with circuit breakers before scripted upstreams: what the tests of the plugin share.
import type { Test } from 'tap'
import { type GatewayConfig, type GatewayTestOptions, startGateway, type TestGateway } from './gateway.ts'
import type { RawResponse } from './raw-client.ts'
import { RawUpstream, type SeenRequest } from './raw-upstream.ts'
import { eventually } from './within.ts'

/** Options that open at the second failure and stay open; tests say what they want otherwise. */
export const QUICK = { minimumCalls: 2, openFor: '5m', halfOpenCalls: 1, rampUp: '0ms' }

/** Facts of one breaker as the admin page has them. */
export interface Facts {
  readonly state: string
  readonly calls: number
  readonly failureRate: number
  readonly slowRate: number
  readonly inFlight: number
  readonly probes?: number
  readonly opened: number
  readonly refused: number
  readonly openUntil?: string
  readonly endpoints?: Readonly<Record<string, Facts>>
  /** In /upstreams, of breakers with the scope of a route. */
  readonly routes?: Readonly<Record<string, Facts>>
}

/** An upstream that answers with `status` to each request, or does what `act` says. */
export class Service {
  readonly upstream: RawUpstream
  status = 200
  body = 'ok'
  fields: string[] = []
  act: ((request: SeenRequest) => void) | null = null

  constructor(upstream: RawUpstream) {
    this.upstream = upstream
    upstream.onRequest = request => {
      if (this.act !== null) this.act(request)
      else request.reply(`${this.status} Status`, this.body, ...this.fields)
    }
  }

  static async start(t: Test): Promise<Service> {
    return new Service(await RawUpstream.start(t))
  }

  get seen(): number {
    return this.upstream.requests.length
  }
}

/** See the head of this file. */
export class BreakerGateway {
  readonly g: TestGateway

  private constructor(t: Test, g: TestGateway) {
    this.g = g
    // Before anything is closed: every permit is back.
    t.teardown(async () => {
      await g.quiet()
      const left = this.all().filter(facts => facts.inFlight !== 0 || (facts.probes ?? 0) !== 0)
      if (left.length > 0) throw new Error(`permits are left: ${JSON.stringify(left)}`)
    })
  }

  /** One upstream `up`, and a route to it with this breaker, unless `config` says otherwise. */
  static async start(
    t: Test,
    up: Service,
    options: Record<string, unknown>,
    config: GatewayConfig = {},
    more: GatewayTestOptions = {},
  ): Promise<BreakerGateway> {
    const { route, ...rest } = config
    const full: GatewayConfig = {
      up: { endpoints: [up.upstream.address] },
      route: { plugins: [{ 'circuit-breaker': options }], retry: { attempts: 0 }, ...route },
      ...rest,
    }
    return new BreakerGateway(t, await startGateway(t, full, more))
  }

  /** A request on a connection of its own. */
  async ask(path = '/', method = 'GET', ...fields: string[]): Promise<RawResponse> {
    const client = await this.g.connect()
    const answer = await client
      .head(`${method} ${path} HTTP/1.1`, 'Host: a', 'Connection: close', ...fields)
      .response(method)
    client.destroy()
    return answer
  }

  /** Statuses of so many requests, one after the other. */
  async statuses(count: number, path = '/'): Promise<number[]> {
    const found: number[] = []
    for (let i = 0; i < count; i++) found.push((await this.ask(path)).status)
    return found
  }

  /** What all instances tell of `about`, by name; once what several share. */
  #told(about: 'upstreams' | 'routes'): [string, Facts][] {
    const sites = [...this.g.snapshot.sites.values()].filter(site => site.definition.name === 'circuit-breaker')
    return sites
      .filter((site, i) => sites.findIndex(({ shared }) => shared === site.shared) === i)
      .flatMap(site => Object.entries((site.plugin.inspect!() as Record<string, Record<string, Facts>>)[about]!))
  }

  all(): Facts[] {
    const upstreams = this.#told('upstreams').filter(([, facts]) => facts.routes === undefined)
    return [...upstreams, ...this.#told('routes')].flatMap(([, facts]) =>
      facts.endpoints === undefined ? facts : Object.values(facts.endpoints),
    )
  }

  /** The first breaker of that name. */
  facts(name = 'up', about: 'upstreams' | 'routes' = 'upstreams'): Facts {
    const found = this.#told(about).find(([of]) => of === name)
    if (found === undefined) throw new Error(`no breaker has seen ${name}`)
    return found[1]
  }

  /** Wait until it is in this state, without sending anything. */
  state(wanted: string, name = 'up'): Promise<void> {
    return eventually(
      () => this.moves().at(-1) === wanted || this.facts(name).state === wanted,
      () => `is ${this.facts(name).state}, not ${wanted}`,
      5000,
    )
  }

  /** The states that the log tells of, in order. */
  moves(): string[] {
    return this.g.log.flatMap(line => /^circuit breaker is (.+)$/.exec(line.message)?.[1] ?? [])
  }
}
