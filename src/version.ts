// The version of this package, from its package.json.
import { existsSync, readFileSync } from 'node:fs'

/** From sources the file is one folder up, from a build two. */
const file = ['../package.json', '../../package.json'].map(path => new URL(path, import.meta.url)).find(existsSync)

/** Such as `0.1.0`. */
export const VERSION: string = file === undefined ? '0.0.0' : JSON.parse(readFileSync(file, 'utf8')).version
