// Finds and loads uWebSockets.js, an optional native library, and says what was tried when none will load.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { messageOf } from '../errors.ts'
import { rebind } from './uws-rebind.ts'

/** uWS's answer object: valid until onAborted runs or an end succeeds; a call after that throws. */
export interface UwsResponse {
  pause(): void
  resume(): void
  writeStatus(status: string | Uint8Array): UwsResponse
  write(chunk: string | Uint8Array): boolean
  end(body?: string | Uint8Array, closeConnection?: boolean): UwsResponse
  endWithoutBody(reportedContentLength?: number, closeConnection?: boolean): UwsResponse
  tryEnd(chunk: Uint8Array, total: number): [ok: boolean, responded: boolean]
  close(): UwsResponse
  getWriteOffset(): number
  onWritable(handler: (offset: number) => boolean): UwsResponse
  onAborted(handler: () => void): UwsResponse
  onData(handler: (chunk: ArrayBuffer, last: boolean) => void): UwsResponse
  getRemoteAddress(): ArrayBuffer
  cork(callback: () => void): UwsResponse
}

/** uWS's request object: lives on the stack, dead when the handler returns. */
export interface UwsRequest {
  getUrl(): string
  getQuery(): string | undefined
  getCaseSensitiveMethod(): string
  forEach(visit: (name: string, value: string) => void): void
}

/** A listening socket; opaque. */
export interface UwsListenSocket {
  readonly uwsListenSocket: never
}

export interface UwsApp {
  any(pattern: string, handler: (res: UwsResponse, req: UwsRequest) => void): UwsApp
  filter(visit: (res: UwsResponse, count: number) => void): UwsApp
  listen(host: string, port: number, options: number, done: (socket: UwsListenSocket | false) => void): UwsApp
  close(): UwsApp
}

/** The part of the library that the engine uses. */
export interface Uws {
  App(options?: object): UwsApp
  us_listen_socket_close(socket: UwsListenSocket): void
  us_socket_local_port(socket: UwsListenSocket): number
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number
  /** Undocumented: `silent` leaves out the `uWebSockets: 20` field of every answer. */
  _cfg?(setting: 'silent'): void
}

/** The library and how it came to be, for the line at start: `uws (@btc-vision/uwebsockets.js 20.57.0, rebound …)`. */
export interface LoadedUws {
  readonly uws: Uws
  readonly how: string
}

/** Where to get it: the official package is not on the npm registry, this is the one recent repack that is. */
const INSTALL = 'npm install uWebSockets.js@npm:@btc-vision/uwebsockets.js@20.57.0'

const NAME = 'uWebSockets.js'
const HEAD_VARIABLE = 'UWS_HTTP_MAX_HEADERS_SIZE'
const HEAD_ROOM = 64 * 1024
// Older builds hang or drop the connection at 48 fields, or when a request line comes in two packets.
const OLDEST = [20, 57]
const require = createRequire(import.meta.url)
let loaded: LoadedUws | null = null

/**
 * Load the library once a process: as installed, or on glibc 2.36 and 2.37 rebound. Throws an Error with code
 * ERR_UWS_UNAVAILABLE that lists what was tried.
 */
export function loadUws(): LoadedUws {
  if (loaded !== null) return loaded
  const tried: string[] = []
  // The library reads this once, while it loads, and listeners may still be given other limits.
  process.env[HEAD_VARIABLE] = String(headRoom())
  const found = locate(tried)
  const uws = found && (loadAsIs(found, tried) ?? loadRebound(found, tried))
  if (!uws) throw unavailable(tried)
  uws.uws._cfg?.('silent')
  loaded = uws
  return loaded
}

/**
 * Bytes that the library takes of any head. It lies above most limits on heads, so that it is our check that refuses
 * and our answer that tells; what the operator has set in UWS_HTTP_MAX_HEADERS_SIZE stands.
 */
export function headRoom(): number {
  const set = Number(process.env[HEAD_VARIABLE])
  return Number.isSafeInteger(set) && set > 0 ? set : HEAD_ROOM
}

interface Found {
  readonly entry: string
  readonly label: string
}

function locate(tried: string[]): Found | null {
  let entry: string
  try {
    entry = require.resolve(NAME)
  } catch {
    tried.push(`the package ${NAME}: not installed`)
    return null
  }
  const { name, version } = JSON.parse(readFileSync(join(dirname(entry), 'package.json'), 'utf8'))
  const label = `${name} ${version}`
  const [major, minor] = String(version).split('.').map(Number)
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    tried.push(`${label} in ${dirname(entry)}: older than ${OLDEST.join('.')}, whose predecessors drop connections`)
    return null
  }
  return { entry, label }
}

function loadAsIs(found: Found, tried: string[]): LoadedUws | null {
  try {
    return { uws: require(found.entry) as Uws, how: found.label }
  } catch (error) {
    const missing = (error as Error).message.includes('Cannot find module')
    const { platform, arch, versions } = process
    const why = missing ? `no build for Node.js ${versions.node} on ${platform} ${arch}` : lastLine(error)
    tried.push(`${found.label} as it is: ${why}`)
    return null
  }
}

function loadRebound(found: Found, tried: string[]): LoadedUws | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null
  if (!tried.some(line => line.includes('GLIBC_2.38'))) return null
  const file = join(dirname(found.entry), `uws_linux_x64_${process.versions.modules}.node`)
  let directory: string | null = null
  try {
    const image = rebind(readFileSync(file))
    directory = mkdtempSync(join(tmpdir(), 'sluice-uws-'))
    const copy = join(directory, 'uws.node')
    writeFileSync(copy, image, { mode: 0o500, flag: 'wx' })
    const module = { exports: {} }
    process.dlopen(module, copy)
    return { uws: module.exports as Uws, how: `${found.label}, rebound to this glibc` }
  } catch (error) {
    tried.push(`${found.label} rebound to this glibc: ${lastLine(error)}`)
    return null
  } finally {
    // Once mapped, the file is not needed any more.
    if (directory !== null) rmSync(directory, { recursive: true, force: true })
  }
}

function unavailable(tried: string[]): Error {
  const lines = [
    'engine: uws needs uWebSockets.js, and none could be loaded. Tried:',
    ...tried.map(line => `  - ${line}`),
    `It is no dependency of its own accord; install it with: ${INSTALL}`,
    '`engine: native` needs nothing and does everything.',
  ]
  return Object.assign(new Error(lines.join('\n')), { code: 'ERR_UWS_UNAVAILABLE' })
}

/** The package wraps the loader's own words in a paragraph about versions; the last line is what went wrong. */
function lastLine(error: unknown): string {
  return messageOf(error).trim().split('\n').at(-1)!
}
