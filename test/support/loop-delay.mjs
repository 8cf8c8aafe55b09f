// Loaded into a gateway's process before it starts: on SIGUSR2 tells the longest that it held its event loop since the last time.
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

/** Milliseconds that the main thread has run: what others on the machine take is no fault of the process. */
function ran() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ', 1)[0]) / 1e6
}

// The options of a process are those of its threads too.
if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  let longest = 0
  let before = ran()
  setInterval(() => {
    const now = ran()
    longest = Math.max(longest, now - before)
    before = now
  }, 1).unref()
  process.on('SIGUSR2', () => {
    process.stderr.write(`loop held ${longest.toFixed(1)} ms, delayed ${(delay.max / 1e6).toFixed(1)} ms\n`)
    longest = 0
    delay.reset()
  })
}
