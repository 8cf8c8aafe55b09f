// The one list of those who take part, in the order of the result tables.
import { haproxy } from './haproxy.ts'
import { nginx } from './nginx.ts'
import { fastifyHttpProxy, httpProxy3 } from './node-proxies.ts'
import type { Rival } from './rival.ts'
import { sluiceNative, sluiceUws } from './sluice.ts'

/** The one that ratios are taken against, where it runs. */
export const YARDSTICK = 'nginx'

/** The one that may fail no run. */
export const DEFAULT = sluiceNative.name

export const rivals: readonly Rival[] = [sluiceNative, sluiceUws, nginx, haproxy, httpProxy3, fastifyHttpProxy]
