// The one list of the kinds of registry.
import type { ProviderDefinition } from './provider.ts'

/** Every kind that `discovery:` takes. */
export const providers: readonly ProviderDefinition[] = []
