// ip-filter through a running gateway, with clients from several addresses of the loopback and behind a trusted proxy.
import { request } from 'node:http'
import t, { type Test } from 'tap'
import { startGateway } from '../support/gateway.ts'

async function chain(t: Test, filter: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const gateway = await startGateway(t, {
    ...more,
    plugins: [{ 'ip-filter': filter }],
    routes: [{ name: 'own', match: { path: '/*' }, respond: { status: 200, body: 'in' } }],
  })
  /** One request from an address of this machine, with what it claims of others. */
  return (from: string, forwarded?: string) =>
    new Promise<number>((resolve, reject) => {
      const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
      const asked = request({ host: '127.0.0.1', port: gateway.port, localAddress: from, headers, agent: false })
      asked.on('response', response => {
        response.resume()
        resolve(response.statusCode!)
      })
      asked.on('error', reject)
      asked.end()
    })
}

t.test('who is let in, and who is not', async t => {
  const ask = await chain(t, { allow: ['127.0.0.0/30'], deny: ['127.0.0.2'] })
  t.equal(await ask('127.0.0.1'), 200)
  t.equal(await ask('127.0.0.2'), 403, 'deny counts even where allow names it')
  t.equal(await ask('127.0.0.3'), 200)
  t.equal(await ask('127.0.0.4'), 403)
  const open = await chain(t, { deny: ['127.0.0.2', '::/0'] })
  t.equal(await open('127.0.0.1'), 200, 'all IPv6 is not IPv4')
  t.equal(await open('127.0.0.2'), 403)
})

t.test('behind a trusted proxy the client counts, with IPv6 and mapped addresses; else the peer', async t => {
  const filter = { allow: ['192.0.2.0/24', '2001:db8::/32'], deny: ['2001:db8:bad::/48'] }
  const ask = await chain(t, filter, { trustedProxies: ['127.0.0.1/32'] })
  for (const [client, status] of [
    ['192.0.2.7', 200],
    ['::ffff:192.0.2.7', 200],
    ['::ffff:c000:207', 200],
    ['198.51.100.7', 403],
    ['2001:db8::1', 200],
    ['2001:db8:bad::1', 403],
    ['2001:db9::1', 403],
    ['10.0.0.1, 192.0.2.7', 200],
    ['192.0.2.7, 10.0.0.1', 403],
    ['nonsense', 403],
  ] as const)
    t.equal(await ask('127.0.0.1', client), status, client)
  t.equal(await ask('127.0.0.2', '192.0.2.7'), 403, 'whoever is not trusted is not believed')
})

t.test('faults at load', async t => {
  for (const [filter, said] of [
    [{}, /ip-filter: allow or deny is due/],
    [{ allow: [] }, /allow: an empty list lets nobody in/],
    [{ deny: [] }, /deny: an empty list keeps nobody out/],
    [{ allow: ['10.0.0.0/33'] }, /allow\[0\]: a network or an address is due/],
    [{ allow: ['fe80::1%eth0'] }, /allow\[0\]: a network or an address is due/],
    [{ deny: ['example.com'] }, /deny\[0\]: a network or an address is due/],
  ] as const) {
    const config = { plugins: [{ 'ip-filter': filter }], routes: [{ name: 'a', respond: {} }] }
    await t.rejects(startGateway(t, config), { message: said }, JSON.stringify(filter))
  }
})
