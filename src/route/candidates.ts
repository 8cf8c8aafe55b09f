// The entries that share one host and path shape, best first, indexed by value where many ask for the same field.
import type { RequestHead } from '../http/head.ts'
import { compareConditions, type Entry } from './entry.ts'
import { type Field, fieldValues } from './match.ts'

/** So few entries are asked one by one: an index would cost more than it saves. */
const FEW = 8

/** Entries of one place in the table. Filled by `add`, then sealed once, before the first `pick`. */
export class Candidates<R> {
  /** The best, apart from the others: mostly it is the only one, and then no list need be touched. */
  #first: Entry<R> | null = null
  #others: Entry<R>[] | null = null
  #index: ValueIndex<R> | null = null

  add(entry: Entry<R>): void {
    if (this.#first === null) this.#first = entry
    else {
      this.#others ??= []
      this.#others.push(entry)
    }
  }

  /** Put the best first, and index what is long. */
  seal(): void {
    if (this.#others === null) return
    const entries = this.#all().sort(compareConditions)
    this.#index = indexOf(entries)
    this.#first = entries[0]!
    this.#others = entries.slice(1)
  }

  /** The best entry that accepts the request. */
  pick(head: RequestHead): Entry<R> | null {
    if (this.#index !== null) return this.#index.pick(head)
    if (this.#first?.accepts(head)) return this.#first
    const others = this.#others
    if (others === null) return null
    for (let i = 0; i < others.length; i++) if (others[i]!.accepts(head)) return others[i]!
    return null
  }

  /** Put into `into` the methods of the entries that accept the request but for its method. */
  methods(head: RequestHead, into: Set<string>): void {
    if (this.#index !== null) {
      this.#index.methods(head, into)
      return
    }
    for (const entry of this.#all()) {
      if (entry.methods !== null && entry.conditionsHold(head)) for (const method of entry.methods) into.add(method)
    }
  }

  #all(): Entry<R>[] {
    return this.#first === null ? [] : [this.#first, ...(this.#others ?? [])]
  }
}

/**
 * Entries parted by the value that one field must have, so that a thousand tenants told apart by a header on the same
 * path cost two lookups and not a thousand comparisons.
 */
class ValueIndex<R> {
  readonly #field: Field
  readonly #name: string
  readonly #byValue = new Map<string, Candidates<R>>()
  /** Those that do not ask for a value of this field. */
  readonly #rest = new Candidates<R>()

  constructor(field: Field, name: string, entries: readonly Entry<R>[]) {
    this.#field = field
    this.#name = name
    for (const entry of entries) {
      const value = dueValue(entry, field, name)
      if (value === undefined) this.#rest.add(entry)
      else {
        const place = this.#byValue.get(value) ?? new Candidates()
        this.#byValue.set(value, place)
        place.add(entry)
      }
    }
    this.#rest.seal()
    for (const place of this.#byValue.values()) place.seal()
  }

  pick(head: RequestHead): Entry<R> | null {
    let best = this.#rest.pick(head)
    for (const value of this.#values(head)) {
      const found = this.#byValue.get(value)?.pick(head) ?? null
      if (found !== null && (best === null || compareConditions(found, best) < 0)) best = found
    }
    return best
  }

  methods(head: RequestHead, into: Set<string>): void {
    this.#rest.methods(head, into)
    for (const value of this.#values(head)) this.#byValue.get(value)?.methods(head, into)
  }

  /** Each value once, however often the client repeats it: so an entry is asked at most once a request. */
  #values(head: RequestHead): Iterable<string> {
    const values = fieldValues(head, this.#field, this.#name)
    return values.length < 2 ? values : new Set(values)
  }
}

/** An index over the field that most entries ask a value of; null when hardly any do. */
function indexOf<R>(entries: readonly Entry<R>[]): ValueIndex<R> | null {
  if (entries.length <= FEW) return null
  const counts = new Map<string, { field: Field; name: string; values: Set<string> }>()
  for (const entry of entries) {
    for (const { field, name, test, value } of entry.conditions) {
      if (test !== 'equal') continue
      const key = `${field} ${name}`
      const count = counts.get(key) ?? { field, name, values: new Set() }
      counts.set(key, count)
      count.values.add(value)
    }
  }
  let widest: { field: Field; name: string; values: Set<string> } | null = null
  for (const count of counts.values()) {
    if (count.values.size > (widest?.values.size ?? FEW)) widest = count
  }
  return widest === null ? null : new ValueIndex(widest.field, widest.name, entries)
}

function dueValue(entry: Entry<unknown>, field: Field, name: string): string | undefined {
  for (const condition of entry.conditions) {
    if (condition.test === 'equal' && condition.field === field && condition.name === name) return condition.value
  }
  return undefined
}
