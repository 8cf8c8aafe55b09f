// Loaded into a gateway's process before it starts: on SIGUSR2 tells the longest that it held its event loop since the last time.
import { isMainThread } from 'node:worker_threads'
import { HeldLoop } from './held-loop.ts'

// The options of a process are those of its threads too.
if (isMainThread) {
  const loop = new HeldLoop()
  process.on('SIGUSR2', () => {
    process.stderr.write(`loop held ${loop.take().toFixed(1)} ms\n`)
  })
}
