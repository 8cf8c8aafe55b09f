// One request by hand before and after each run: the answer must be exact to the byte, and the upstream must have got the headers a proxy owes it.
import net from 'node:net'
import type { Scenario } from './scenario.ts'
import type { UpstreamProcess } from './upstream-process.ts'

/** What every rival adds on the way up, so that all do the same work. */
const OWED = ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'via'] as const

/** Throws an Error that says what is wrong with the proxy's answer or with what reached the upstream. */
export async function checkSample(
  port: number,
  scenario: Scenario,
  headers: Readonly<Record<string, string>>,
  upstream: UpstreamProcess,
): Promise<void> {
  const target = scenario.paths[0]!
  const seen = await upstream.requests()
  const answer = await exchange(port, scenario, headers, target)
  const split = answer.indexOf('\r\n\r\n')
  const head = answer.toString('latin1', 0, split)
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(`sample answered ${JSON.stringify(head.split('\r\n')[0])}`)
  const body = /\r\ntransfer-encoding: *chunked/i.test(head)
    ? dechunk(answer.subarray(split + 4))
    : answer.subarray(split + 4)
  if (!body.equals(Buffer.alloc(scenario.answerBytes, 'upstream '))) {
    throw new Error(`sample answered ${body.length} bytes that are not the ${scenario.answerBytes} of the upstream`)
  }
  const now = await upstream.requests()
  if (now !== seen + 1) throw new Error(`the upstream saw ${now - seen} requests for one sample`)
  const up = (await upstream.lastHead()).toLowerCase()
  if (!up.startsWith(`${scenario.method.toLowerCase()} ${target} http/1.1\r\n`)) {
    throw new Error(`the upstream saw ${JSON.stringify(up.split('\r\n')[0])}`)
  }
  for (const name of OWED) {
    if (!up.includes(`\r\n${name}: `)) throw new Error(`the upstream got no ${name}`)
  }
}

function exchange(
  port: number,
  scenario: Scenario,
  headers: Readonly<Record<string, string>>,
  target: string,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = net.connect(port, '127.0.0.1')
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error('sample: no complete answer within 5 s'))
    }, 5000)
    socket.on('data', chunk => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(Buffer.concat(chunks))
    })
    const length = scenario.body === null ? '' : `content-length: ${scenario.body.length}\r\n`
    const more = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const fields = `${more.join('')}${length}`
    socket.write(`${scenario.method} ${target} HTTP/1.1\r\n${fields}connection: close\r\n\r\n`)
    if (scenario.body !== null) socket.write(scenario.body)
  })
}

function dechunk(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; ; ) {
    const line = bytes.indexOf('\r\n', at)
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (line < 0 || !(size > 0)) return Buffer.concat(parts)
    parts.push(bytes.subarray(line + 2, line + 2 + size))
    at = line + 2 + size + 2
  }
}
