// The thread that the files of one registry are watched, read and parsed in: what that takes holds up no request.
import { parentPort, workerData } from 'node:worker_threads'
import { parseFile } from './file-parse.ts'
import { type FileReading, NONE, WatchedFile } from './file-reading.ts'

/** Milliseconds in which changes are gathered: the thread of requests wakes up once for all of them. */
const TOGETHER = 50
/** So many are told in one message at the most: to take it in holds up requests. */
const MOST = 10

/** A question about the service in one file. */
export interface FileQuestion {
  /** The asker's number for the file of this service. */
  readonly file: number
  readonly path: string
  readonly service: string
  /** As of WatchedFile.changed; null for the file as it is now. */
  readonly cursor: string | null
  /** Digest of the text whose instances the asker has; null for none. */
  readonly known: string | null
}

/** What the thread is told. */
export type FileOrder =
  | { readonly kind: 'ask'; readonly ask: number; readonly question: FileQuestion }
  | { readonly kind: 'stop'; readonly ask: number }
  | { readonly kind: 'forget'; readonly file: number }

/** What is told of a file. */
export interface FileAnswer {
  /** Of its text; NONE where there is none. */
  readonly digest: string
  /** The instances as JSON; null for those that the asker knows, and where there is a fault. */
  readonly instances: string | null
  /** Why it cannot be used, fit for a log; null where it can. */
  readonly fault: string | null
}

/** The answer to the `ask` of that number. */
interface FileMessage {
  readonly ask: number
  readonly answer: FileAnswer
}

/** Answers that came within a moment; some may have been stopped meanwhile. */
export type FileMessages = readonly FileMessage[]

async function look(file: WatchedFile, question: FileQuestion, signal: AbortSignal): Promise<FileAnswer> {
  const { path, service, cursor, known } = question
  const refused = (digest: string, fault: string) => ({ digest, instances: null, fault })
  let reading: FileReading
  try {
    reading = cursor === null ? file.now() : await file.changed(cursor, signal)
    if (reading.digest === known) return { digest: known, instances: null, fault: null }
    // As broken as it was: that is told again.
    if (reading.text === undefined) reading = file.now()
  } catch (error) {
    return refused(NONE, (error as Error).message)
  }
  const { text, digest } = reading
  if (text == null) return refused(NONE, `there is no file ${path}`)
  try {
    return { digest, instances: JSON.stringify(parseFile(text, service)), fault: null }
  } catch (error) {
    return refused(digest, `${path}:${(error as Error).message}`)
  }
}

function main(port: NonNullable<typeof parentPort>): void {
  const files = new Map<number, WatchedFile>()
  const asks = new Map<number, AbortController>()
  let told: FileMessage[] = []
  let soon: NodeJS.Timeout | undefined
  const tell = () => {
    clearTimeout(soon)
    soon = undefined
    port.postMessage(told satisfies FileMessages)
    told = []
  }

  async function answer(ask: number, question: FileQuestion): Promise<void> {
    const file = files.get(question.file) ?? new WatchedFile(question.path)
    files.set(question.file, file)
    const abort = new AbortController()
    asks.set(ask, abort)
    const answer = await look(file, question, abort.signal)
    asks.delete(ask)
    if (abort.signal.aborted) return
    if (told.push({ ask, answer }) === MOST) tell()
    else soon ??= setTimeout(tell, question.cursor === null ? 0 : TOGETHER)
  }

  port.on('message', (order: FileOrder) => {
    if (order.kind === 'ask') void answer(order.ask, order.question)
    else if (order.kind === 'stop') asks.get(order.ask)?.abort()
    else {
      files.get(order.file)?.close()
      files.delete(order.file)
    }
  })
}

// Off the main thread only: whoever imports a type from here must not wait for orders.
if (parentPort !== null && (workerData as { sluice?: string } | null)?.sluice === 'files') main(parentPort)
