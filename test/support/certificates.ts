// An authority and certificates of its, made by openssl for one test file.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { CertificateFiles } from '../../src/http/certificates.ts'

/** Of options that name none. */
export const NO_CERTIFICATES: CertificateFiles = { ca: null, cert: null, key: null }

/** Where they lie: `ca.pem`, and a `.pem` and a `.key` for each name. */
export interface Certificates {
  at(name: string): string
  read(name: string): string
}

/** An authority, and a certificate for each name with its alternative names. The files go when the test is over. */
export function makeCertificates(t: Test, names: Readonly<Record<string, string>>): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=Test authority')
  for (const [name, alternatives] of Object.entries(names)) {
    openssl('req', ...ec, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    writeFileSync(at(`${name}.ext`), `subjectAltName=${alternatives}\n`)
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2',
      '-extfile', `${name}.ext`, '-out', `${name}.pem`) // biome-ignore format: one command
  }
  return { at, read: name => readFileSync(at(name), 'utf8') }
}
