// The one list of the plugins that come with the gateway, in the order in which the docs show them.
import type { PluginDefinition } from '../src/plugin-api.ts'
import apiKey from './api-key/index.ts'
import canary from './canary/index.ts'
import circuitBreaker from './circuit-breaker/index.ts'
import concurrency from './concurrency/index.ts'
import cors from './cors/index.ts'
import headers from './headers/index.ts'
import ipFilter from './ip-filter/index.ts'
import jwt from './jwt/index.ts'
import rateLimit from './rate-limit/index.ts'
import requestId from './request-id/index.ts'

const bundled: readonly PluginDefinition[] = [
  requestId as PluginDefinition,
  headers as PluginDefinition,
  jwt as PluginDefinition,
  rateLimit as PluginDefinition,
  circuitBreaker as PluginDefinition,
  canary as PluginDefinition,
  cors as PluginDefinition,
  ipFilter as PluginDefinition,
  apiKey as PluginDefinition,
  concurrency as PluginDefinition,
]

export default bundled
