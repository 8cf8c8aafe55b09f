// The addresses that a file listens on: two that cannot be open beside each other are a fault.
import { hostPort } from '../http/address.ts'
import { addressBytes } from '../http/cidr.ts'
import { listenerOptions } from '../listener/listener.ts'
import { quote } from '../nearest.ts'
import { isRecord } from '../value-at.ts'
import { adminListener } from './document.ts'
import type { Problem } from './explain.ts'
import type { Path } from './fault.ts'
import type { Tree } from './tree.ts'

/** Where nothing is said of it: what is read here is the file as it was written. */
const LISTENER_HOST = listenerOptions.shape.host.parse(undefined)
const ADMIN = adminListener.parse({})

interface Address {
  readonly host: unknown
  readonly port: unknown
  readonly path: Path
}

/** Of the listeners and the admin pages. Names of hosts are taken as they are: nobody knows here what they come to. */
export function listenAddressProblems(raw: Record<string, unknown>, tree: Tree): Problem[] {
  const problems: Problem[] = []
  /** By port and kind of host, whoever was first. */
  const open = new Map<string, { readonly text: string; readonly who: string }>()
  for (const { host, port, path } of addresses(raw)) {
    // Port 0 is another one each time.
    if (typeof port !== 'number' || port === 0 || typeof host !== 'string') continue
    const text = hostPort(host, port)
    const { own, family, rivals } = kinds(host)
    const rival = rivals.map(kind => open.get(`${port} ${kind}`)).find(found => found !== undefined)
    if (rival !== undefined) {
      const message =
        rival.text === text
          ? `${quote(text)} is the address of ${rival.who}`
          : `${quote(text)} cannot be open beside ${quote(rival.text)}, the address of ${rival.who}`
      problems.push({ path, message, code: 'SLUICE_CONFIG_INVALID' })
    }
    const who = path[0] === 'admin' ? 'the admin pages' : `the listener on line ${tree.line(path)}`
    for (const kind of [own, family, ANY]) {
      if (!open.has(`${port} ${kind}`)) open.set(`${port} ${kind}`, { text, who })
    }
  }
  return problems
}

/** The admin pages first: they may have no place in the file that a fault could point at. */
function* addresses(raw: Record<string, unknown>): Generator<Address> {
  const admin = raw.admin === undefined ? {} : raw.admin
  if (isRecord(admin)) yield { host: admin.host ?? ADMIN.host, port: admin.port ?? ADMIN.port, path: ['admin', 'port'] }
  const listeners: unknown[] = Array.isArray(raw.listeners) ? raw.listeners : []
  for (const [i, listener] of listeners.entries()) {
    if (!isRecord(listener)) continue
    yield { host: listener.host ?? LISTENER_HOST, port: listener.port, path: ['listeners', i, 'port'] }
  }
}

const ANY = 'any'
/** All addresses of IPv4, and of both families: a socket on `::` takes IPv4 too. */
const ALL_4 = '0.0.0.0'
const ALL = '::'

/** A host in one spelling, its family, and what it cannot be open beside. */
function kinds(host: string): { own: string; family: string; rivals: string[] } {
  const bytes = addressBytes(host)
  if (bytes === null) return { own: host.toLowerCase(), family: 'name', rivals: [host.toLowerCase(), ALL] }
  const all = bytes.every(byte => byte === 0)
  if (bytes.length === 4) {
    const own = bytes.join('.')
    return { own, family: 'IPv4', rivals: all ? ['IPv4', ALL] : [own, ALL_4, ALL] }
  }
  const own = all ? ALL : `[${bytes.join('.')}]${host.split('%')[1] ?? ''}`
  return { own, family: 'IPv6', rivals: all ? [ANY] : [own, ALL] }
}
