// What plugin instances of one gateway have in common, found by kind of plugin and key: it lives as long as one of them does.
import type { Closable, PluginDefinition } from '../pipeline/plugin.ts'

/** One thing in common. Each that holds it releases it once. */
export class SharedState {
  readonly value: Closable
  readonly #gone: () => void
  #holders = 0

  /** `gone` is called when nobody holds it any more. */
  constructor(value: Closable, gone: () => void) {
    this.value = value
    this.#gone = gone
  }

  hold(): void {
    this.#holders++
  }

  /** The last one closes it; throws what that throws. */
  release(): void {
    if (--this.#holders > 0) return
    this.#gone()
    this.value.close()
  }
}

/** See the head of this file. One for each gateway, handed from snapshot to snapshot. */
export class SharedStates {
  /** Several of one key where one route has several of them. A user's module that was loaded anew is another definition. */
  readonly #found = new Map<PluginDefinition, Map<string, SharedState[]>>()

  /** The first state of this key that is not in `others`, held once more; else one that `make` makes. */
  hold(
    definition: PluginDefinition,
    key: string,
    others: ReadonlySet<SharedState> | undefined,
    make: () => Closable,
  ): SharedState {
    const found = this.#found
      .get(definition)
      ?.get(key)
      ?.find(state => !others?.has(state))
    const state = found ?? this.#add(definition, key, make())
    state.hold()
    return state
  }

  #add(definition: PluginDefinition, key: string, value: Closable): SharedState {
    const state = new SharedState(value, () => this.#remove(definition, key, state))
    let keys = this.#found.get(definition)
    if (keys === undefined) {
      keys = new Map()
      this.#found.set(definition, keys)
    }
    const states = keys.get(key)
    if (states === undefined) keys.set(key, [state])
    else states.push(state)
    return state
  }

  #remove(definition: PluginDefinition, key: string, state: SharedState): void {
    const keys = this.#found.get(definition)!
    const left = keys.get(key)!.filter(other => other !== state)
    if (left.length > 0) keys.set(key, left)
    else keys.delete(key)
    if (keys.size === 0) this.#found.delete(definition)
  }
}
