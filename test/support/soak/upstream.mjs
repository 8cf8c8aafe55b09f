// A service for the soak, as a process that can be killed: small, slow, large and cut answers, and an echo that counts.
import { createServer } from 'node:http'

const block = Buffer.alloc(16 * 1024, 'x')

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://upstream')
  const size = Number(url.searchParams.get('size') ?? 0)
  request.on('error', () => {})
  response.on('error', () => {})
  switch (url.pathname.split('/').at(-1)) {
    case 'slow':
      request.resume()
      setTimeout(() => response.end('slow'), Number(url.searchParams.get('delay') ?? 100))
      return
    case 'large': {
      request.resume()
      let left = size
      if (url.searchParams.has('length')) response.setHeader('content-length', size)
      const write = () => {
        while (left > 0 && !response.destroyed) {
          const chunk = block.subarray(0, Math.min(left, block.length))
          left -= chunk.length
          if (!response.write(chunk)) {
            response.once('drain', write)
            return
          }
        }
        response.end()
      }
      write()
      return
    }
    case 'cut':
      request.resume()
      response.writeHead(200, { 'content-length': 1000 })
      response.write('cut')
      setTimeout(() => response.destroy(), 5)
      return
    case 'echo': {
      let count = 0
      request.on('data', chunk => {
        count += chunk.length
      })
      request.on('end', () => response.end(String(count)))
      return
    }
    default:
      request.resume()
      response.end('small')
  }
})
server.keepAliveTimeout = 60_000
server.requestTimeout = 0
server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  // @ts-expect-error: listening on a port, not a path.
  process.stdout.write(`${server.address().port}\n`)
})
// Whoever started it may be gone.
process.stdin.resume().on('end', () => process.exit())
