// The @fastify/http-proxy rival as its own process, plain JavaScript so that nothing of ours runs in it. Arguments: upstream ports.
import proxy from '@fastify/http-proxy'
import fastify from 'fastify'

const targets = process.argv.slice(2).map(port => `http://127.0.0.1:${port}`)
const app = fastify({ logger: false, keepAliveTimeout: 60_000 })
await app.register(proxy, {
  upstream: targets.length === 1 ? targets[0] : '',
  undici: { connections: 256, pipelining: 1 },
  disableRequestLogging: true,
  replyOptions: {
    ...(targets.length === 1 ? {} : { getUpstream: () => targets[Math.floor(Math.random() * targets.length)] }),
    rewriteRequestHeaders: (request, headers) => ({
      ...headers,
      host: request.headers.host,
      'x-forwarded-for': request.ip,
      'x-forwarded-proto': request.protocol,
      'x-forwarded-host': request.headers.host,
      via: '1.1 fastify',
    }),
    rewriteHeaders: headers => ({ ...headers, via: '1.1 fastify' }),
  },
})
await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
console.log(`port ${app.server.address().port}`)
