// The API server of Kubernetes as a registry for tests: EndpointSlices, listed and watched, with versions that get too old.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HttpRegistryFake, json } from './http-registry.ts'
import type { Registered, StartRegistry } from './registry.ts'

/** One slice: all instances that share a port, as the real one writes them. */
export function slice(service: string, port: number, instances: readonly Registered[]): object {
  return {
    metadata: { name: `${service}-${port}`, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port, protocol: 'TCP' }],
    endpoints: instances.map(({ host }) => ({
      ...{ addresses: [host], zone: 'a', nodeName: 'node-1' },
      conditions: { ready: true, serving: true, terminating: false },
    })),
  }
}

/**
 * Start one. `state.oldest` is the least version that a watch may begin from, and `state.gone` how it says so; `state.token`
 * the token that it takes.
 */
export async function startKubernetes(t: Parameters<StartRegistry>[0]) {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-account-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const tokenFile = join(folder, 'token')
  const state = { token: 'first', oldest: 0, lists: 0, pieces: false, gone: 'event' as 'event' | 'status' }
  const rotate = (token: string) => {
    state.token = token
    writeFileSync(tokenFile, `${token}\n`)
  }
  rotate('first')
  const fake = await HttpRegistryFake.start(t, 'kubernetes', api => async (url, request, response) => {
    if (request.headers.authorization !== `Bearer ${state.token}`) {
      json(response, { kind: 'Status', code: 401 }, {}, 401)
      return
    }
    const service = /^kubernetes\.io\/service-name=(.+)$/.exec(url.searchParams.get('labelSelector') ?? '')?.[1] ?? ''
    const items = () => {
      const byPort = new Map<number, Registered[]>()
      for (const one of api.of(service)) byPort.set(one.port, [...(byPort.get(one.port) ?? []), one])
      return [...byPort].map(([port, list]) => slice(service, port, list))
    }
    if (url.searchParams.get('watch') !== 'true') {
      state.lists++
      json(response, { kind: 'EndpointSliceList', metadata: { resourceVersion: String(api.version) }, items: items() })
      return
    }
    const from = Number(url.searchParams.get('resourceVersion'))
    if (from < state.oldest && state.gone === 'status') {
      json(response, { kind: 'Status', code: 410, reason: 'Expired' }, {}, 410)
      return
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    const send = (event: object) => {
      const line = `${JSON.stringify(event)}\n`
      if (!state.pieces) return response.write(line)
      for (const byte of line) response.write(byte)
      return true
    }
    if (from < state.oldest) {
      response.end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } })}\n`)
      return
    }
    send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(api.version) } } })
    while (!response.destroyed && (api.changed.get(service) ?? 0) <= from) await api.change(response)
    if (!response.destroyed) send({ type: 'MODIFIED', object: items()[0] ?? {} })
  })
  fake.options = { address: fake.address, namespace: 'shop', tokenFile }
  return Object.assign(fake, { state, rotate })
}

export const startKubernetesRegistry: StartRegistry = t => startKubernetes(t)
