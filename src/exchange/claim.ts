// How a claim of a token is named: by its name, or by a path with dots into claims that are objects.
import { isRecord } from '../value-at.ts'

/** The claims of a token, or a claim that is an object: plain JSON. */
export type Claims = Readonly<Record<string, unknown>>

/** Reads one claim; undefined when there is none. */
export type ClaimReader = (claims: Claims) => unknown

/**
 * Compile the name of a claim, as `jwt.CLAIM` and the jwt plugin's options write it. A claim of exactly that name counts
 * before the path (`https://example.com/role` is a name, `realm_access.roles` mostly a path). Only own properties count.
 */
export function compileClaim(name: string): ClaimReader {
  const dot = name.indexOf('.')
  if (dot < 0) return claims => own(claims, name)
  const outer = name.slice(0, dot)
  const inner = compileClaim(name.slice(dot + 1))
  return claims => {
    if (Object.hasOwn(claims, name)) return claims[name]
    const value = own(claims, outer)
    return isRecord(value) ? inner(value) : undefined
  }
}

function own(claims: Claims, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined
}
