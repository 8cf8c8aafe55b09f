// What reading a head costs: nanoseconds of CPU and bytes of heap, for the heads that clients and upstreams send.
// Run: node --import=./scripts/loader/register.mjs bench/micro/head-parse.ts
//
// Bytes are the growth of the used heap over a batch that fits into the young generation many times over. A collection
// inside a batch makes that one figure too small, or negative; the median over the batches does not see it.
import v8 from 'node:v8'
import { HeadParser } from '../../src/http1/head-parser.ts'

// Before anything is allocated: room for a batch without a collection.
v8.setFlagsFromString('--min-semi-space-size=64')
v8.setFlagsFromString('--max-semi-space-size=64')

const ROUNDS = 21
const CALLS_A_ROUND = 100_000
const CALLS_A_BATCH = 1_000
const LIMITS = { bytes: 64 * 1024, count: 256 }

const lines = (...fields: string[]) => `${fields.join('\r\n')}\r\n\r\n`
const REQUESTS = {
  'request, 2 fields (autocannon)': lines(
    'GET /orders/17?full=1 HTTP/1.1',
    'Host: localhost:8080',
    'Connection: keep-alive',
  ),
  'request, 3 fields (curl)': lines(
    'GET /orders/17 HTTP/1.1',
    'Host: api.example.com',
    'User-Agent: curl/8.5.0',
    'Accept: */*',
  ),
  'request, 15 fields (browser)': lines(
    'GET /shop/items/1234?ref=home&sort=price HTTP/1.1',
    'Host: shop.example.com',
    'Connection: keep-alive',
    'Cache-Control: max-age=0',
    'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"',
    'sec-ch-ua-mobile: ?0',
    'sec-ch-ua-platform: "Linux"',
    'Upgrade-Insecure-Requests: 1',
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36',
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
    'Sec-Fetch-Site: same-origin',
    'Sec-Fetch-Mode: navigate',
    'Referer: https://shop.example.com/',
    'Accept-Encoding: gzip, deflate, br, zstd',
    'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
    'Cookie: session=3f2b9c0d4e5f60718293a4b5c6d7e8f9; theme=dark; consent=all; _ga=GA1.1.1234567890.1700000000; cart=17',
  ),
}
const RESPONSES = {
  'answer, 2 fields': lines('HTTP/1.1 200 OK', 'content-type: text/plain', 'content-length: 150'),
  'answer, 7 fields': lines(
    'HTTP/1.1 200 OK',
    'Server: nginx',
    'Date: Sat, 21 Nov 2026 12:00:00 GMT',
    'Content-Type: application/json; charset=utf-8',
    'Transfer-Encoding: chunked',
    'Connection: keep-alive',
    'ETag: W/"2f-9dA"',
    'Cache-Control: private, no-cache',
  ),
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!
const parser = new HeadParser()
// A list of those read last: results live for a moment in service too.
const kept: unknown[] = new Array(64).fill(null)

function measure(text: string, read: (bytes: Buffer) => number): { ns: string; bytes: string } {
  const bytes = Buffer.from(text, 'latin1')
  const call = (i: number) => {
    if (read(bytes) !== bytes.length) throw new Error(`not read: ${parser.reason}`)
    kept[i & 63] = parser.headers
  }
  const times: number[] = []
  const sizes: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage()
    for (let i = 0; i < CALLS_A_ROUND; i++) call(i)
    const used = process.cpuUsage(start)
    times.push(((used.user + used.system) * 1_000) / CALLS_A_ROUND)
  }
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < CALLS_A_BATCH; i++) call(i)
    sizes.push((process.memoryUsage().heapUsed - before) / CALLS_A_BATCH)
  }
  return { ns: median(times).toFixed(0), bytes: median(sizes).toFixed(0) }
}

const rows: Record<string, { ns: string; bytes: string; 'head, bytes': number }> = {}
for (const [name, text] of Object.entries(REQUESTS)) {
  const cost = measure(text, bytes => parser.request(bytes, 0, bytes.length, LIMITS))
  rows[name] = { ...cost, 'head, bytes': text.length }
}
for (const [name, text] of Object.entries(RESPONSES)) {
  const cost = measure(text, bytes => parser.response(bytes, 0, bytes.length, LIMITS))
  rows[name] = { ...cost, 'head, bytes': text.length }
}
console.table(rows)
