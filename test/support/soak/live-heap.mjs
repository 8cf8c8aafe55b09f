// Loaded into the gateway of a soak: on SIGUSR2 it collects all garbage and prints how many bytes of the heap are left.
import { isMainThread } from 'node:worker_threads'

if (isMainThread)
  process.on('SIGUSR2', () => {
    globalThis.gc()
    console.log(`live ${process.memoryUsage().heapUsed}`)
  })
