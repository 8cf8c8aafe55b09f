// A plugin's place on an exchange: one array index, given out at load, so that state costs no map lookup.

/** What a slot reads and writes: the exchange's array of plugin state. */
interface SlotHolder {
  readonly slots: unknown[]
}

/**
 * State of type T that one plugin instance keeps on one exchange. The index is unique among the plugins of every
 * plan that the instance stands in (snapshot/compile.ts deals them out), and stays the same across reloads.
 */
export class Slot<T> {
  readonly index: number

  constructor(index: number) {
    this.index = index
  }

  /** What was set for this exchange, or undefined. */
  get(x: SlotHolder): T | undefined {
    return x.slots[this.index] as T | undefined
  }

  set(x: SlotHolder, value: T): void {
    x.slots[this.index] = value
  }
}
