// Loaded into a gateway's process before it starts: on SIGUSR2 tells the longest that the event loop was held since the last time.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

// The options of a process are those of its threads too.
if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  process.on('SIGUSR2', () => {
    process.stderr.write(`loop delay ${(delay.max / 1e6).toFixed(1)} ms\n`)
    delay.reset()
  })
}
