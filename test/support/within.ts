// Waiting with an end: a promise or a condition that must come true in time, or the test says what did not.

/** Settle as `promise` does, or reject after `ms` with what `missing` says. */
export function within<T>(ms: number, promise: Promise<T>, missing: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${missing()} (waited ${ms} ms)`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Look again and again until `met` holds, for what tells nobody when it changes; reject after `ms`. */
export async function eventually(
  met: () => boolean | Promise<boolean>,
  missing: () => string,
  ms = 3000,
): Promise<void> {
  const end = performance.now() + ms
  while (!(await met())) {
    if (performance.now() > end) throw new Error(`${missing()} (waited ${ms} ms)`)
    await pause(5)
  }
}

/** Let `ms` pass: for tests of time itself. */
export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
