// Giving up on a wait when a signal is aborted, leaving no listener and no timer behind.

/** Settles as `promise` does, or rejects with the signal's reason as soon as that is aborted. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

/** A wait that something else ends early. */
export interface Wait {
  /** Resolves by `wake` or after the time; rejects by `fail` or when the signal is aborted. */
  readonly done: Promise<void>
  wake(): void
  fail(error: unknown): void
}

/** Wait `ms` milliseconds at most. Does not keep the process alive. */
export function waitAtMost(ms: number, signal: AbortSignal): Wait {
  let wake!: () => void
  let fail!: (error: unknown) => void
  const ended = new Promise<void>((resolve, reject) => {
    wake = resolve
    fail = reject
  })
  const timer = setTimeout(wake, ms).unref()
  return { done: abortable(ended, signal).finally(() => clearTimeout(timer)), wake, fail }
}
