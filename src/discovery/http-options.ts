// Options that registries over HTTP have in common: addresses and TLS.
import { z } from 'zod'
import { type CertificateFiles, secureContext } from '../http/certificates.ts'
import { readableCredentials, tlsOptions, together, untold } from '../units.ts'
import type { AskTls } from './ask.ts'

/** One URL or a list of them; comes out as a list. `example` stands in the fault. */
export function registryAddress(example: string) {
  const error = `a URL is due, such as ${example}`
  const one = z
    .url({ protocol: /^https?$/, error })
    .refine(text => !/[?#]/.test(text), { error: 'must not have a query or a fragment', when: untold })
    .refine(text => new URL(text).port !== '0', { error: 'a port between 1 and 65535 is due', when: untold })
    .refine(...readableCredentials(text => [text]))
  return z
    .union([one, z.array(one).min(1)], { error: 'a URL, or a list of them, is due' })
    .transform(given => (typeof given === 'string' ? [given] : given))
}

/** `tls` of a registry. */
export const registryTls = tlsOptions('registry')
  .refine(...together('cert', 'key'))
  .optional()
  .describe('TLS towards the registry, for https addresses.')

/** TLS towards a registry, secured with these files. Throws CertificateError for what cannot be used. */
export function askTls(files: CertificateFiles, verify = true): AskTls {
  const none = files.ca === null && files.cert === null && files.key === null
  return { context: none ? null : secureContext(files), verify }
}
