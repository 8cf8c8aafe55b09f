// The one list of the kinds of registry.
import { consul } from './consul.ts'
import { dns } from './dns.ts'
import { etcd } from './etcd.ts'
import { eureka } from './eureka.ts'
import { file } from './file.ts'
import { kubernetes } from './kubernetes.ts'
import { nacos } from './nacos.ts'
import type { ProviderDefinition } from './provider.ts'
import { zookeeper } from './zookeeper.ts'

/** Every kind that `discovery:` takes. */
export const providers: readonly ProviderDefinition[] = [consul, dns, etcd, eureka, file, kubernetes, nacos, zookeeper]
