// Asking over HTTP: streams of lines in pieces of any size, and credentials in an address.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { AnswerError, asList, HttpRegistry } from '../../../src/discovery/ask.ts'
import { askTls } from '../../../src/discovery/http-options.ts'
import { type CertificatePaths, readCertificates } from '../../../src/http/certificates.ts'
import { makeCertificates } from '../../support/certificates.ts'
import { freeze } from '../../support/freeze.ts'
import { pause, within } from '../../support/within.ts'

const signal = new AbortController().signal

/** A registry with a server for each of the answers. */
async function registry(t: Test, ...answers: RequestListener[]): Promise<HttpRegistry> {
  const addresses: string[] = []
  for (const answer of answers) addresses.push(`http://127.0.0.1:${await portOf(t, answer)}`)
  const made = new HttpRegistry(addresses)
  t.teardown(() => made.close())
  return made
}

/** Where a server gives this answer. */
async function portOf(t: Test, answer: RequestListener): Promise<number> {
  const server = createServer(answer)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function linesOf(asked: HttpRegistry): Promise<string[]> {
  const lines: string[] = []
  for await (const line of asked.lines({ path: '/', signal })) lines.push(line)
  return lines
}

t.test('lines, however they are cut', async t => {
  const text = '{"a":"ä€😀"}\n\n  \n{"b":1}\r\nlast'
  const bytes = Buffer.from(text)
  const expected = ['{"a":"ä€😀"}', '{"b":1}\r', 'last']
  t.same(await linesOf(await registry(t, (_request, response) => response.end(text))), expected)
  const single = await registry(t, (_request, response) => {
    for (const byte of bytes) response.write(Uint8Array.of(byte))
    response.end()
  })
  t.same(await linesOf(single), expected)
})

t.test('a status that is none of success says what was asked, without what may be secret', async t => {
  const answer: RequestListener = (_request, response) => response.writeHead(404).end()
  const port = await portOf(t, answer)
  const made = new HttpRegistry([`http://user:secret@127.0.0.1:${port}/nacos`])
  t.teardown(() => made.close())
  await t.rejects(made.ask({ path: '/nacos/list?accessToken=secret', signal }), {
    message: `answered 404 to GET http://127.0.0.1:${port}/nacos/nacos/list`,
    status: 404,
  })
})

t.test('a long line in small pieces takes time in proportion', async t => {
  const asked = await registry(t, async (_request, response) => {
    response.write('x'.repeat(3_000_000))
    for (let i = 0; i < 5000; i++) {
      response.write('y')
      await setImmediate()
    }
    response.end('\nend\n')
  })
  const began = process.cpuUsage()
  t.same(
    (await linesOf(asked)).map(line => line.length),
    [3_005_000, 3],
  )
  const { user } = process.cpuUsage(began)
  t.ok(user < 2_000_000, `${Math.round(user / 1000)} ms`)
})

t.test('a line without an end is given up', async t => {
  let ended = false
  const asked = await registry(t, (_request, response) => {
    response.on('close', () => {
      ended = true
    })
    const more = () => {
      while (!ended && response.write('x'.repeat(100_000)));
    }
    response.on('drain', more)
    more()
  })
  await t.rejects(linesOf(asked), { name: 'AnswerError', message: 'a line of the answer is longer than 4 MiB' })
})

t.test('one of two servers is passed over however it fails, and however many ask it at a time', async t => {
  const faults: Record<string, RequestListener> = {
    'a reset': request => request.socket.destroy(),
    'status 500': (_request, response) => response.writeHead(500).end(),
    'no JSON': (_request, response) => response.end('<!doctype html>'),
    'half an answer': (_request, response) => {
      response.write('{"a":')
      setTimeout(() => response.destroy(), 20)
    },
  }
  const good: RequestListener = (_request, response) => response.end('{}')
  for (const [name, fault] of Object.entries(faults)) {
    const asked = await registry(t, fault, good)
    const ask = (more: object = {}) => asked.askJson({ path: '/', signal, ...more })
    t.same(await Promise.all([ask(), ask()]), [{}, {}], name)
    t.same(await ask({ waits: true }), {}, name)
    const broken = await registry(t, fault, fault)
    await t.rejects(broken.askJson({ path: '/', signal }), name)
    const waited = await registry(t, fault, good)
    await t.rejects(waited.askJson({ path: '/', signal, waits: true }), `${name}, and a wait is not begun again`)
    t.same(await waited.askJson({ path: '/', signal, waits: true }), {}, name)
  }
  const endless = await registry(t, (_request, response) => void response.write('{"a":'), good)
  const ask = () => endless.askJson({ path: '/', signal: AbortSignal.timeout(300) })
  for (const { status } of await Promise.allSettled([ask(), ask()])) t.equal(status, 'rejected', 'no time is left')
  t.same(await Promise.all([ask(), ask()]), [{}, {}])
})

/** A server whose machine says nothing any more: it takes no connection, and refuses none. */
async function silentServer(t: Test): Promise<string> {
  const listen = "listen({ host: '127.0.0.1', port: 0, backlog: 1 }, function () { console.log(this.address().port) })"
  const child = spawn(process.execPath, ['-e', `require('node:net').createServer().${listen}`])
  t.teardown(() => void child.kill('SIGKILL'))
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  await freeze(child)
  const port = Number(line)
  // What the kernel takes by itself is soon taken.
  for (let taken = true; taken; ) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.teardown(() => void socket.destroy())
    taken = await Promise.race([once(socket, 'connect').then(() => true), pause(500).then(() => false)])
  }
  return `http://127.0.0.1:${port}`
}

t.test('one of two servers that takes no connection leaves time for the other', async t => {
  const good = createServer((_request, response) => response.end('{}'))
  await new Promise<void>(resolve => good.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void good.close())
  const silent = await silentServer(t)
  const asked = new HttpRegistry([silent, `http://127.0.0.1:${(good.address() as AddressInfo).port}`])
  t.teardown(() => asked.close())
  t.same(await asked.askJson({ path: '/', signal: AbortSignal.timeout(4500) }), {})
  const alone = new HttpRegistry([silent])
  t.teardown(() => alone.close())
  const abort = new AbortController()
  const waiting = alone.askJson({ path: '/', signal: abort.signal })
  setTimeout(() => abort.abort(), 50)
  await within(1000, t.rejects(waiting, { name: 'AbortError' }), () => 'an abort is not heard')
})

t.test('an answer in gzip, which a server may send unasked', async t => {
  let body = gzipSync('{"a":1}')
  let encoding = 'gzip'
  const asked = await registry(t, (_request, response) =>
    response.writeHead(200, { 'content-encoding': encoding }).end(body),
  )
  const ask = () => asked.askJson({ path: '/', signal })
  t.same(await ask(), { a: 1 })
  encoding = 'GZIP'
  t.same(await ask(), { a: 1 })
  body = body.subarray(0, -4)
  await t.rejects(ask(), { name: 'AnswerError', message: 'the answer is no gzip' })
  body = gzipSync(Buffer.alloc(17 * 1024 * 1024, '['))
  await t.rejects(ask(), { name: 'AnswerError', message: 'the answer is larger than 16 MiB' })
  encoding = 'br'
  await t.rejects(ask(), { name: 'AnswerError', message: 'the answer is encoded as br' })
})

t.test('the bytes of the last answer about a service are read once', async t => {
  let body = '{"a":1}'
  const asked = await registry(t, (_request, response) => response.end(body))
  let made = 0
  const ask = async (service = 's') => {
    const make = (value: unknown) => {
      if (Array.isArray(value)) throw new AnswerError('is a list')
      made++
      return { value }
    }
    return (await asked.askAbout(service, { path: '/', signal }, make)).value
  }
  const first = await ask()
  t.same(first, { value: { a: 1 } })
  t.equal(await ask(), first)
  t.not(await ask('other'), first, 'another service is another answer')
  t.equal(made, 2)
  body = '{"a":2}'
  const second = await ask()
  t.same(second, { value: { a: 2 } })
  // What cannot be used is refused each time, and takes nothing away.
  body = '[]'
  for (let i = 0; i < 2; i++) await t.rejects(ask(), { message: 'is a list' })
  body = '{"a"'
  await t.rejects(ask(), { message: 'the answer is no JSON' })
  body = '{"a":2}'
  t.equal(await ask(), second)
  body = '{"a":1}'
  t.same(await ask(), first)
  t.equal(made, 4)
})

t.test('a server that answers something else than was asked for is passed over', async t => {
  const asked = await registry(
    t,
    (_request, response) => response.end('{"error":"no leader"}'),
    (_request, response) => response.end('[1]'),
  )
  const ask = async () =>
    (await asked.askAbout('s', { path: '/', signal }, answer => asList(answer, 'the answer'))).value
  t.same(await ask(), [1])
})

t.test('over TLS: the authorities that were named, and a certificate to show', async t => {
  const { at, read } = makeCertificates(t, {
    server: 'IP:127.0.0.1',
    client: 'DNS:client.test',
    other: 'DNS:other.test',
  })
  const server = createSecureServer(
    {
      cert: read('server.pem'),
      key: read('server.key'),
      ca: read('ca.pem'),
      requestCert: true,
      rejectUnauthorized: true,
    },
    (_request, response) => response.end('{}'),
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const ask = async ({ verify, ...paths }: CertificatePaths & { verify?: boolean }) => {
    const asked = new HttpRegistry(
      [`https://127.0.0.1:${(server.address() as AddressInfo).port}`],
      askTls(readCertificates(paths, at), verify),
    )
    t.teardown(() => asked.close())
    return asked.askJson({ path: '/', signal })
  }
  const shown = { cert: 'client.pem', key: 'client.key' }
  t.same(await ask({ ca: 'ca.pem', ...shown }), {})
  t.same(await ask({ verify: false, ...shown }), {})
  await t.rejects(ask({ ca: 'other.pem', ...shown }), /unable to verify|self-signed/)
  await t.rejects(ask(shown), /unable to verify|self-signed/)
  await t.rejects(ask({ ca: 'ca.pem' }))
})
