// The http-proxy-3 rival as its own process, plain JavaScript so that nothing of ours runs in it. Arguments: upstream ports.
import http from 'node:http'
import { createProxyServer } from 'http-proxy-3'

const targets = process.argv.slice(2).map(port => `http://127.0.0.1:${port}`)
const proxy = createProxyServer({
  agent: new http.Agent({ keepAlive: true, maxSockets: 256 }),
  xfwd: true,
  headers: { via: '1.1 http-proxy-3' },
})
proxy.on('error', (_error, _req, res) => {
  if ('writeHead' in res && !res.headersSent) res.writeHead(502)
  res.end()
})
proxy.on('proxyRes', (_up, _req, res) => res.setHeader('via', '1.1 http-proxy-3'))

let turn = 0
const server = http.createServer({ keepAliveTimeout: 60_000 }, (req, res) => {
  turn = (turn + 1) % targets.length
  proxy.web(req, res, { target: targets[turn] })
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => console.log(`port ${server.address().port}`))
