// `${NAME}` and `${NAME:-default}` in a scalar: replaced after parsing, so that a value can never change the structure.

/**
 * Attributes that plugins read from `${…}` themselves: exchange/attribute.ts knows whether there is one of that name. Not
 * whatever else has a dot: `${env.SECRET}`, as others write it, would itself be the secret.
 */
const ATTRIBUTE = /^(?:route|host|path|method|consumer|(?:client|header|query|cookie|jwt)\..*)$/
const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g
const NAME = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/

/** A default as shells have it, too. */
const OTHER_DEFAULT = /^[A-Za-z_][A-Za-z0-9_]*(?::?[-=?+]|:)/

/** A scalar with its references replaced. */
export interface Substituted {
  readonly text: string
  /** Names of the variables that went in, or whose default did. */
  readonly names: readonly string[]
  /** What is wrong with references; empty when all is well. */
  readonly faults: readonly string[]
}

/**
 * Replace the references in `text` from `env`. `$${` stands for a literal `${`; attribute references such as
 * `${client.ip}` stay as they are.
 */
export function substitute(text: string, env: Readonly<Record<string, string | undefined>>): Substituted {
  const names: string[] = []
  const faults: string[] = []
  const replaced = text.replace(REFERENCE, (whole, inner: string | undefined, close: string | undefined) => {
    if (inner === undefined) return '${'
    if (close === '') {
      faults.push('a `${` is not closed; write `$${` for a literal one')
      return whole
    }
    if (inner.includes('${')) {
      faults.push('variables cannot stand inside one another; a default is plain text')
      return whole
    }
    if (ATTRIBUTE.test(inner) && !inner.includes(':-')) return whole
    const found = NAME.exec(inner)
    if (found === null) {
      const lack = inner.includes('.') ? 'no variable and no attribute of a request' : 'no variable'
      // Not all of it: what follows the name may be a default that is a secret, in a form of other languages.
      const [name] = /^[\w.]*/.exec(inner)!
      const shown = name === inner ? whole : `\${${name}…}`
      const other = OTHER_DEFAULT.test(inner) ? `a default is written \${${name}:-…}` : 'letters, digits and _ are due'
      faults.push(`${JSON.stringify(shown)} names ${lack}: ${other}; write \`$\${\` for a literal one`)
      return whole
    }
    const name = found[1]!
    const value = Object.hasOwn(env, name) ? env[name] : undefined
    names.push(name)
    // As in a shell, `:-` also stands in for a variable that is set and empty.
    if (found[2] !== undefined) return value === undefined || value === '' ? found[2] : value
    if (value !== undefined) return value
    faults.push(`the environment has no ${name}; set it, or write \${${name}:-default}`)
    return whole
  })
  return { text: replaced, names, faults }
}

/** A plain scalar as the YAML 1.2 core schema reads it (YAML 1.2.2, 10.3.2); what is past all numbers stays a text. */
export function resolveCore(text: string): string | number | boolean | null {
  if (/^(?:~|null|Null|NULL|)$/.test(text)) return null
  if (/^(?:true|True|TRUE)$/.test(text)) return true
  if (/^(?:false|False|FALSE)$/.test(text)) return false
  const decimal = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/
  if (!decimal.test(text) && !/^0o[0-7]+$/.test(text) && !/^0x[0-9a-fA-F]+$/.test(text)) return text
  return Number.isFinite(Number(text)) ? Number(text) : text
}
