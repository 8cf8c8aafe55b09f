// The one walk through plain data: what stands at a path of keys.

/** What stands at `path`, keys and list indexes from the top; undefined when nothing does. Only own properties count. */
export function valueAt(input: unknown, path: readonly (string | number)[]): unknown {
  let value = input
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<string | number, unknown>)[key]
  }
  return value
}
