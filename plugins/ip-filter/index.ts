// ip-filter: who may come at all? Networks that are let in, and networks that are not.
import { CidrSet, definePlugin, PluginOptionsError, parseCidr, problemReply, z } from '../../src/plugin-api.ts'

const network = z.string().refine(text => parseCidr(text) !== null, {
  error: 'a network or an address is due, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32',
})
const networks = z.array(network, { error: 'a list of networks is due' })

const options = z.strictObject({
  allow: networks
    .optional()
    .describe('Who is let in; all others get 403. Absent: everybody that `deny` does not name.'),
  deny: networks.optional().describe('Who gets 403, even where `allow` names them too.'),
})

export default definePlugin({
  name: 'ip-filter',
  description: 'Lets clients in by their address, IPv4 or IPv6, and answers 403 to the rest.',
  options,
  check({ allow, deny }, { part }) {
    if (allow === undefined && deny === undefined) throw new PluginOptionsError('allow or deny is due')
    // What an environment variable or a template left empty must not shut everybody out, nor let everybody in.
    part(() => {
      if (allow?.length === 0) throw new PluginOptionsError('an empty list lets nobody in; leave it out', ['allow'])
    })
    if (deny?.length === 0) throw new PluginOptionsError('an empty list keeps nobody out; leave it out', ['deny'])
  },
  vouches: true,
  create({ allow, deny }, context) {
    const allowed = allow === undefined ? null : new CidrSet(allow)
    const denied = deny === undefined ? null : new CidrSet(deny)
    const refused = context.counter('refused')
    return {
      onRequest(x) {
        const address = x.clientIp
        // Without an address, which a socket that is already gone has not, nobody can be told apart.
        const welcome = address !== '' && !denied?.has(address) && (allowed === null || allowed.has(address))
        if (welcome) return
        refused()
        return problemReply(x, 'SLUICE_FORBIDDEN')
      },
    }
  },
})
