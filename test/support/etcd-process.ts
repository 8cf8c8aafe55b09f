// A real etcd on free ports, with its data in a temporary folder; users, leases and compaction as a test wants them.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { ServerProcess, temporaryFolder } from './server-process.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')

/** See the head of this file. */
export class EtcdServer extends ServerProcess {
  readonly url: string
  readonly #data: string
  /** Sent with every question once auth is on. */
  #token: string | null = null

  constructor(t: Pick<Test, 'teardown'>, port: number, peerPort: number, folder: string) {
    const url = `http://127.0.0.1:${port}`
    const peer = `http://127.0.0.1:${peerPort}`
    const data = join(folder, 'data')
    const own = ['--name', 'one', '--data-dir', data, '--logger', 'zap', '--unsafe-no-fsync']
    const client = ['--listen-client-urls', url, '--advertise-client-urls', url]
    const peers = [
      '--listen-peer-urls',
      peer,
      '--initial-advertise-peer-urls',
      peer,
      '--initial-cluster',
      `one=${peer}`,
    ]
    const answers = async () => {
      const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1000) })
      return ((await answer.json()) as { health: string }).health === 'true'
    }
    super(t, 'etcd', [...own, ...client, ...peers], answers)
    this.url = url
    this.#data = data
  }

  /** One question to the JSON gateway. Rejects with what etcd says. */
  async ask(path: string, body: unknown): Promise<Record<string, unknown>> {
    const answer = await fetch(`${this.url}/v3/${path}`, {
      method: 'POST',
      headers: this.#token === null ? {} : { authorization: this.#token },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`etcd answered ${answer.status}: ${text}`)
    return JSON.parse(text) as Record<string, unknown>
  }

  async put(key: string, value: string, lease?: string): Promise<void> {
    await this.ask('kv/put', { key: base64(key), value: base64(value), ...(lease !== undefined && { lease }) })
  }

  async remove(key: string): Promise<void> {
    await this.ask('kv/deleterange', { key: base64(key) })
  }

  /** A lease that ends after `seconds` unless it is kept alive, which nobody does. */
  async lease(seconds: number): Promise<string> {
    return String((await this.ask('lease/grant', { TTL: seconds }))['ID'])
  }

  async revision(): Promise<number> {
    const { header } = (await this.ask('kv/range', { key: base64('/') })) as { header: { revision: string } }
    return Number(header.revision)
  }

  async compact(revision: number): Promise<void> {
    await this.ask('kv/compaction', { revision: String(revision), physical: true })
  }

  /** A user that may read all keys, and from now on nobody without one. */
  async turnAuthOn(user: string, password: string): Promise<void> {
    await this.ask('auth/user/add', { name: 'root', password: 'root' })
    await this.ask('auth/user/grant', { user: 'root', role: 'root' })
    await this.ask('auth/user/add', { name: user, password })
    await this.ask('auth/role/add', { name: 'reader' })
    const perm = { permType: 'READ', key: base64('/'), range_end: base64('0') }
    await this.ask('auth/role/grant', { name: 'reader', perm })
    await this.ask('auth/user/grant', { user, role: 'reader' })
    await this.ask('auth/enable', {})
    this.#token = String((await this.ask('auth/authenticate', { name: 'root', password: 'root' }))['token'])
  }

  /** Add a user nobody needs: what was logged in before is of an old revision then. Auth is on. */
  async changeUsers(): Promise<void> {
    const login = async () => {
      this.#token = String((await this.ask('auth/authenticate', { name: 'root', password: 'root' }))['token'])
    }
    this.#token = null
    await login()
    await this.ask('auth/user/add', { name: `user-${performance.now()}`, password: 'x' })
    this.#token = null
    await login()
  }

  /** Kill it, forget everything it knew, and start it again. */
  async restartEmpty(): Promise<void> {
    await this.kill()
    rmSync(this.#data, { recursive: true, force: true })
    this.#token = null
    await this.start()
  }
}

/** Start one, empty. */
export async function startEtcd(t: Pick<Test, 'teardown'>): Promise<EtcdServer> {
  const folder = temporaryFolder(t, 'etcd')
  const server = new EtcdServer(t, await freePort(), await freePort(), folder)
  await server.start()
  return server
}
