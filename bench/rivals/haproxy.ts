// HAProxy with one thread, connections to the upstream always shared, and the headers that Sluice adds.
import fs from 'node:fs'
import path from 'node:path'
import { freePort } from '../../test/support/free-port.ts'
import { routePrefix } from '../load/scenario.ts'
import { type Rival, RivalProcess, versionLine } from './rival.ts'

export const haproxy: Rival = {
  name: 'haproxy',
  version: () => /version (\S+)/.exec(versionLine('haproxy', ['-v']) ?? '')?.[1] ?? null,
  async start({ upstreamPorts, routes, haproxy: more, folder }) {
    const port = await freePort()
    const file = path.join(folder, 'haproxy.cfg')
    // Routes as HAProxy does many of them: a map file, looked up by the first segment, that names the backend.
    const map = path.join(folder, 'routes.map')
    fs.writeFileSync(map, Array.from({ length: routes }, (_, i) => `${routePrefix(i)} bench\n`).join(''))
    const choose =
      routes === 1 ? 'default_backend bench' : `use_backend %[path,field(2,/),regsub(^,/),map_str(${map},none)]`
    const server = (name: string, port: number, weight: number) =>
      `  server ${name} 127.0.0.1:${port} pool-max-conn 256 weight ${weight}`
    const servers = upstreamPorts.map((p, i) => server(`s${i}`, p, more?.weights[0] ?? 1))
    if (more) servers.push(server('canary', upstreamPorts[0]!, more.weights[1]))
    fs.writeFileSync(
      file,
      `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
frontend web
  bind 127.0.0.1:${port} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request add-header Via "1.1 haproxy"
  http-response add-header Via "1.1 haproxy"
${(more?.frontend ?? []).map(line => `  ${line}\n`).join('')}  ${choose}
backend none
  http-request return status 404
backend bench
${servers.join('\n')}
`,
    )
    const running = new RivalProcess('haproxy', ['-db', '-f', file])
    await running.accepts(port)
    return running.running(port)
  },
}
