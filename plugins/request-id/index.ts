// request-id: every request has an identity that client, upstream and log share.
import { definePlugin, fieldName, GATEWAY_FIELDS, uuidV7, z } from '../../src/plugin-api.ts'

const options = z.strictObject({
  header: fieldName()
    .refine(name => !GATEWAY_FIELDS.has(name), { error: 'this header is set by the gateway itself' })
    .default('x-request-id')
    .describe('Header that carries the id, both ways.'),
  trustIncoming: z
    .enum(['proxies', 'always', 'never'])
    .default('proxies')
    .describe('Whose incoming id is taken over: that of trustedProxies, of everybody, or of nobody.'),
})

/** What is taken for an id from outside: short, and nothing that could break a log line or a URL. */
const VALID = /^[A-Za-z0-9._~+/=:-]{1,128}$/

export default definePlugin({
  name: 'request-id',
  description: 'Takes or makes a request id and sends it to the upstream and back to the client.',
  options,
  vouches: true,
  create({ header, trustIncoming }) {
    return {
      onRequest(x) {
        const incoming = trustIncoming === 'never' ? undefined : x.requestHeader(header)
        const trusted = incoming !== undefined && (trustIncoming === 'always' || x.peerTrusted)
        x.requestId = trusted && VALID.test(incoming) ? incoming : uuidV7()
        x.removeRequestHeader(header)
        // Made here, or looked at above.
        x.addProven(x.head.headers, header, x.requestId)
      },
      onResponse(x) {
        // What went upstream: another entry, with another header, may have named the request anew.
        // So it is looked at: where no upstream is asked, nobody has seen yet what a plugin wrote.
        x.setResponseHeader(header, x.requestHeader(header) ?? x.requestId)
      },
    }
  },
})
