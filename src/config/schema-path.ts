// Where a path leads in a schema: through defaults, transformations and every branch, to what may stand there.
import type { z } from 'zod'
import type { Path } from './fault.ts'

/** The parts of a schema's definition that lead further in, and those that say what it takes. */
export interface Def {
  readonly type: string
  readonly shape?: Record<string, z.core.$ZodType>
  readonly innerType?: z.core.$ZodType
  readonly in?: z.core.$ZodType
  readonly element?: z.core.$ZodType
  readonly valueType?: z.core.$ZodType
  readonly options?: readonly z.core.$ZodType[]
  readonly left?: z.core.$ZodType
  readonly right?: z.core.$ZodType
  readonly getter?: () => z.core.$ZodType
  /** Of a literal. */
  readonly values?: readonly unknown[]
}

/** The schemas that a value at `path` may be held to: one for each branch on the way; none where nothing may stand. */
export function schemasAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType[] {
  let here = [schema]
  for (const key of path) {
    here = here.flatMap(definitions).flatMap(({ shape, element, valueType }) => {
      const next =
        typeof key === 'number'
          ? element
          : ((shape !== undefined && Object.hasOwn(shape, key) ? shape[key] : undefined) ?? valueType)
      return next === undefined ? [] : [next]
    })
  }
  return here
}

/** What a schema comes down to when defaults, options and transformations are taken off: one for each branch. */
export function definitions(schema: z.core.$ZodType): Def[] {
  const def = schema._zod?.def as unknown as Def | undefined
  if (def === undefined) return []
  if (def.type === 'union') return (def.options ?? []).flatMap(definitions)
  if (def.type === 'intersection')
    return [def.left, def.right].flatMap(side => (side === undefined ? [] : definitions(side)))
  const inner = def.innerType ?? def.in ?? def.getter?.()
  return inner === undefined ? [def] : definitions(inner)
}

/** Keys that `value`, which stands at `path`, may have: in the branches whose words it has, such as its kind, else in any. */
export function knownKeys(schema: z.core.$ZodType, path: Path, value: unknown): string[] {
  const shapes = schemasAt(schema, path)
    .flatMap(definitions)
    .flatMap(({ shape }) => (shape === undefined ? [] : [shape]))
  const given = new Map<string, unknown>(Object.entries(value ?? {}))
  const meant = shapes.filter(shape => Object.entries(shape).every(([key, part]) => mayBe(part, given.get(key))))
  return [...new Set((meant.length > 0 ? meant : shapes).flatMap(shape => Object.keys(shape)))]
}

/** False for another word than the literal that is due. */
function mayBe(part: z.core.$ZodType, given: unknown): boolean {
  const { type, values } = part._zod.def as unknown as Def
  return type !== 'literal' || values === undefined || values.includes(given)
}
