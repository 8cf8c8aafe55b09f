// A scalar of the environment is what is due where it stands: text, whatever it looks like (a secret may be digits), or a number, also in quotes.
import { z } from 'zod'
import { type Catalog, isUserPlugin } from '../pipeline/catalog.ts'
import { condition, off } from '../pipeline/entry.ts'
import { valueAt } from '../value-at.ts'
import { document } from './document.ts'
import { resolveCore } from './environment.ts'
import type { Path } from './fault.ts'
import { type Def, definitions, schemasAt } from './schema-path.ts'
import type { Tree } from './tree.ts'

/** Kinds that take what YAML reads without quotes as it is. */
const NO_TEXT = new Set(['number', 'bigint', 'boolean', 'null', 'any', 'unknown'])

/** Put into `tree.value` what the schema of the outline, or of a plugin, takes alone: the text, a number or a boolean. Never rejects. */
export async function fitEnvironment(tree: Tree, catalog: Catalog, baseDir: string): Promise<void> {
  for (const { path, text } of tree.substituted) {
    const around = valueAt(tree.value, path.slice(0, -1)) as Record<string | number, unknown> | null | undefined
    const key = path.at(-1)
    if (typeof around !== 'object' || around === null || key === undefined || !Object.hasOwn(around, key)) continue
    const schemas = await held(tree.value, path, catalog, baseDir)
    const taken = schemas.flatMap(definitions)
    if (typeof around[key] === 'string') around[key] = plain(text, schemas, taken)
    else if (isTextDue(taken)) around[key] = text
  }
}

/**
 * In flow style `${NAME}` must stand in quotes, which make a text of it: what it is without them, a number or a boolean,
 * where no text will do.
 */
function plain(text: string, schemas: readonly z.core.$ZodType[], taken: readonly Def[]): unknown {
  const bare = resolveCore(text)
  if (bare === null || typeof bare === 'string' || takes(schemas, text)) return text
  // A number for a number though it will not do: what is wrong with it is then told of it, and not that it is a text.
  const due = taken.length > 0 && taken.every(def => def.type === typeof bare)
  return due || takes(schemas, bare) ? bare : text
}

function takes(schemas: readonly z.core.$ZodType[], value: unknown): boolean {
  try {
    return schemas.some(schema => z.safeParse(schema, value).success)
  } catch {
    // A check of a user's plugin that throws is told where the options are checked.
    return false
  }
}

/** The schemas that the value at `path` is held to. */
async function held(raw: unknown, path: Path, catalog: Catalog, baseDir: string): Promise<z.core.$ZodType[]> {
  // `plugins[0].name…` or `routes[0].plugins[0].name…`
  const at = path[0] === 'plugins' ? 2 : path[0] === 'routes' && path[2] === 'plugins' ? 4 : path.length
  const name = path[at]
  if (typeof name !== 'string') return schemasAt(document, path)
  if (path[at + 1] === 'when') return schemasAt(condition, path.slice(at + 2))
  if (path[at + 1] === 'off') return schemasAt(off, path.slice(at + 2))
  // A module that is off is not loaded.
  if (isUserPlugin(name) && valueAt(raw, [...path.slice(0, at + 1), 'off']) === true) return []
  try {
    const definition = await catalog.find(name, baseDir)
    return definition === undefined ? [] : schemasAt(definition.options, path.slice(at + 1))
  } catch {
    // Told where the entry itself is checked.
    return []
  }
}

function isTextDue(taken: readonly Def[]): boolean {
  return taken.some(({ type }) => type === 'string') && !taken.some(takesOther)
}

function takesOther({ type, values }: Def): boolean {
  return NO_TEXT.has(type) || (type === 'literal' && values?.some(value => typeof value !== 'string') === true)
}
