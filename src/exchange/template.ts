// Header values that name attributes: `${client.ip}` in a text, compiled at load.
import { fieldText, inUtf8 } from '../http/field-text.ts'
import { foreignVariable } from '../http/foreign.ts'
import { isFieldValue } from '../http1/framing.ts'
import { type Attribute, AttributeError, compileAttribute } from './attribute.ts'
import type { Exchange } from './exchange.ts'

/**
 * Compile a text with `${attribute}` in it to the value of a field: in UTF-8, with control characters as spaces. A missing
 * attribute becomes nothing, and so does a `jwt.CLAIM` or `consumer` that a field cannot carry unchanged. `$${` is a
 * literal `${`. Throws AttributeError.
 */
export function compileTemplate(text: string): (x: Exchange) => string {
  const foreign = foreignVariable(text)
  if (foreign !== null)
    throw new AttributeError(`"${foreign}" would go out as it stands: an attribute is written \${client.ip}`)
  // At odd places the names, undefined for what is literal.
  const pieces = text.split(/\$\$\{|\$\{([^}]*)\}/) as (string | undefined)[]
  const parts = pieces.map((piece, i) => {
    if (i % 2 === 0) return inUtf8(piece!)
    return piece === undefined ? '${' : fieldAttribute(piece)
  })
  if (parts.every(part => typeof part === 'string')) {
    const value = cleaned(parts.join(''))
    return () => value
  }
  return x => {
    let out = ''
    for (const part of parts) out += typeof part === 'string' ? part : (part(x) ?? '')
    return cleaned(out)
  }
}

function cleaned(value: string): string {
  return isFieldValue(value) ? value : value.replace(/[^\t\x20-\x7e\x80-\xff]/g, ' ')
}

/** An attribute as a header tells it. */
function fieldAttribute(name: string): Attribute {
  const attribute = compileAttribute(name, true)
  // Who the client is: mended it would be somebody else.
  if (name === 'consumer' || name.startsWith('jwt.')) return x => mapped(attribute(x), fieldText)
  // These are text; all others are bytes of the request's head already.
  if (name === 'route' || name.startsWith('query.')) return x => mapped(attribute(x), inUtf8)
  return attribute
}

function mapped(value: string | undefined, map: (text: string) => string | null): string | undefined {
  return value === undefined ? undefined : (map(value) ?? undefined)
}
