// THE DOOR: all that a plugin may import, whether bundled or a user's own.
export { z } from 'zod'
export { Timer, wheel } from './clock.ts'
export type { ErrorCode, ErrorSource } from './errors.ts'
export { GatewayError } from './errors.ts'
export {
  type Attribute,
  AttributeError,
  compileAttribute,
  compileCondition,
  compileKey,
  type Predicate,
} from './exchange/attribute.ts'
export { type ClaimReader, compileClaim } from './exchange/claim.ts'
export type { Exchange } from './exchange/exchange.ts'
export { problemReply } from './exchange/problem.ts'
export type { Slot } from './exchange/slot.ts'
export { compileTemplate } from './exchange/template.ts'
export { uuidV7 } from './exchange/uuid.ts'
export { avalanche, murmur3 } from './hash.ts'
export { CidrSet, parseCidr } from './http/cidr.ts'
export { cookieValues } from './http/cookie.ts'
export { fieldText } from './http/field-text.ts'
export {
  GATEWAY_FIELDS,
  type HeaderList,
  preflightMethod,
  type Reply,
  type RequestHead,
  type ResponseHead,
} from './http/head.ts'
export { queryValues, withoutParameter } from './http/query.ts'
export { isFieldValue, isToken } from './http1/framing.ts'
export { noSuch } from './nearest.ts'
export { condition } from './pipeline/entry.ts'
export {
  type Closable,
  checkAttribute,
  definePlugin,
  PASS_OVER,
  type PassOver,
  type Plugin,
  type PluginContext,
  type PluginDefinition,
  PluginOptionsError,
  type PluginSurroundings,
  type SharedContext,
} from './pipeline/plugin.ts'
export { ownText } from './store/key.ts'
export type { Algorithm, Counter, CounterOptions, CounterStore, Decider, Limit, Tally } from './store/store.ts'
export { duration, fieldMap, fieldName, fieldValue, share, size } from './units.ts'
export { type BalancerDefinition, defineBalancer, type UserBalancer } from './upstream/balance/user.ts'
export type { Endpoint } from './upstream/endpoint.ts'
