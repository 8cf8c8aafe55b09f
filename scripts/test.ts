// Runs the test suite under tap with the Node that runs this, prints a line a file and every failure whole, and ends with `N passed, N failed`.
//
// Arguments go to tap: `npm test -- test/unit/compose.test.ts`. tap's own reporters repaint a terminal, which a log of CI
// cannot show; the counts are those of tap's closing comment.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TAP = path.join(ROOT, 'node_modules/tap/dist/esm/run.mjs')
const BUILT = path.join(ROOT, 'node_modules/@tapjs/test/test-built')

const env = {
  ...process.env,
  // Tests start `node` by name too: that must be this one.
  PATH: `${path.dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
  // What tests start as a process of its own.
  SLUICE_TEST_MAIN: path.join(ROOT, 'dist/src/main.js'),
}

/** tap compiles its Test class from the plugins of .taprc; as installed, or after a build that was cut short, it fits no test here. */
function build(): void {
  const source = path.join(BUILT, 'src/index.ts')
  const fits =
    fs.existsSync(path.join(BUILT, 'dist/esm/index.js')) &&
    fs.existsSync(source) &&
    !/^@tapjs\/typescript$/m.test(fs.readFileSync(source, 'utf8'))
  if (fits) return
  console.log('building tap')
  const { status } = spawnSync(process.execPath, [TAP, 'build'], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) {
    console.error('tap build failed')
    process.exit(1)
  }
}

/** The command as it ships. */
function compile(): void {
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: ROOT, env, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

interface Counts {
  passed: number
  failed: number
}

/** Reads TAP; prints the outcome of each file, and of each failed assertion where it stands and what it said. */
class Report {
  readonly counts: Counts = { passed: 0, failed: 0 }
  counted = false
  /** Names of the subtests down to here, outermost first; one a step of indentation. */
  #open: string[] = []
  /** Failures shown of the current file. */
  #shown = 0
  /** Inside the diagnostics of a failure: its indentation. */
  #diagnostics: string | null = null
  #afterFailure = false

  line(line: string): void {
    if (this.#diagnostics !== null) {
      console.log(line)
      if (line === `${this.#diagnostics}...`) this.#diagnostics = null
      return
    }
    if (this.#afterFailure) {
      this.#afterFailure = false
      const block = /^( *)---$/.exec(line)
      if (block !== null) {
        this.#diagnostics = block[1]!
        console.log(line)
        return
      }
    }
    const subtest = /^( *)# Subtest: (.*)$/.exec(line)
    if (subtest !== null) {
      const depth = subtest[1]!.length / 4
      this.#open = [...this.#open.slice(0, depth), subtest[2]!]
      if (depth === 0) this.#shown = 0
      return
    }
    const outcome = /^( *)(not )?ok \d+ ?(.*)$/.exec(line)
    if (outcome !== null) {
      this.#outcome(line, outcome[1]!.length / 4, outcome[2] !== undefined, outcome[3]!)
      return
    }
    const closing = /^# \{ total: \d+, pass: (\d+)(?:, fail: (\d+))?/.exec(line)
    if (closing !== null) {
      this.counted = true
      this.counts.passed = Number(closing[1])
      this.counts.failed = Number(closing[2] ?? 0)
    }
  }

  #outcome(line: string, depth: number, failed: boolean, text: string): void {
    if (depth === 0) {
      console.log(line)
      // What tap says of a failed file matters only where no assertion in it said more: it crashed or hung.
      this.#afterFailure = failed && this.#shown === 0
      return
    }
    // A subtest's own line repeats what its assertions said, unless none of them did.
    const closes = text.replace(/^- /, '').replace(/ # time=.*$/, '') === this.#open[depth]
    if (!failed || / # (TODO|SKIP)\b/i.test(text) || (closes && this.#shown > 0)) return
    this.#shown++
    console.log(`\nin ${this.#open.slice(0, depth).join(' > ')}\n${line}`)
    this.#afterFailure = true
  }
}

build()
compile()
console.log(`Node ${process.versions.node}`)
const started = Date.now()
const tap = spawn(process.execPath, [TAP, 'run', '--reporter=tap', ...process.argv.slice(2)], {
  cwd: ROOT,
  env,
  stdio: ['inherit', 'pipe', 'inherit'],
})
const report = new Report()
const lines = readline.createInterface({ input: tap.stdout })
lines.on('line', line => report.line(line))
const [[code]] = (await Promise.all([once(tap, 'close'), once(lines, 'close')])) as [[number | null], unknown]

const { passed, failed } = report.counts
console.log(`\n${((Date.now() - started) / 1000).toFixed(0)} s on Node ${process.versions.node}`)
if (!report.counted) console.log('tap printed no counts')
// A run that ended badly without a failed assertion still counts as one failure.
const bad = code === 0 && report.counted ? failed : Math.max(1, failed)
console.log(`${passed} passed, ${bad} failed`)
process.exit(bad === 0 ? 0 : 1)
