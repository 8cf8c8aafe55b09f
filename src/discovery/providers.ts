// The one list of the kinds of registry.
import { dns } from './dns.ts'
import { etcd } from './etcd.ts'
import { file } from './file.ts'
import type { ProviderDefinition } from './provider.ts'
import { zookeeper } from './zookeeper.ts'

/** Every kind that `discovery:` takes. */
export const providers: readonly ProviderDefinition[] = [dns, etcd, file, zookeeper]
