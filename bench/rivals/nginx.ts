// nginx with one worker, keep-alive to the upstream and the headers that Sluice adds.
import fs from 'node:fs'
import path from 'node:path'
import { freePort } from '../../test/support/free-port.ts'
import { routePrefix } from '../load/scenario.ts'
import { type Rival, RivalProcess, versionLine } from './rival.ts'

export const nginx: Rival = {
  name: 'nginx',
  version: () => versionLine('nginx', ['-v'])?.replace('nginx version: nginx/', '') ?? null,
  async start({ upstreamPorts, routes, folder }) {
    const port = await freePort()
    const file = path.join(folder, 'nginx.conf')
    const prefixes = routes === 1 ? ['/'] : Array.from({ length: routes }, (_, i) => `${routePrefix(i)}/`)
    fs.writeFileSync(
      file,
      `daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  client_body_buffer_size 128k;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header Via "1.1 nginx";
  add_header Via "1.1 nginx";
  upstream bench {
${upstreamPorts.map(p => `    server 127.0.0.1:${p};`).join('\n')}
    keepalive 256;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
${prefixes.map(p => `    location ${p} { proxy_pass http://bench; }`).join('\n')}
  }
}
`,
    )
    const server = new RivalProcess('nginx', ['-p', folder, '-c', file, '-e', 'stderr'])
    await server.accepts(port)
    return server.running(port)
  },
}
