// Where our codec and llhttp may differ, and why: every difference has a row here or it is a bug.
import { isTrailerField } from '../../../src/http1/framing.ts'
import { LLHTTP_METHODS, type Message, type Outcome } from './readers.ts'

/** One explained difference. */
interface Row {
  readonly name: string
  /** `text` is the whole stream, `message` what the accepting side read. */
  readonly holds: (text: string, ours: Outcome, theirs: Outcome, message: Message) => boolean
}

/** A chunk's line with a blank where the grammar of its extensions has BWS. */
const BLANK_IN_EXTENSION = /\r\n[0-9a-f]+(?:[ \t]+;|;[^\r\n]*?(?:;[ \t]|[ \t][;=]|=[ \t])|;[ \t])[^\r\n]*\r\n/i

/** We accept and llhttp does not: the dangerous direction, so each row is narrow and must be harmless. */
const WE_ACCEPT: readonly Row[] = [
  {
    // RFC 9110 9.1: a method is any token; which are served is the upstream's or a route's decision.
    name: 'a method that llhttp has no name for, or knows of another protocol',
    holds: (_text, _ours, theirs, message) =>
      message.method !== '' &&
      !LLHTTP_METHODS.has(message.method) &&
      (theirs.end === 'refused' || message.method === 'PRI'),
  },
  {
    // RFC 9110 2.5: a higher minor version is read as the highest one known. What goes on says 1.1.
    name: 'HTTP/1.2 to 1.9',
    holds: (text, _ours, theirs) => theirs.code === 'HPE_INVALID_VERSION' && /HTTP\/1\.[2-9][ \r]/.test(text),
  },
  {
    // RFC 9112 7.1.1: chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS value ] ), and BWS "MUST be parsed" (RFC 9110 5.6.3).
    // Extensions end with us; chunks are framed anew.
    name: 'blanks in chunk extensions',
    holds: (text, _ours, theirs) =>
      theirs.partial !== null && /^HPE_(STRICT|INVALID_CHUNK_SIZE)$/.test(theirs.code) && BLANK_IN_EXTENSION.test(text),
  },
  {
    // RFC 9110 6.5.1: framing fields in a trailer section are not used; we drop them, llhttp reads them as if in the head.
    // That it is inside a message shows that its head was fine to both.
    name: 'framing fields in a trailer section',
    holds: (_text, _ours, theirs) =>
      theirs.partial !== null && /^HPE_(INVALID|UNEXPECTED)_(CONTENT_LENGTH|TRANSFER_ENCODING)$/.test(theirs.code),
  },
  {
    // The same for Connection: close; to llhttp whatever follows is then too much.
    name: 'a request after a trailer section with Connection: close',
    holds: (text, _ours, theirs) =>
      theirs.code === 'HPE_CLOSED_CONNECTION' &&
      /\r\n0+[^\r\n]*\r\n(?:[^\r\n]+\r\n)*(?:proxy-)?connection:[^\r]*close/i.test(text),
  },
  {
    // Node hides the errors of a parser that has seen an upgrade; we serve the request and read nothing after it.
    name: 'an upgrade with a body that llhttp gives up on',
    holds: (text, ours, theirs) => theirs.code === 'HIDDEN' && ours.end === 'closed' && /\r\nupgrade:/i.test(text),
  },
  {
    // RFC 9110 15.2: not to be sent by HTTP/1.0; where it is, the final answer behind it is framed by its own head.
    name: 'an answer behind an interim one that says HTTP/1.0 or close',
    holds: (_text, _ours, theirs, message) =>
      theirs.code === 'HPE_CLOSED_CONNECTION' &&
      message.status > 0 &&
      theirs.complete.every(({ status }) => status < 200),
  },
  {
    // Upstreams are of all kinds and what goes on is framed by us: extensions of an answer are skipped in any form.
    name: 'malformed chunk extensions in an answer',
    holds: (text, _ours, theirs, message) =>
      message.status > 0 &&
      theirs.partial !== null &&
      /^HPE_(STRICT|INVALID_CHUNK_SIZE)$/.test(theirs.code) &&
      /\r\n[0-9a-f]+[ \t;][^\r\n]*\r\n/i.test(text),
  },
  {
    // RFC 9110 5.6.3: OWS is SP and HTAB; llhttp does not know a tab there and refuses, so nobody reads another length.
    name: 'a tab behind a Content-Length',
    holds: (text, _ours, theirs) =>
      theirs.partial === null &&
      theirs.code === 'HPE_INVALID_CONTENT_LENGTH' &&
      /\r\ncontent-length:[^\r]*\t[ \t]*\r\n/i.test(text),
  },
  {
    // RFC 9112 C.2.2: Proxy-Connection means nothing; llhttp reads it as Connection and takes what follows for garbage.
    name: 'a request after Proxy-Connection: close',
    holds: (text, _ours, theirs) =>
      theirs.code === 'HPE_CLOSED_CONNECTION' && /\r\nproxy-connection:[^\r]*close/i.test(text),
  },
]

/** We refuse what llhttp lets pass: our reason, and why. */
const WE_REFUSE: ReadonlyMap<string, string> = new Map([
  ['no Host', 'RFC 9112 3.2: 400 to any HTTP/1.1 request without one'],
  ['more than one Host', 'RFC 9112 3.2: 400'],
  ['bad Host', 'RFC 9112 3.2: 400 to an invalid value'],
  ['Host differs from the request target', 'RFC 9112 3.2.2 lets the target win; two names for one request are refused'],
  ['bad authority in the request target', 'RFC 9110 4.2.1: an empty host and userinfo are refused'],
  ['the request target is neither a path nor an http URL', 'RFC 9112 3.2: the other schemes are not served'],
  ['asterisk-form with another method than OPTIONS', 'RFC 9112 3.2.4'],
  ['bad byte in the request target', 'RFC 9112 3.2: no fragment, nothing outside of visible ASCII'],
  ['CONNECT is not served', 'a gateway is no tunnel'],
  ['Transfer-Encoding in HTTP/1.0', 'RFC 9112 6.1: faulty framing'],
  ['Transfer-Encoding is not exactly one chunked', 'RFC 9112 6.1: 501 or 400 to a coding that is not understood'],
  [
    'a tab beside a Transfer-Encoding',
    'RFC 9110 5.6.3 allows it, but framing must be read alike by all: llhttp reads `chunked` and a tab behind it as until close',
  ],
  ['Content-Length is no number', 'RFC 9110 8.6: above 2^53-1, or so many digits that others may not count them'],
  ['a Connection option is no token', 'RFC 9110 7.6.1'],
  ['unknown expectation', 'RFC 9110 10.1.1: 417'],
  ['HTTP/0 is not spoken here', 'RFC 9110 2.5: 505'],
  ['HTTP/2 is not spoken here', 'RFC 9110 2.5: 505'],
  ['malformed HTTP version', 'RFC 9112 3: one space before it, and its digits as they are'],
  ['no HTTP version', 'RFC 9112 3: HTTP/0.9; llhttp may wait for more to come'],
  ['the method is no token', 'RFC 9112 2.2 forgives one empty line before a request; llhttp any number'],
  ['bare LF or CR before the request line', 'RFC 9112 2.2: the empty line is a CRLF'],
  ['the chunk size is too long', 'RFC 9112 7.1: overflow must be prevented; at most 13 digits'],
  ['unexpected interim answer', 'RFC 9110 15.2: no body in an interim answer, and 101 was not asked for'],
  ['no status line', 'RFC 9112 4: nothing before an answer, and no other protocol'],
  ['malformed status line', 'RFC 9112 4: three digits from 100 to 599, one space before them'],
  ['control byte in the status line', 'RFC 9112 4: the reason phrase'],
  ['bad chunk extension', 'RFC 9112 7.1.1: its grammar'],
])

/** What is unlike in two readings of one message, or null. */
function unlike(ours: Message, theirs: Message, whole: boolean): string | null {
  let target = theirs.target
  if (ours.status > 0) target = ''
  else if (target === '') target = theirs.method === 'OPTIONS' ? '*' : '/'
  else if (target.startsWith('?')) target = `/${target}`
  if (ours.method !== theirs.method) return `method ${ours.method} | ${theirs.method}`
  if (ours.target !== target) return `target ${ours.target} | ${target}`
  if (ours.host !== theirs.host) return `host ${ours.host} | ${theirs.host}`
  if (ours.status !== theirs.status) return `status ${ours.status} | ${theirs.status}`
  const fields = unlikeFields(ours.headers, theirs.headers)
  if (fields !== null) return fields
  if (whole ? ours.body !== theirs.body : !(ours.body.startsWith(theirs.body) || theirs.body.startsWith(ours.body))) {
    return `body ${JSON.stringify(ours.body)} | ${JSON.stringify(theirs.body)}`
  }
  if (!whole) return null
  const trailers = theirs.trailers.filter((_, i) => isTrailerField(theirs.trailers[i & ~1]!))
  if (ours.trailers.join('\n') !== trailers.join('\n')) return `trailers ${ours.trailers} | ${trailers}`
  return null
}

/** Ours must be theirs in the same order, less what a Connection field or a useless Trailer took out. */
function unlikeFields(ours: readonly string[], theirs: readonly string[]): string | null {
  let at = 0
  const gone = new Set<string>()
  for (let i = 0; i < theirs.length; i += 2) {
    if (at < ours.length && ours[at] === theirs[i] && ours[at + 1] === theirs[i + 1]) at += 2
    else gone.add(theirs[i]!)
  }
  if (at !== ours.length) return `fields ${JSON.stringify(ours)} | ${JSON.stringify(theirs)}`
  for (const name of gone) if (ours.includes(name)) return `only some of ${name} are left`
  return null
}

/** The verdict on one stream. */
export type Verdict =
  | { readonly kind: 'same' | 'pending' }
  | { readonly kind: 'we accept' | 'we refuse'; readonly row: string }
  | { readonly kind: 'UNEXPLAINED'; readonly what: string }

/** Hold our reading against theirs. */
export function judge(text: string, ours: Outcome, theirs: Outcome): Verdict {
  const both = Math.min(ours.complete.length, theirs.complete.length)
  for (let i = 0; i < both; i++) {
    const what = unlike(ours.complete[i]!, theirs.complete[i]!, true)
    if (what !== null) return { kind: 'UNEXPLAINED', what: `message ${i}: ${what}` }
  }
  const mine = ours.complete[both] ?? ours.partial
  const other = theirs.complete[both] ?? theirs.partial
  if (mine === null && other === null && ours.end === theirs.end) return { kind: 'same' }
  // Our head is good, theirs is not (yet): or both are good, and then they must say the same.
  if (mine !== null) {
    const finished = ours.complete.length > both
    if (other !== null) {
      const what = unlike(mine, other, false)
      if (what !== null) return { kind: 'UNEXPLAINED', what: `begun message ${both}: ${what}` }
      const otherFinished = theirs.complete.length > both
      if (otherFinished && ours.end !== 'refused') {
        return { kind: 'UNEXPLAINED', what: `message ${both} ended for llhttp and goes on for us` }
      }
    }
    if (finished || other === null) {
      if (!finished && other === null && ours.end === 'refused') return explain(text, ours, theirs, mine)
      return explain(text, ours, theirs, mine)
    }
  }
  if (ours.end === 'refused') {
    if (theirs.end === 'refused') return { kind: 'same' }
    if (WE_REFUSE.has(ours.reason)) return { kind: 'we refuse', row: ours.reason }
    return { kind: 'UNEXPLAINED', what: `llhttp accepts, we: ${ours.reason}` }
  }
  // Read no further after a message that ends the connection: whatever llhttp makes of the rest cannot matter.
  if (ours.end === 'closed') return { kind: 'same' }
  if (other !== null && mine === null) return { kind: 'UNEXPLAINED', what: 'llhttp has a head that we wait for' }
  // Theirs is refused, ours wait for the byte that decides (the CR of a chunk's line, the end of a head).
  return { kind: 'pending' }
}

function explain(text: string, ours: Outcome, theirs: Outcome, message: Message): Verdict {
  for (const row of WE_ACCEPT) if (row.holds(text, ours, theirs, message)) return { kind: 'we accept', row: row.name }
  return { kind: 'UNEXPLAINED', what: `we accept, llhttp: ${theirs.code} ${theirs.reason}` }
}
