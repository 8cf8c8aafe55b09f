// The package's face: the gateway for embedding, and all that a plugin may use.
export { ConfigError, Gateway, type GatewayOptions, ListenError } from './gateway.ts'
export { createLog, type Log } from './log.ts'
export * from './plugin-api.ts'
