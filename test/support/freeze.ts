// A process that stands still, as one does whose machine hangs: it keeps its connections and says nothing.
import type { ChildProcess } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { eventually } from './within.ts'

/** Stop a process until SIGCONT; resolves when none of its threads runs any more, for which a signal does not wait. */
export async function freeze(child: ChildProcess): Promise<void> {
  child.kill('SIGSTOP')
  const tasks = `/proc/${child.pid}/task`
  // Only Linux tells.
  if (!existsSync(tasks)) return
  const stopped = (id: string) => {
    try {
      return /\) [Tt] [^)]*$/.test(readFileSync(`${tasks}/${id}/stat`, 'latin1'))
    } catch {
      // It has just ended.
      return false
    }
  }
  await eventually(
    () => readdirSync(tasks).every(stopped),
    () => 'the process does not stop',
  )
}
