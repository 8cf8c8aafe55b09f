// CPU time and memory of a process and all its descendants, read from /proc.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** Process ids of `root` and everything below it, at this moment. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = statFields(Number(name))?.[1]
    if (parent === undefined) continue
    const siblings = children.get(Number(parent))
    if (siblings === undefined) children.set(Number(parent), [Number(name)])
    else siblings.push(Number(name))
  }
  const tree = [root]
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(tree[i]!) ?? []))
  return tree
}

/** Fields of /proc/PID/stat from the state on; the command before it may hold blanks and brackets. */
function statFields(pid: number): string[] | null {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

/** A reading of the clock of a process tree. */
export interface CpuReading {
  /** Microseconds on a CPU, user and system, by the scheduler's nanosecond account of the threads alive now. */
  readonly threads: number
  /** The same by utime + stime: ticks, but with threads that have ended. */
  readonly ticks: number
}

export function readCpu(pids: readonly number[]): CpuReading {
  let threads = 0
  let ticks = 0
  for (const pid of pids) {
    const fields = statFields(pid)
    if (fields === null) throw new Error(`process ${pid} is gone`)
    ticks += ((Number(fields[11]) + Number(fields[12])) * 1e6) / TICKS_PER_SECOND
    for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
      try {
        threads += Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')[0]) / 1000
      } catch {
        // The thread ended between the listing and the read; `ticks` still has it.
      }
    }
  }
  return { threads, ticks }
}

/**
 * Microseconds of CPU between two readings. The scheduler's account is exact to the nanosecond but forgets threads that
 * end; where the tick account saw clearly more (over three ticks), that one is right.
 */
export function cpuBetween(before: CpuReading, after: CpuReading): number {
  const exact = after.threads - before.threads
  const coarse = after.ticks - before.ticks
  return coarse - exact > 3e6 / TICKS_PER_SECOND ? coarse : exact
}

/** Resident memory of the tree in bytes. Pages shared between its processes count once for each. */
export function readRss(pids: readonly number[]): number {
  let bytes = 0
  for (const pid of pids) {
    const kib = /^VmRSS:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))
    if (kib !== null) bytes += Number(kib[1]) * 1024
  }
  return bytes
}
