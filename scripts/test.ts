// Runs the tests with the Node that runs this, prints a line a file and every failure whole, and ends with `N passed, N failed`.
//
// Arguments are files or folders: `npm test -- test/unit/compose.test.ts`. Each file is a program of its own that prints
// TAP. They run without tap's runner: what it puts into each process costs more than most files take. A file that fails
// while the machine stands still is run once more.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import { stripTree } from './strip-tree.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** Where the tests stand without their types. */
const STRIPPED = path.join(ROOT, 'dist-test')
/** Files that run at a time. */
const JOBS = 3
/** Longest that a file may take, in seconds: what hangs ends, and what a busy machine slows down five times does not. */
const LIMIT = 600
/** Between two looks at the time, in milliseconds, and how late one is where the machine stands still. */
const BEAT = 20
const STANDSTILL = 100

const env = {
  ...process.env,
  // Tests start `node` by name too: that must be this one.
  PATH: `${path.dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
  TAP_TIMEOUT: String(LIMIT),
}

/** The command as it ships. */
function compile(): void {
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: ROOT, env, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

/** The test files that the arguments name, all without any. */
function chosen(args: readonly string[]): string[] {
  const files: string[] = []
  for (const arg of args.length === 0 ? ['test'] : args) {
    const found = fs.statSync(path.join(ROOT, arg), { throwIfNoEntry: false })
    if (found?.isDirectory()) {
      const names = fs.readdirSync(path.join(ROOT, arg), { recursive: true, encoding: 'utf8' })
      files.push(...names.filter(name => name.endsWith('.test.ts')).map(name => path.join(arg, name)))
    } else if (found?.isFile() && arg.endsWith('.test.ts')) files.push(path.normalize(arg))
    else usage(`${arg} is no folder and no test file (*.test.ts)`)
  }
  if (files.length === 0) usage(`there is no test in ${args.join(', ')}`)
  return [...new Set(files)].sort()
}

function usage(problem: string): never {
  console.error(`${problem}\nusage: npm test [-- FILE_OR_FOLDER ...]`)
  process.exit(2)
}

/** Reads the TAP of one file: counts, and the text of each failed assertion with what it said. */
class Report {
  /** Assertions, or null until the file said how many there were. */
  counts: { passed: number; failed: number } | null = null
  readonly lines: string[] = []
  /** Names of the subtests down to here, outermost first; one a step of indentation. */
  #open: string[] = []
  /** Failures shown. */
  #shown = 0
  /** Inside the diagnostics of a failure: its indentation. */
  #diagnostics: string | null = null
  #afterFailure = false

  line(line: string): void {
    if (this.#diagnostics !== null) {
      this.lines.push(inSources(line))
      if (line === `${this.#diagnostics}...`) this.#diagnostics = null
      return
    }
    if (this.#afterFailure) {
      this.#afterFailure = false
      const block = /^( *)---$/.exec(line)
      if (block !== null) {
        this.#diagnostics = block[1]!
        this.lines.push(line)
        return
      }
    }
    const subtest = /^( *)# Subtest: (.*)$/.exec(line)
    if (subtest !== null) {
      this.#open = [...this.#open.slice(0, subtest[1]!.length / 4), subtest[2]!]
      return
    }
    const outcome = /^( *)(not )?ok \d+ ?(.*)$/.exec(line)
    if (outcome !== null) {
      this.#outcome(line, outcome[1]!.length / 4, outcome[2] !== undefined, outcome[3]!)
      return
    }
    const closing = /^# \{ total: \d+(?:, pass: (\d+))?(?:, fail: (\d+))?/.exec(line)
    if (closing !== null) this.counts = { passed: Number(closing[1] ?? 0), failed: Number(closing[2] ?? 0) }
  }

  #outcome(line: string, depth: number, failed: boolean, text: string): void {
    // A subtest's own line repeats what its assertions said, unless none of them did.
    const closes = text.replace(/^- /, '').replace(/ # time=.*$/, '') === this.#open[depth]
    if (!failed || / # (TODO|SKIP)\b/i.test(text) || (closes && this.#shown > 0)) return
    this.#shown++
    this.lines.push(`\nin ${this.#open.slice(0, depth).join(' > ')}\n${line}`)
    this.#afterFailure = true
  }
}

/** Notices when the machine gives no time to anyone: this process has next to nothing to do and is late nonetheless. */
class Standstills {
  /** Milliseconds so far. */
  total = 0

  start(): void {
    let last = performance.now()
    setInterval(() => {
      const now = performance.now()
      const late = now - last - BEAT
      if (late > STANDSTILL) this.total += late
      last = now
    }, BEAT)
  }
}

/** A stripped file has the lines and columns of its source. */
function inSources(line: string): string {
  return line.replace(/dist-test\/(\S+)\.js\b/g, '$1.ts')
}

const standstills = new Standstills()
const running = new Set<ChildProcess>()
let passed = 0
let failed = 0
let ended = 0

interface Outcome {
  readonly passed: number
  readonly failed: number
  readonly seconds: number
  readonly lines: readonly string[]
}

/** Run the file once, from its beginning to its end. */
async function play(file: string): Promise<Outcome> {
  const began = performance.now()
  const child = spawn(process.execPath, [path.join(STRIPPED, file.replace(/\.ts$/, '.js'))], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  running.add(child)
  // tap ends a file that takes too long, and tells what was open; one whose event loop is held is ended here.
  const timer = setTimeout(() => child.kill('SIGKILL'), (LIMIT + 10) * 1000)
  const report = new Report()
  const lines = readline.createInterface({ input: child.stdout! })
  lines.on('line', line => report.line(line))
  const [[code, signal]] = (await Promise.all([once(child, 'close'), once(lines, 'close')])) as [
    [number | null, string | null],
    unknown,
  ]
  clearTimeout(timer)
  running.delete(child)

  // A file that ended badly without a failed assertion still counts as one failure.
  const bad = code === 0 && report.counts !== null ? 0 : Math.max(1, report.counts?.failed ?? 0)
  if (bad > 0 && report.lines.length === 0)
    report.lines.push(`  it ended with ${signal ?? code} and told of no failure`)
  const seconds = (performance.now() - began) / 1000
  return { passed: report.counts?.passed ?? 0, failed: bad, seconds, lines: report.lines }
}

/**
 * Run the file, and once more if it failed while the machine stood still: what is due within a second then tells of the
 * machine. The first failure is told of as comments; the second run counts, however the machine was.
 */
async function run(file: string): Promise<void> {
  const before = standstills.total
  let outcome = await play(file)
  const stood = standstills.total - before
  if (outcome.failed > 0 && stood > 0) {
    console.log(`# ${file} failed while the machine stood still for ${stood.toFixed(0)} ms in all, and is run again:`)
    for (const line of outcome.lines.join('\n').split('\n')) console.log(`# ${line}`)
    outcome = await play(file)
  }
  passed += outcome.passed
  failed += outcome.failed
  console.log(`${outcome.failed === 0 ? 'ok' : 'not ok'} ${++ended} - ${file}, ${outcome.seconds.toFixed(1)} s`)
  for (const line of outcome.lines) console.log(line)
}

const files = chosen(process.argv.slice(2))
compile()
stripTree(ROOT, STRIPPED)
console.log(`Node ${process.versions.node}`)
const started = Date.now()
standstills.start()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
const waiting = files.values()
const work = async () => {
  for (const file of waiting) await run(file)
}
await Promise.all(Array.from({ length: JOBS }, work))
console.log(`\n${((Date.now() - started) / 1000).toFixed(0)} s on Node ${process.versions.node}`)
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
