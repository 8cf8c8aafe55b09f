// The upstream of the bench as its own process: a raw responder on node:net that answers from prepared bytes and counts what it saw.
//
// It reads only what a proxy can be trusted to send: well-formed heads, Content-Length or chunked bodies. Parsing is as
// little as will do, because on a small machine every microsecond here is taken from the proxy.
import net from 'node:net'

/** What the bench asks over the process channel, and what comes back. */
export type UpstreamRequest = 'count' | 'last-head'
export type UpstreamReply = { requests: number; bodyBytes: number } | { head: string }

const HEAD_END = Buffer.from('\r\n\r\n')
const CHUNKED_END = Buffer.from('0\r\n\r\n')
const answers = new Map<string, Buffer>()
let requests = 0
let bodyBytes = 0
let lastHead = ''

/** The prepared answer for a request line; its body length is the `bytes` parameter of the target. */
function answerTo(requestLine: string): Buffer {
  const known = answers.get(requestLine)
  if (known !== undefined) return known
  const length = Number(/[?&]bytes=(\d+)/.exec(requestLine)?.[1] ?? 150)
  const answer = Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${length}\r\n\r\n`),
    Buffer.alloc(length, 'upstream '),
  ])
  if (answers.size < 20_000) answers.set(requestLine, answer)
  return answer
}

/** Length of the body after a head: a number, or -1 for chunked. */
function bodyLength(head: string): number {
  if (head.startsWith('GET ')) return 0
  const lower = head.toLowerCase()
  const at = lower.indexOf('\r\ncontent-length:')
  if (at >= 0) return Number.parseInt(lower.slice(at + 17), 10)
  return lower.includes('\r\ntransfer-encoding:') ? -1 : 0
}

function serve(socket: net.Socket): void {
  let rest: Buffer | null = null
  let skip = 0
  let chunked = false
  let pending: Buffer | null = null
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', data => {
    let buffer = rest === null ? data : Buffer.concat([rest, data])
    rest = null
    const out: Buffer[] = []
    for (;;) {
      if (skip > 0) {
        const taken = Math.min(skip, buffer.length)
        skip -= taken
        bodyBytes += taken
        buffer = buffer.subarray(taken)
        if (skip > 0) break
      }
      if (chunked) {
        // Only the last chunk matters: the bench's bodies hold no zero, so the mark cannot stand inside one.
        const end = buffer.indexOf(CHUNKED_END)
        if (end < 0) {
          rest = buffer
          break
        }
        bodyBytes += end
        buffer = buffer.subarray(end + CHUNKED_END.length)
        chunked = false
      }
      if (pending !== null) {
        out.push(pending)
        pending = null
      }
      if (buffer.length === 0) break
      const end = buffer.indexOf(HEAD_END)
      if (end < 0) {
        rest = buffer
        break
      }
      const head = buffer.toString('latin1', 0, end)
      requests++
      lastHead = head
      pending = answerTo(head.slice(0, head.indexOf('\r\n')))
      const length = bodyLength(head)
      buffer = buffer.subarray(end + HEAD_END.length)
      if (length < 0) chunked = true
      else skip = length
    }
    if (out.length === 1) socket.write(out[0]!)
    else if (out.length > 1) socket.write(Buffer.concat(out))
  })
}

const server = net.createServer({ noDelay: true }, serve)
server.listen(0, '127.0.0.1', 4096, () => {
  process.send?.({ port: (server.address() as net.AddressInfo).port })
})
process.on('message', (what: UpstreamRequest) => {
  process.send?.(what === 'count' ? { requests, bodyBytes } : { head: lastHead })
})
process.on('disconnect', () => process.exit(0))
