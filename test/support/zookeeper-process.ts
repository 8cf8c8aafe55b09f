// A real ZooKeeper on a free port, with its data in a temporary folder; nodes, locked ones too, as a test wants them.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import zookeeper from 'node-zookeeper-client'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { ServerProcess, temporaryFolder } from './server-process.ts'
import { within } from './within.ts'

/** Debian keeps its scripts off the PATH. */
const DEBIAN = '/usr/share/zookeeper/bin/zkServer.sh'

/** Longest that a session lives unheard of, in milliseconds: what the server grants at most. */
export const SESSION = 2_000

/** See the head of this file. */
export class ZookeeperServer extends ServerProcess {
  readonly address: string
  readonly #port: number

  constructor(t: Pick<Test, 'teardown'>, port: number, folder: string) {
    const config = join(folder, 'zoo.cfg')
    mkdirSync(join(folder, 'data'))
    const lines = ['tickTime=500', `maxSessionTimeout=${SESSION}`, `dataDir=${join(folder, 'data')}`]
    const address = ['clientPortAddress=127.0.0.1', `clientPort=${port}`, 'admin.enableServer=false']
    writeFileSync(config, [...lines, ...address, '4lw.commands.whitelist=srvr,cons,wchs', ''].join('\n'))
    const env = {
      JMXDISABLE: 'true',
      ZOO_LOG_DIR: folder,
      ZOO_LOG4J_PROP: 'WARN,CONSOLE',
      // Tests wait for the JVM: it need not become fast.
      SERVER_JVMFLAGS: '-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dzookeeper.forceSync=no',
    }
    const command = existsSync(DEBIAN) ? DEBIAN : 'zkServer.sh'
    super(t, command, ['start-foreground', config], async () => /^Mode:/m.test(await this.say('srvr')), env)
    this.#port = port
    this.address = `127.0.0.1:${port}`
  }

  /** One of the four-letter commands. */
  async say(word: 'srvr' | 'cons' | 'wchs'): Promise<string> {
    const socket = net.connect({ port: this.#port, host: '127.0.0.1' })
    socket.setTimeout(10_000, () => socket.destroy(new Error('zookeeper says nothing')))
    socket.end(word)
    return text(socket)
  }

  /** Make a node with its parents, or change its data. `owner` (`user:password`) makes it readable for that one alone. */
  async put(path: string, data: string, owner?: string): Promise<void> {
    const parent = path.slice(0, path.lastIndexOf('/'))
    const who = owner === undefined ? new zookeeper.Id('world', 'anyone') : digest(owner)
    const acl = [new zookeeper.ACL(zookeeper.Permission.ALL, who)]
    await this.#write(async client => {
      if (parent !== '') await call(done => client.mkdirp(parent, done))
      try {
        await call(done => client.create(path, Buffer.from(data), acl, zookeeper.CreateMode.PERSISTENT, done))
      } catch (error) {
        if ((error as zookeeper.Exception).code !== zookeeper.Exception.NODE_EXISTS) throw error
        await call(done => client.setData(path, Buffer.from(data), done))
      }
    })
  }

  async remove(path: string): Promise<void> {
    await this.#write(client => call(done => client.remove(path, done)))
  }

  /** Have these children with this data under a node and no others, at one stroke. */
  async replace(path: string, children: ReadonlyMap<string, string>): Promise<void> {
    await this.#write(async client => {
      await call(done => client.mkdirp(path, done))
      const before = await new Promise<string[]>((resolve, reject) => {
        client.getChildren(path, (error, names) => (error ? reject(error) : resolve(names)))
      })
      const transaction = client.transaction()
      const gone = before.filter(name => !children.has(name))
      if (gone.length + children.size === 0) return
      for (const name of gone) transaction.remove(`${path}/${name}`)
      for (const [name, data] of children) {
        if (before.includes(name)) transaction.setData(`${path}/${name}`, Buffer.from(data))
        else transaction.create(`${path}/${name}`, Buffer.from(data))
      }
      await call(done => transaction.commit(done))
    })
  }

  /** With a session for this alone: one that lives on would be stuck once it expired. */
  async #write(run: (client: zookeeper.Client) => Promise<void>): Promise<void> {
    const client = zookeeper.createClient(this.address, { sessionTimeout: SESSION })
    client.connect()
    try {
      await within(10_000, run(client), () => 'zookeeper takes nothing')
    } finally {
      client.close()
    }
  }

  /** Make a node that lives as long as a session of its own; what is returned ends that. */
  async putEphemeral(path: string, data: string): Promise<() => void> {
    const client = zookeeper.createClient(this.address, { sessionTimeout: SESSION })
    client.connect()
    await call(done => client.create(path, Buffer.from(data), zookeeper.CreateMode.EPHEMERAL, done))
    return () => client.close()
  }
}

function digest(owner: string): zookeeper.Id {
  const [user] = owner.split(':')
  return new zookeeper.Id('digest', `${user}:${createHash('sha1').update(owner).digest('base64')}`)
}

function call(run: (done: (error: Error | zookeeper.Exception | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => run(error => (error ? reject(error) : resolve())))
}

/** Start one, empty. */
export async function startZookeeper(t: Pick<Test, 'teardown'>): Promise<ZookeeperServer> {
  const server = new ZookeeperServer(t, await freePort(), temporaryFolder(t, 'zookeeper'))
  await server.start()
  return server
}
