// Places in the text of the file: offsets to lines and columns, and paths in the document to offsets.
import { isMap, isScalar, isSeq, type Node, type Pair, Scalar } from 'yaml'
import type { Path } from './fault.ts'

/** Offsets to lines and columns; the line starts are found when the first fault asks. */
export class Places {
  #starts: number[] | null = null
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  of(offset: number): { line: number; column: number } {
    if (offset === 0) return { line: 1, column: 1 }
    if (this.#starts === null) {
      this.#starts = [0]
      for (let at = this.#text.indexOf('\n'); at !== -1; at = this.#text.indexOf('\n', at + 1))
        this.#starts.push(at + 1)
    }
    const bounded = Math.min(offset, this.#text.length)
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#starts[middle]! <= bounded) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: bounded - this.#starts[low]! + 1 }
  }
}

/** Offset of a node in the text. */
export function start(node: Node): number {
  return node.range?.[0] ?? 0
}

/**
 * Offset of the value (or of the last key) at `path`, or of the nearest thing around it. What an alias brought has the
 * alias's place: where the anchor is, all may be well.
 */
export function locate(root: Node, path: Path, on: 'value' | 'key'): number {
  let node: Node = root
  let offset = start(root)
  for (let i = 0; i < path.length; i++) {
    const step = path[i]!
    const last = i === path.length - 1
    if (isMap(node)) {
      const pair = pairAt(node.items as Pair<Node, Node | null>[], step, path[i + 1])
      if (pair === undefined) return offset
      offset = last && on === 'key' ? start(pair.key) : valueStart(pair)
      if (pair.value === null) return offset
      node = pair.value
    } else if (isSeq(node)) {
      const item = (node.items as Node[])[step as number]
      if (item === undefined || item === null) return offset
      offset = 'key' in item ? start((item as unknown as Pair<Node>).key) : start(item)
      node = item
    } else return offset
  }
  return offset
}

// Of several pairs with one key the first counts, unless only a later one has what comes `next`.
function pairAt(
  pairs: readonly Pair<Node, Node | null>[],
  step: unknown,
  next: unknown,
): Pair<Node, Node | null> | undefined {
  const fits = ({ key }: Pair<Node, Node | null>) => isScalar(key) && (key.value === step || key.source === step)
  const first = pairs.find(fits)
  if (first === undefined || next === undefined || hasKey(first, next)) return first
  return pairs.find(pair => fits(pair) && hasKey(pair, next)) ?? first
}

function hasKey({ value }: Pair<Node, Node | null>, step: unknown): boolean {
  return isMap(value) && value.items.some(({ key }) => isScalar(key) && key.value === step)
}

// A value left out has its place after the colon, or on the next line; its key tells more. An empty text is there.
function valueStart({ key, value }: Pair<Node, Node | null>): number {
  const leftOut = value === null || (isScalar(value) && value.type === Scalar.PLAIN && value.source === '')
  return start(leftOut ? key : value)
}
