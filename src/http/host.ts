// The host that a request names, in the form in which hosts are compared.

/**
 * The host of a request as it is compared: lower-case, without port and trailing dot (RFC 9110 4.2.3).
 * Usually the same string. An IPv6 literal keeps its brackets and is taken in the form sent (RFC 5952 is due).
 */
export function hostKey(host: string): string {
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
  return upper ? host.toLowerCase() : host
}
