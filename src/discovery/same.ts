// What is told again stays the object that it was, and a list stays the list where nothing of it changes.
import type { Instance } from './provider.ts'

/** What is told again is looked for so far behind what was found last: registries keep their order. */
const NEAR = 8

const NONE: Readonly<Record<string, number>> = {}

/** True for maps with the same entries. */
export function sameMap(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): boolean {
  if (a === b) return true
  // Without lists of the keys: most maps are empty, and ten thousand are compared in a turn.
  let left = 0
  for (const key in a) {
    if (!Object.hasOwn(b, key) || a[key] !== b[key]) return false
    left++
  }
  for (const _ in b) left--
  return left === 0
}

/** True for instances that mean the same. */
export function sameInstance(a: Instance, b: Instance): boolean {
  if (a === b) return true
  return (
    a.host === b.host &&
    a.port === b.port &&
    a.weight === b.weight &&
    sameMap(a.labels, b.labels) &&
    sameMap(a.ports ?? NONE, b.ports ?? NONE)
  )
}

/**
 * Finds in `before` what is the same as each of a list, asked for one after the other: its index, -1 where none is near.
 * Nothing is found twice. Finds most where both are in one order.
 */
export function finder<A, B>(before: readonly A[], same: (a: A, b: B) => boolean): (one: B) => number {
  let next = 0
  return one => {
    const end = Math.min(next + NEAR, before.length)
    for (let i = next; i < end; i++) {
      if (!same(before[i]!, one)) continue
      next = i + 1
      return i
    }
    return -1
  }
}

/**
 * `now` with what stood `before` in the place of what means the same: a change of one in a hundred leaves one new object
 * behind, and what else an answer was read into dies young.
 */
export function reuse<T>(before: readonly T[], now: readonly T[], same: (a: T, b: T) => boolean): T[] {
  const find = finder(before, same)
  return now.map(one => before[find(one)] ?? one)
}

/** What passes of a list: the list itself where all of it does, as most often after a change. */
export function passing<T>(list: readonly T[], test: (one: T, i: number) => boolean): readonly T[] {
  return list.every(test) ? list : list.filter(test)
}
