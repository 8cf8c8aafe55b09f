// The one place where an error or a Reply becomes an answer: problem+json by RFC 9457, and never a cause.
import type { GatewayError } from '../errors.ts'
import { uuidV7 } from '../exchange/uuid.ts'
import type { Downstream } from '../http/downstream.ts'
import { type HeaderList, header, type Reply, type ResponseHead } from '../http/head.ts'
import { problem } from '../http/problem.ts'
import { headerListFault } from '../http1/serialize.ts'

/** The head of a reply, with a list that response plugins may change. */
export function replyHead(reply: Reply): ResponseHead {
  const headers = reply.headers.slice()
  // The length that a 304 names is that of the content it does not send (RFC 9110 8.6), which nobody knows here.
  const bodyLength = reply.status === 304 ? -1 : (replyBody(reply)?.length ?? 0)
  return { status: reply.status, hasDate: header(headers, 'date') !== undefined, headers, bodyLength }
}

/** A reply's body as bytes. */
function replyBody(reply: Reply): Uint8Array | null {
  return typeof reply.body === 'string' ? Buffer.from(reply.body) : reply.body
}

/** Write a whole answer. `head` is the reply's, after the response phase. */
export function writeReply(down: Downstream, head: ResponseHead, reply: Reply): void {
  down.writeHead(head)
  const body = replyBody(reply)
  if (body !== null && body.length > 0) down.write(body)
  down.end(null)
}

/** Answer what never became an exchange: no route, or no request at all. */
export function writeProblem(down: Downstream, error: GatewayError, extra: HeaderList = []): void {
  const reply = problem(error, uuidV7(), extra)
  writeReply(down, replyHead(reply), reply)
}

/** True for a status that ends an exchange. */
function isFinal(status: number): boolean {
  return Number.isInteger(status) && status >= 200 && status <= 599
}

/** What is wrong with the head of an answer that plugins wrote to, or null; `proven` as of headerListFault. */
export function responseHeadFault(head: ResponseHead | null, proven: Readonly<HeaderList> | null): string | null {
  if (typeof head !== 'object' || head === null) return 'a plugin took the head of the answer away'
  if (!isFinal(head.status)) return 'a plugin set a status that is none'
  if (!Number.isSafeInteger(head.bodyLength)) return 'a plugin set a length of the body that is none'
  return headerListFault(head.headers, proven)
}

/** What is wrong with a reply that a plugin made, or null. */
export function replyFault(reply: Reply): string | null {
  if (typeof reply !== 'object' || reply === null || typeof reply.status !== 'number')
    return 'a plugin returned what is no Reply'
  if (!isFinal(reply.status)) return `a plugin answered with status ${reply.status}`
  if (!Array.isArray(reply.headers) || reply.headers.length % 2 !== 0) return 'the headers of a Reply are no flat list'
  if (reply.body !== null && typeof reply.body !== 'string' && !(reply.body instanceof Uint8Array))
    return 'the body of a Reply is neither text nor bytes'
  return headerListFault(reply.headers)
}
