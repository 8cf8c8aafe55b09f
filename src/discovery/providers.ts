// The one list of the kinds of registry.
import { etcd } from './etcd.ts'
import type { ProviderDefinition } from './provider.ts'
import { zookeeper } from './zookeeper.ts'

/** Every kind that `discovery:` takes. */
export const providers: readonly ProviderDefinition[] = [etcd, zookeeper]
