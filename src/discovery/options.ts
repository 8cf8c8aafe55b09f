// The kinds of discovery as they stand under `discovery:`; this version has none, and says so.
import { z } from 'zod'

/** The kinds of this version by name. */
export const DISCOVERY_KINDS: readonly string[] = []

/** One entry under `discovery:`. Every one is refused until a kind exists. */
export const discoveryOptions = z.never({
  error: 'discovery kinds are not part of this release; list the endpoints of each upstream',
})
