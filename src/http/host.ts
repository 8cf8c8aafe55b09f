// The host that a request names, in the form in which hosts are compared.
import { isIPv6 } from 'node:net'

/**
 * The host of a request as it is compared: lower-case, without port and trailing dot (RFC 9110 4.2.3).
 * Usually the same string. Escaped unreserved characters are decoded (RFC 3986 6.2.2.2), and an IPv6 literal, which keeps
 * its brackets, is written as RFC 5952 has it.
 */
export function hostKey(host: string): string {
  if (host.includes('%')) host = host.replace(/%[0-9a-f]{2}/gi, unescaped)
  let end = host.length
  let upper = false
  let closed = host.charCodeAt(0) !== 0x5b
  for (let i = 0; i < host.length; i++) {
    const code = host.charCodeAt(i)
    if (code >= 0x41 && code <= 0x5a) upper = true
    else if (code === 0x5d) closed = true
    else if (code === 0x3a && closed) {
      end = i
      break
    }
  }
  if (end > 1 && host.charCodeAt(end - 1) === 0x2e) end--
  if (end < host.length) host = host.slice(0, end)
  if (host.charCodeAt(0) === 0x5b && host.endsWith(']') && isIPv6(host.slice(1, -1)))
    return new URL(`http://${host}/`).hostname
  return upper ? host.toLowerCase() : host
}

function unescaped(sent: string): string {
  const char = String.fromCharCode(Number.parseInt(sent.slice(1), 16))
  return /[\w.~-]/.test(char) ? char : sent
}
