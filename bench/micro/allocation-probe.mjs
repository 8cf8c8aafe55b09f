// Loaded into a gateway before its main module: tells its parent over IPC how many bytes of heap were allocated so far.
//
// Allocated = growth of the used heap + what collections freed meanwhile. V8's GC profiler gives the heap before and
// after each collection; it costs something per collection and nothing per allocation.
import v8 from 'node:v8'

const profiler = new v8.GCProfiler()
profiler.start()
let freed = 0
let collections = 0

process.on('message', () => {
  for (const gc of profiler.stop()?.statistics ?? []) {
    freed += gc.beforeGC.heapStatistics.usedHeapSize - gc.afterGC.heapStatistics.usedHeapSize
    collections++
  }
  const allocated = process.memoryUsage().heapUsed + freed
  profiler.start()
  process.send({ allocated, collections })
})
// The question of the parent must not keep a gateway alive that was told to stop.
process.channel.unref()
