// The thread that the files of one registry are watched and read in: what a file system takes its time for holds up no request.
import { parentPort, workerData } from 'node:worker_threads'
import { type FileReading, WatchedFile } from './file-reading.ts'

/** What the thread is told. Numbers are those of the one who tells. */
export type FileOrder =
  | {
      readonly kind: 'ask'
      readonly ask: number
      readonly file: number
      readonly path: string
      /** As of WatchedFile.changed; null for the file as it is now. */
      readonly cursor: string | null
    }
  | { readonly kind: 'stop'; readonly ask: number }
  | { readonly kind: 'forget'; readonly file: number }

/** What the thread says to an `ask` that is not stopped before. The error's message is fit for a log. */
export type FileAnswer =
  | { readonly ask: number; readonly reading: FileReading }
  | { readonly ask: number; readonly error: string }

function main(port: NonNullable<typeof parentPort>): void {
  const files = new Map<number, WatchedFile>()
  const asks = new Map<number, AbortController>()

  async function answer({ ask, file: id, path, cursor }: Extract<FileOrder, { kind: 'ask' }>): Promise<void> {
    const file = files.get(id) ?? new WatchedFile(path)
    files.set(id, file)
    const abort = new AbortController()
    asks.set(ask, abort)
    try {
      const reading = cursor === null ? file.now() : await file.changed(cursor, abort.signal)
      port.postMessage({ ask, reading } satisfies FileAnswer)
    } catch (error) {
      if (!abort.signal.aborted) port.postMessage({ ask, error: (error as Error).message } satisfies FileAnswer)
    } finally {
      asks.delete(ask)
    }
  }

  port.on('message', (order: FileOrder) => {
    if (order.kind === 'ask') void answer(order)
    else if (order.kind === 'stop') asks.get(order.ask)?.abort()
    else {
      files.get(order.file)?.close()
      files.delete(order.file)
    }
  })
}

// Off the main thread only: whoever imports a type from here must not wait for orders.
if (parentPort !== null && (workerData as { sluice?: string } | null)?.sluice === 'files') main(parentPort)
