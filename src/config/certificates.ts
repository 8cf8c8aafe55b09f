// Certificates and keys that a file names: those that cannot be read, or are none, each told at its place.
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { certificatePlaces } from '../discovery/options.ts'
import {
  type CertificateFiles,
  type CertificatePlaces,
  certificateFaults,
  IN_TLS,
  pathsAt,
} from '../http/certificates.ts'
import { quote } from '../nearest.ts'
import { isRecord } from '../value-at.ts'
import type { Problem } from './explain.ts'
import type { Path } from './fault.ts'

/** Of upstreams and registries: a connection without what they name would be less than was asked for. */
export function certificateProblems(raw: Record<string, unknown>, baseDir: string): Problem[] {
  const problems: Problem[] = []
  for (const [name, upstream] of Object.entries(isRecord(raw.upstreams) ? raw.upstreams : {}))
    problems.push(...problemsOf(['upstreams', name], upstream, IN_TLS, baseDir))
  for (const [name, registry] of Object.entries(isRecord(raw.discovery) ? raw.discovery : {}))
    problems.push(...problemsOf(['discovery', name], registry, certificatePlaces(registry), baseDir))
  return problems
}

function problemsOf(at: Path, options: unknown, places: CertificatePlaces, baseDir: string): Problem[] {
  const problems: Problem[] = []
  const paths = pathsAt(options, places)
  const fault = (part: keyof CertificateFiles, message: string) => {
    const path = [...at, ...places[part]!]
    problems.push({ path, message: `the file ${quote(paths[part]!)} ${message}`, code: 'SLUICE_CONFIG_FILE' })
  }
  const read = (part: keyof CertificateFiles): string | null => {
    const path = paths[part]
    if (path === undefined) return null
    const text = textOf(resolve(baseDir, path))
    if (text === null) fault(part, 'cannot be read')
    return text
  }
  const files = { ca: read('ca'), cert: read('cert'), key: read('key') }
  for (const { option, message } of certificateFaults(files)) fault(option, message)
  return problems
}

/** Null for what is no file that can be read; asked first, because to open a pipe would wait for its writer. */
function textOf(file: string): string | null {
  try {
    return statSync(file).isFile() ? readFileSync(file, 'utf8') : null
  } catch {
    return null
  }
}
