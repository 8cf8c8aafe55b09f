// The version of this package and of the Node.js that it needs, from its package.json.
import { existsSync, readFileSync } from 'node:fs'

/** From sources the file is one folder up, from a build two. */
const file = ['../package.json', '../../package.json'].map(path => new URL(path, import.meta.url)).find(existsSync)

const { version, engines } =
  file === undefined ? { version: '0.0.0', engines: { node: '>=0' } } : JSON.parse(readFileSync(file, 'utf8'))

/** Such as `0.1.0`. */
export const VERSION: string = version

/** The oldest Node.js that it runs on, such as `20.18.1`. */
export const NODE_NEEDED: string = engines.node.replace('>=', '')
