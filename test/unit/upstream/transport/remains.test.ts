// Answers of upstreams that break the connection while the request is still being sent: what arrived before counts.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import type { GatewayError } from '../../../../src/errors.ts'
import { secureContext } from '../../../../src/http/certificates.ts'
import type { BodySource, RequestHead } from '../../../../src/http/head.ts'
import { Http1Pool } from '../../../../src/upstream/transport/pool.ts'
import { makeCertificates } from '../../../support/certificates.ts'
import { requestHead } from '../../../support/request-head.ts'
import { eventually } from '../../../support/within.ts'

const certificates = makeCertificates(t, { up: 'IP:127.0.0.1' })
const files = { cert: certificates.read('up.pem'), key: certificates.read('up.key') }
const context = secureContext({ ...files, ca: certificates.read('ca.pem') })

/** An upstream whose connections the test drives, and a pool of connections to it. */
async function upstream(t: Test, scheme: 'http' | 'https') {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const peers: { raw: Socket; socket: Socket; text: string }[] = []
  server.on('connection', raw => {
    const socket = scheme === 'http' ? raw : new TLSSocket(raw, { isServer: true, secureContext: context })
    const peer = { raw, socket, text: '' }
    peers.push(peer)
    for (const any of new Set([raw, socket])) any.on('error', () => {})
    socket.on('data', chunk => {
      peer.text += chunk.toString('latin1')
    })
    t.teardown(() => raw.destroy())
  })
  t.teardown(() => server.close())
  const pool = new Http1Pool('127.0.0.1', (server.address() as AddressInfo).port, {
    scheme,
    tls: scheme === 'http' ? null : { context, verify: true, servername: null },
    connections: { max: 2, pending: 1, idle: 10_000 },
    timeouts: { connect: 5000, response: 5000, idle: 5000 },
    lookup: null,
  })
  t.teardown(() => pool.close())
  const peer = async (index: number, sent: string) => {
    await eventually(
      () => peers[index]?.text.includes(sent) === true,
      () => `${sent} did not come on connection ${index}`,
    )
    return peers[index]!
  }
  return { pool, peer }
}

/** Send a request, with a body that is there at once where it is given; `came` is what its sink is told, as one text. */
function send(pool: Http1Pool, head: RequestHead, whole: Uint8Array | null = null) {
  const body: BodySource = {
    onChunk: null,
    trailers: null,
    pause() {},
    resume() {
      if (whole !== null) body.onChunk?.(whole, true)
    },
  }
  const sent = { body, came: '', error: null as GatewayError | null }
  pool.send(
    head,
    'h.test',
    body,
    {
      onHead({ status }) {
        sent.came += status
      },
      onChunk(chunk) {
        sent.came += ` ${chunk.length}`
        return true
      },
      onReadEnd() {},
      onEnd() {
        sent.came += ' end'
      },
      onError(error) {
        sent.came += ` ${error.code}`
        sent.error = error
      },
    },
    Number.POSITIVE_INFINITY,
  )
  return sent
}

const upload = () => ({ ...requestHead('POST', 'h.test', '/upload'), bodyLength: 1e6 })

// The answer and the reset are there before the next bytes are written, and nothing is read in between.
for (const scheme of ['http', 'https'] as const) {
  for (const size of [100, 20_000, 70_000]) {
    t.test(`${scheme}: the answer before the reset is read when ${size} bytes can no longer be written`, async t => {
      const { pool, peer } = await upstream(t, scheme)
      const sent = send(pool, upload())
      const { raw, socket } = await peer(0, '/upload')
      socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig')
      raw.resetAndDestroy()
      sent.body.onChunk!(new Uint8Array(size), false)
      await eventually(
        () => sent.came !== '',
        () => 'nothing came',
      )
      t.equal(sent.came, '413 3 end')
      await eventually(
        () => pool.open === 0,
        () => 'the connection is kept',
      )
    })
  }

  t.test(`${scheme}: an answer that was cut is cut, one that ends with the connection too`, async t => {
    for (const length of ['Content-Length: 9\r\n', '']) {
      const { pool, peer } = await upstream(t, scheme)
      const sent = send(pool, upload())
      const { raw, socket } = await peer(0, '/upload')
      socket.write(`HTTP/1.1 413 Content Too Large\r\n${length}\r\nbig`)
      raw.resetAndDestroy()
      sent.body.onChunk!(new Uint8Array(20_000), false)
      await eventually(
        () => sent.error !== null,
        () => `no error behind ${sent.came}`,
      )
      t.equal(sent.came, '413 3 SLUICE_UPSTREAM_RESET')
    }
  })

  t.test(`${scheme}: an answer up to the end of the connection is whole with its FIN, not with a reset`, async t => {
    for (const how of ['end', 'resetAndDestroy'] as const) {
      const { pool, peer } = await upstream(t, scheme)
      const sent = send(pool, requestHead('GET', 'h.test', '/'))
      const { raw, socket } = await peer(0, 'GET /')
      socket.write('HTTP/1.1 200 OK\r\n\r\nall')
      if (how === 'end') socket.end()
      else raw.resetAndDestroy()
      const due = `200 3 ${how === 'end' ? 'end' : 'SLUICE_UPSTREAM_RESET'}`
      await eventually(
        () => sent.came.length >= due.length,
        () => `only ${sent.came} came`,
      )
      t.equal(sent.came, due)
    }
  })

  t.test(`${scheme}: what a used connection brought before anything was sent is no answer`, async t => {
    for (const size of [0, 100, 20_000]) {
      const { pool, peer } = await upstream(t, scheme)
      const first = send(pool, requestHead('GET', 'h.test', '/first'))
      const { raw, socket } = await peer(0, '/first')
      socket.write('HTTP/1.1 204 No Content\r\n\r\n')
      await eventually(
        () => pool.idle === 1,
        () => `no connection is free after ${first.came}`,
      )
      socket.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n')
      raw.resetAndDestroy()
      const head = requestHead(size === 0 ? 'GET' : 'POST', 'h.test', '/second')
      const sent = send(pool, { ...head, bodyLength: size }, new Uint8Array(size))
      // Nothing of it went out, so it is sent again, whatever it is.
      ;(await peer(1, '/second')).socket.write('HTTP/1.1 204 No Content\r\n\r\n')
      await eventually(
        () => sent.came !== '',
        () => 'nothing came',
      )
      t.equal(sent.came, '204 end')
    }
  })
}
