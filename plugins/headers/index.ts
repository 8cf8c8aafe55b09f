// headers: set, add and remove fields of the request and of the answer.
import {
  AttributeError,
  compileTemplate,
  definePlugin,
  type Exchange,
  fieldName,
  GATEWAY_FIELDS,
  isFieldValue,
  PluginOptionsError,
  z,
} from '../../src/plugin-api.ts'

const values = (text: string) =>
  z
    .record(fieldName(), z.string().max(8192))
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

function compile(side: 'request' | 'response', kind: 'set' | 'add', given: Edits): Edit[] {
  return Object.entries(given[kind]).map(([name, text]) => {
    const path = [side, kind, name]
    if (GATEWAY_FIELDS.has(name)) throw new PluginOptionsError(`${name} is set by the gateway itself`, path)
    if (!isFieldValue(text)) throw new PluginOptionsError('a header value must not hold control characters', path)
    try {
      const template = compileTemplate(text)
      // An attribute comes from the client: what no field may hold becomes a space (RFC 9110 5.5).
      return { name, value: x => clean(template(x)) }
    } catch (error) {
      if (error instanceof AttributeError) throw new PluginOptionsError(error.message, path)
      throw error
    }
  })
}

function clean(value: string): string {
  return isFieldValue(value) ? value : value.replace(/[^\t\x20-\x7e\x80-\xff]/g, ' ')
}

function checkRemovals(side: 'request' | 'response', given: Edits): readonly string[] {
  for (const [i, name] of given.remove.entries()) {
    if (GATEWAY_FIELDS.has(name))
      throw new PluginOptionsError(`${name} is set by the gateway itself`, [side, 'remove', i])
  }
  return given.remove
}

export default definePlugin({
  name: 'headers',
  description: 'Sets, adds and removes headers of the request and of the answer.',
  options,
  check({ request, response }) {
    for (const kind of ['set', 'add'] as const) {
      compile('request', kind, request)
      compile('response', kind, response)
    }
    checkRemovals('request', request)
    checkRemovals('response', response)
  },
  create({ request, response }) {
    const requestSet = compile('request', 'set', request)
    const requestAdd = compile('request', 'add', request)
    const responseSet = compile('response', 'set', response)
    const responseAdd = compile('response', 'add', response)
    const touchesRequest = requestSet.length + requestAdd.length + request.remove.length > 0
    const touchesResponse = responseSet.length + responseAdd.length + response.remove.length > 0
    return {
      ...(touchesRequest && {
        onRequest(x: Exchange) {
          for (const name of request.remove) x.removeRequestHeader(name)
          for (const { name, value } of requestSet) x.setRequestHeader(name, value(x))
          for (const { name, value } of requestAdd) x.addRequestHeader(name, value(x))
        },
      }),
      ...(touchesResponse && {
        onResponse(x: Exchange) {
          for (const name of response.remove) x.removeResponseHeader(name)
          for (const { name, value } of responseSet) x.setResponseHeader(name, value(x))
          for (const { name, value } of responseAdd) x.addResponseHeader(name, value(x))
        },
      }),
    }
  },
})
