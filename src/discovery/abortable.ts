// Giving up on a wait when a signal is aborted, leaving no listener and no timer behind.

/** Settles as `promise` does, or rejects with the signal's reason as soon as that is aborted. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    const settled = <V>(settle: (value: V) => void) => {
      return (value: V) => {
        signal.removeEventListener('abort', stop)
        settle(value)
      }
    }
    promise.then(settled(resolve), settled(reject))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

/** A wait that something else ends early. */
export interface Wait {
  /** Resolves by `wake` or after the time; rejects by `fail` or with the signal's reason when that is aborted. */
  readonly done: Promise<void>
  wake(): void
  fail(error: unknown): void
}

/** Wait `ms` milliseconds at most. Does not keep the process alive. */
export function waitAtMost(ms: number, signal: AbortSignal): Wait {
  let resolve!: () => void
  let reject!: (error: unknown) => void
  const done = new Promise<void>((resolved, rejected) => {
    resolve = resolved
    reject = rejected
  })
  const wake = () => {
    end()
    resolve()
  }
  const fail = (error: unknown) => {
    end()
    reject(error)
  }
  const stop = () => fail(signal.reason)
  const timer = setTimeout(wake, ms).unref()
  const end = () => {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  return { done, wake, fail }
}
