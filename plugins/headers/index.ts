// headers: set, add and remove fields of the request and of the answer.
import {
  AttributeError,
  compileTemplate,
  definePlugin,
  type Exchange,
  fieldMap,
  fieldName,
  GATEWAY_FIELDS,
  PluginOptionsError,
  z,
} from '../../src/plugin-api.ts'

const values = (text: string) =>
  fieldMap(z.string().max(8192), GATEWAY_FIELDS)
    .default({})
    .describe(`${text} Values may name attributes: \${client.ip}, \${header.NAME}, \${jwt.CLAIM}.`)

const edits = (where: string) =>
  z
    .strictObject({
      set: values(`Headers to set on ${where}, instead of those of that name.`),
      add: values(`Headers to add to ${where}, beside those of that name.`),
      remove: z.array(fieldName()).default([]).describe(`Headers to take out of ${where}, before set and add.`),
    })
    .prefault({})

const options = z.strictObject({
  request: edits('the request before it goes upstream').describe('Edits of the request.'),
  response: edits('the answer before it goes to the client').describe('Edits of the answer.'),
})

type Edits = z.output<typeof options>['request']

/** One compiled edit: its value for an exchange, already fit to be written. */
interface Edit {
  readonly name: string
  readonly value: (x: Exchange) => string
}

/** What no field's value may hold; the tab may stand in one (RFC 9110 5.5). */
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/

function compileEdit(name: string, text: string, path: string[]): Edit {
  if (CONTROL.test(text)) throw new PluginOptionsError('a header value must not hold control characters', path)
  try {
    return { name, value: compileTemplate(text) }
  } catch (error) {
    if (!(error instanceof AttributeError)) throw error
    // Two dollars make one before plugins see the text (docs/configuration.md): a literal one takes three.
    throw new PluginOptionsError(`${error.message}; write \`$$$\{\` for a literal \`$\{\``, path)
  }
}

/** All edits of one side; null where there are none. Throws PluginOptionsError, each edit in a part of its own. */
function compileAll(side: 'request' | 'response', given: Edits, part = (compile: () => void) => compile()) {
  const edits = { remove: given.remove, set: [] as Edit[], add: [] as Edit[] }
  for (const kind of ['set', 'add'] as const)
    for (const [name, text] of Object.entries(given[kind]))
      part(() => void edits[kind].push(compileEdit(name, text, [side, kind, name])))
  for (const [i, name] of given.remove.entries()) {
    part(() => {
      if (GATEWAY_FIELDS.has(name))
        throw new PluginOptionsError(`${name} is set by the gateway itself`, [side, 'remove', i])
      // A name like any other to HTTP, and no header's: nothing would be taken out.
      if (name.includes('*'))
        throw new PluginOptionsError('* stands for nothing here: name each header', [side, 'remove', i])
    })
  }
  return Object.values(edits).flat().length === 0 ? null : edits
}

export default definePlugin({
  name: 'headers',
  description: 'Sets, adds and removes headers of the request and of the answer.',
  options,
  check(given, { part }) {
    compileAll('request', given.request, part)
    compileAll('response', given.response, part)
  },
  vouches: true,
  create(given) {
    const request = compileAll('request', given.request)
    const response = compileAll('response', given.response)
    return {
      ...(request !== null && {
        onRequest(x: Exchange) {
          for (const name of request.remove) x.removeRequestHeader(name)
          for (const { name, value } of request.set) x.setRequestHeader(name, value(x))
          for (const { name, value } of request.add) x.addRequestHeader(name, value(x))
        },
      }),
      ...(response !== null && {
        onResponse(x: Exchange) {
          for (const name of response.remove) x.removeResponseHeader(name)
          for (const { name, value } of response.set) x.setResponseHeader(name, value(x))
          for (const { name, value } of response.add) x.addResponseHeader(name, value(x))
        },
      }),
    }
  },
})
