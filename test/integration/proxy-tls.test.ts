// Upstreams behind TLS, with an authority made for the test: what is trusted, what is not, and under which name.
import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { makeCertificates } from '../support/certificates.ts'
import { startGateway } from '../support/gateway.ts'
import type { RawClient } from '../support/raw-client.ts'
import { eventually, stopwatch } from '../support/within.ts'

const { at, read } = makeCertificates(t, {
  server: 'DNS:inner.test,DNS:localhost,IP:127.0.0.1',
  other: 'DNS:other.test',
  client: 'DNS:gateway.test',
})

interface TlsUpstream {
  readonly port: number
  /** Names asked for by SNI, and whether the client showed a certificate. */
  readonly seen: { servername: string | false; authorized: boolean; alpn: string | false | null; text: string }[]
}

async function tlsUpstream(t: Test, certificate: string, more: TlsOptions = {}): Promise<TlsUpstream> {
  const seen: TlsUpstream['seen'] = []
  const sockets = new Set<TLSSocket>()
  const options = {
    cert: read(`${certificate}.pem`),
    key: read(`${certificate}.key`),
    ALPNProtocols: ['http/1.1'],
    ...more,
  }
  const server = createServer(options, socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    const servername = (socket as unknown as { servername: string | false }).servername
    const one = { servername, authorized: socket.authorized, alpn: socket.alpnProtocol, text: '' }
    seen.push(one)
    let request = ''
    socket.on('data', chunk => {
      request += chunk
      const body = Number(/content-length: (\d+)/.exec(request)?.[1] ?? 0)
      if (request.length < request.indexOf('\r\n\r\n') + 4 + body) return
      one.text += request.slice(0, 500)
      request = ''
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body + 2}\r\n\r\nok${'y'.repeat(body)}`)
    })
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, seen }
}

async function ask(client: RawClient, ...lines: string[]): Promise<string> {
  client.head('GET / HTTP/1.1', 'Host: h.test', ...lines)
  const answer = await client.response()
  return answer.get('content-type').includes('problem')
    ? `${answer.status} ${JSON.parse(answer.text).code}`
    : answer.text
}

/** Ask once through a gateway with these TLS options. */
async function once(
  t: Test,
  port: number,
  tls: Record<string, unknown> | undefined,
  host = '127.0.0.1',
): Promise<string> {
  const up = { endpoints: [`${host}:${port}`], scheme: 'https', ...(tls === undefined ? {} : { tls }) }
  const gateway = await startGateway(t, { up })
  return ask(await gateway.connect())
}

t.test('a certificate of a trusted authority is accepted', async t => {
  const { port, seen } = await tlsUpstream(t, 'server')
  t.equal(await once(t, port, { ca: at('ca.pem') }), 'ok')
  t.equal(seen[0]!.servername, false, 'no name is asked for where the endpoint is an address')
  t.equal(seen[0]!.alpn, 'http/1.1')
  t.match(seen[0]!.text, /x-forwarded-proto: http\r\n/)
})

t.test('one of a stranger is not, and the request is never sent', async t => {
  const { port, seen } = await tlsUpstream(t, 'server')
  t.equal(await once(t, port, undefined), '502 SLUICE_UPSTREAM_CONNECT')
  t.equal(await once(t, port, {}), '502 SLUICE_UPSTREAM_CONNECT')
  t.strictSame(
    seen.map(one => one.text),
    seen.map(() => ''),
  )
})

t.test('nor is one for another name', async t => {
  const { port } = await tlsUpstream(t, 'other')
  t.equal(await once(t, port, { ca: at('ca.pem') }), '502 SLUICE_UPSTREAM_CONNECT')
  t.equal(await once(t, port, { ca: at('ca.pem') }, 'localhost'), '502 SLUICE_UPSTREAM_CONNECT')
  t.equal(await once(t, port, { ca: at('ca.pem'), servername: 'inner.test' }), '502 SLUICE_UPSTREAM_CONNECT')
})

t.test('servername is asked for and found', async t => {
  const { port, seen } = await tlsUpstream(t, 'other')
  t.equal(await once(t, port, { ca: at('ca.pem'), servername: 'other.test' }), 'ok')
  t.equal(seen[0]!.servername, 'other.test')
})

t.test('without one, the host of the endpoint is', async t => {
  const { port, seen } = await tlsUpstream(t, 'server')
  t.equal(await once(t, port, { ca: at('ca.pem') }, 'localhost'), 'ok')
  t.equal(seen[0]!.servername, 'localhost')
})

t.test('verify: false takes any', async t => {
  const { port } = await tlsUpstream(t, 'other')
  t.equal(await once(t, port, { verify: false }), 'ok')
})

t.test('a certificate of our own is shown where it is asked for', async t => {
  const { port, seen } = await tlsUpstream(t, 'server', {
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
  })
  t.equal(await once(t, port, { ca: at('ca.pem'), cert: at('client.pem'), key: at('client.key') }), 'ok')
  t.ok(seen[0]!.authorized)
  t.match(await once(t, port, { ca: at('ca.pem') }), /^502 /, 'without one, the upstream refuses')
})

t.test('certificate files that cannot be used stop the start, each told at its place', async t => {
  const made = (name: string, text: string) => {
    writeFileSync(at(name), text)
    return at(name)
  }
  const empty = made('empty.pem', '')
  const garbage = made('garbage.pem', 'no PEM\n')
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
  const half = made('half.pem', read('ca.pem') + broken)
  const ca = at('ca.pem')
  const cases: [Record<string, string>, RegExp][] = [
    [{ ca: at('missing.pem') }, /:\d+:\d+ upstreams\.up\.tls\.ca: the file ".*missing\.pem" cannot be read/],
    // Taken as it is, an empty text would mean the usual authorities.
    [
      { ca: empty },
      /:\d+:\d+ upstreams\.up\.tls\.ca: the file ".*empty\.pem" holds no certificate \(SLUICE_CONFIG_FILE/,
    ],
    [{ ca: garbage }, /upstreams\.up\.tls\.ca: the file ".*garbage\.pem" holds no certificate/],
    [{ ca: at('server.key') }, /upstreams\.up\.tls\.ca: the file ".*server\.key" holds no certificate/],
    [{ ca: half }, /upstreams\.up\.tls\.ca: the file ".*half\.pem" holds a certificate that cannot be read/],
    [{ ca, cert: garbage, key: at('client.key') }, /upstreams\.up\.tls\.cert: .* holds no certificate/],
    [{ ca, cert: at('client.pem'), key: garbage }, /upstreams\.up\.tls\.key: .* holds no private key that can be read/],
    [{ ca, cert: at('client.pem'), key: empty }, /upstreams\.up\.tls\.key: .* holds no private key that can be read/],
    [{ ca, cert: at('client.pem'), key: at('other.key') }, /tls\.key: .* does not belong to the certificate/],
    [{ ca: empty, cert: empty, key: empty }, /tls\.ca: .*\n.*tls\.cert: .*\n.*tls\.key: /],
  ]
  for (const [tls, fault] of cases) {
    await t.rejects(
      startGateway(t, { up: { endpoints: ['127.0.0.1:1'], scheme: 'https', tls } }),
      { name: 'ConfigError', message: fault },
      JSON.stringify(tls),
    )
  }
})

t.test('a bundle, and a certificate in one file with its key', async t => {
  const { port } = await tlsUpstream(t, 'server', { ca: read('ca.pem'), requestCert: true, rejectUnauthorized: true })
  writeFileSync(at('bundle.pem'), `# two of them\n${read('other.pem')}${read('ca.pem')}`)
  writeFileSync(at('both.pem'), read('client.pem') + read('client.key'))
  t.equal(await once(t, port, { ca: at('bundle.pem'), cert: at('both.pem'), key: at('both.pem') }), 'ok')
})

t.test('probes trust the same authorities and show the same certificate', async t => {
  const { port, seen } = await tlsUpstream(t, 'server', {
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
  })
  const health = { active: { interval: '50ms', timeout: '1s' } }
  const healthy = async (tls: Record<string, unknown>) => {
    const up = { endpoints: [`127.0.0.1:${port}`], scheme: 'https', tls, health }
    const { health: found } = (await startGateway(t, { up })).endpoint()
    await eventually(
      () => found.active === 'healthy' || found.probeFault !== '',
      () => 'there was no probe',
    )
    return found.active === 'healthy'
  }
  t.ok(await healthy({ ca: at('ca.pem'), cert: at('client.pem'), key: at('client.key') }))
  t.ok(seen.some(one => one.authorized && one.text.includes('sluice-health')))
  t.notOk(await healthy({ ca: at('ca.pem') }))
  t.notOk(await healthy({ ca: at('other.pem'), cert: at('client.pem'), key: at('client.key') }))
})

t.test('plain HTTP where TLS is due is 502', async t => {
  const { port } = await tlsUpstream(t, 'server')
  const gateway = await startGateway(t, { up: { endpoints: [`127.0.0.1:${port}`] }, route: { retry: { attempts: 0 } } })
  t.match(await ask(await gateway.connect()), /^502 /)
})

t.test('bodies of all sizes pass both ways, over one connection', async t => {
  const { port, seen } = await tlsUpstream(t, 'server')
  const gateway = await startGateway(t, {
    up: { endpoints: [`127.0.0.1:${port}`], scheme: 'https', tls: { ca: at('ca.pem') } },
  })
  const client = await gateway.connect()
  for (const size of [0, 1, 16_383, 16_384, 16_385, 100_000, 1_000_000]) {
    client.head('POST / HTTP/1.1', 'Host: h.test', `Content-Length: ${size}`).send(Buffer.alloc(size, 'x'))
    const answer = await client.response('GET', 10_000)
    t.equal(answer.body.length, size + 2)
    t.equal(answer.text, `ok${'y'.repeat(size)}`)
  }
  t.equal(seen.length, 1)
})

t.test('an upstream that accepts and never shakes hands is 504 in the connect time', async t => {
  const { createServer: plain } = await import('node:net')
  const server = plain(socket => socket.on('error', () => {}))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  const gateway = await startGateway(t, {
    up: {
      endpoints: [`127.0.0.1:${(server.address() as AddressInfo).port}`],
      scheme: 'https',
      timeouts: { connect: '200ms' },
    },
    route: { retry: { attempts: 0 } },
  })
  const took = stopwatch()
  t.equal(await ask(await gateway.connect()), '504 SLUICE_UPSTREAM_TIMEOUT')
  t.ok(took() < 2_000)
})
