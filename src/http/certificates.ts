// Certificate files: read, held to be what they should be, and made into what connections are secured with.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { createSecureContext, type SecureContext } from 'node:tls'
import { valueAt } from '../value-at.ts'

/** Contents of the files that `tls` names; null for what it does not name. */
export interface CertificateFiles {
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
}

/** Paths of such files, as options name them. */
export type CertificatePaths = { readonly [Part in keyof CertificateFiles]?: string | undefined }

/** Where options name them, by what they are: keys, the outermost first. */
export type CertificatePlaces = { readonly [Part in keyof CertificateFiles]?: readonly string[] }

/** Where they stand in most options. */
export const IN_TLS: CertificatePlaces = { ca: ['tls', 'ca'], cert: ['tls', 'cert'], key: ['tls', 'key'] }

/** The paths at these places of options; what is no path there is left out. */
export function pathsAt(options: unknown, places: CertificatePlaces): CertificatePaths {
  const path = (place: readonly string[] | undefined): string | undefined => {
    const value = place === undefined ? undefined : valueAt(options, place)
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  return { ca: path(places.ca), cert: path(places.cert), key: path(places.key) }
}

/** The files at these paths; `resolve` finds the file that a path means. Throws what the system says of one that cannot be read. */
export function readCertificates(paths: CertificatePaths, resolve: (path: string) => string): CertificateFiles {
  const read = (path: string | undefined) => (path === undefined ? null : readFileSync(resolve(path), 'utf8'))
  return { ca: read(paths.ca), cert: read(paths.cert), key: read(paths.key) }
}

/** What is wrong with a file; goes behind its name. */
export interface CertificateFault {
  readonly option: keyof CertificateFiles
  readonly message: string
}

/** Files that cannot be used: security that cannot be had must not be left out. */
export class CertificateError extends Error {
  readonly option: CertificateFault['option']

  constructor({ option, message }: CertificateFault) {
    super(`its file ${message}`)
    this.name = 'CertificateError'
    this.option = option
  }
}

/** What is wrong with these files, one fault each at most; none when `secureContext` takes them. */
export function certificateFaults({ ca, cert, key }: CertificateFiles): CertificateFault[] {
  const faults: CertificateFault[] = []
  const fault = (option: CertificateFault['option'], message: string | null) => {
    if (message !== null) faults.push({ option, message })
    return message === null
  }
  if (ca !== null) fault('ca', certificatesFault(ca))
  const soundCert = cert !== null && fault('cert', certificatesFault(cert))
  const soundKey = key !== null && fault('key', keyFault(key))
  if (soundCert && soundKey && fault('key', pairFault(cert, key))) fault('cert', useFault(cert, key))
  return faults
}

/** What connections are secured with that share these files. Throws CertificateError. */
export function secureContext(files: CertificateFiles): SecureContext {
  const [fault] = certificateFaults(files)
  if (fault !== undefined) throw new CertificateError(fault)
  const { ca, cert, key } = files
  // Not an empty text: the library would take it for no authorities named, and trust the usual ones.
  return createSecureContext({
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
  })
}

/** How a client secures its connections. */
export interface ClientTls {
  /** Authorities to trust, and the certificate to show. Made once: what is wrong with them is no request's business. */
  readonly context: SecureContext
  readonly verify: boolean
  /** Name to ask for and to find in the certificate; null for the host. */
  readonly servername: string | null
}

/** What a connection to `host` is secured with; an address has no name to ask for (RFC 6066 3). */
export function secureTo({ context, servername, verify }: ClientTls, host: string) {
  return {
    servername: servername ?? (isIP(host) === 0 ? host : ''),
    rejectUnauthorized: verify,
    secureContext: context,
  }
}

/** Of a chain or a bundle every one counts: the library would leave out what follows a broken one without a word. */
function certificatesFault(pem: string): string | null {
  const blocks = pem
    .split(/(?=-----BEGIN )/)
    .filter(block => /^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/.test(block))
  if (blocks.length === 0) return 'holds no certificate'
  return blocks.every(isCertificate) ? null : 'holds a certificate that cannot be read'
}

function isCertificate(block: string): boolean {
  try {
    new X509Certificate(block)
    return true
  } catch {
    return false
  }
}

function keyFault(pem: string): string | null {
  try {
    createPrivateKey(pem)
    return null
  } catch {
    return 'holds no private key that can be read; it must be PEM and not encrypted'
  }
}

function pairFault(cert: string, key: string): string | null {
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)) ? null : 'does not belong to the certificate'
}

/** What else the library holds against a pair, such as a key that is too short to be safe. */
function useFault(cert: string, key: string): string | null {
  try {
    createSecureContext({ cert, key })
    return null
  } catch (error) {
    return `cannot be used: ${(error as Error).message}`
  }
}
