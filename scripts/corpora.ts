// Plays the corpora of ../shared/corpora against running gateways: raw requests, hostile upstream answers and configuration texts.
//
// The runners for the wire are the corpora's own; this starts a gateway for each shard, adds up what they wrote, and holds it to
// the targets. Route matching, tokens, limits and breakers are played inside the process by the test suite.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { ForwardGateway, MAIN } from './forward-gateway.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const CORPORA = path.join(ROOT, '../shared/corpora')
const REQUESTS = ['http1-core', 'http1-derived', 'http1-te-cl-mutations', 'http1-uris'].map(n => `http1/${n}.jsonl`)
const ANSWERS = 'http1/upstream-responses.jsonl'

/** Shares of valid requests served, and of what MUST be refused refused. Nothing dangerous is allowed through at all. */
const LEAST_ACCEPTED = 0.997
const LEAST_REFUSED = 0.99
/** Processor time that a check of any text may take, start of the process included: a machine that stands still takes none. */
const CHECK_LIMIT_S = 5
/** By then it is over even where it only waits. */
const CHECK_END_S = 60

const { values: options } = parseArgs({
  options: {
    shards: { type: 'string', default: '4' },
    engine: { type: 'string', default: 'native' },
    only: { type: 'string' },
  },
})

interface Case {
  readonly id: string
  readonly verdict: string
  readonly rfc_level: 'must' | 'policy' | 'may'
}

interface Outcome {
  readonly id: string
  readonly grade: 'pass' | 'lenient' | 'fail'
  readonly why: readonly string[]
  readonly verdict: string
  readonly code: string
  readonly title: string
}

interface Text {
  readonly id: string
  readonly name: string
  readonly expect: string
  readonly text_b64?: string
  readonly text_gz_b64?: string
}

let passed = 0
let failed = 0

/** One thing that must hold. */
function check(holds: boolean, what: string): void {
  if (holds) passed++
  else failed++
  console.log(`${holds ? 'ok    ' : 'NOT OK'} ${what}`)
}

if (!fs.existsSync(CORPORA)) {
  console.log('../shared/corpora is not here: nothing to play')
  console.log('0 passed, 0 failed')
  process.exit(0)
}
const built = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], { cwd: ROOT })
if (built.status !== 0 || !fs.existsSync(MAIN)) {
  // Whoever works on types may still play: what was emitted runs.
  console.log(`the build reports faults: ${String(built.stdout).split('\n', 3).join('\n')}`)
  if (!fs.existsSync(MAIN)) {
    console.log('0 passed, 1 failed')
    process.exit(1)
  }
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sluice-corpora-'))
const wanted = (name: string) => options.only === undefined || options.only === name
try {
  // The two on the wire mostly wait; the texts are all work, and are held to a time.
  await Promise.all([wanted('requests') && requests(), wanted('answers') && answers()])
  if (wanted('texts')) await texts()
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
console.log(`\n${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)

/** Runs one of the corpora's runners against a gateway of its own and returns what it wrote, one outcome a case. */
async function play(
  tool: string,
  name: string,
  args: readonly string[],
): Promise<{ outcomes: Outcome[]; survived: boolean }> {
  const gateway = await ForwardGateway.start(folder, name, options.engine)
  const out = path.join(folder, `${name}.jsonl`)
  const runner = spawn(
    'python3',
    [
      path.join(CORPORA, 'tools', tool),
      ...['--target', `127.0.0.1:${gateway.port}`, '--upstream-port', String(gateway.upstreamPort), '--out', out],
      ...args,
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const [code] = (await once(runner, 'exit')) as [number | null]
  const survived = await gateway.stop()
  if (code !== 0) throw new Error(`${tool} ended with ${code}`)
  return { outcomes: readLines<Outcome>(out), survived }
}

async function requests(): Promise<void> {
  const cases = new Map(REQUESTS.flatMap(file => readLines<Case>(path.join(CORPORA, file))).map(c => [c.id, c]))
  const shards = Number(options.shards)
  const results = await Promise.all(
    Array.from({ length: shards }, (_, i) => play('run_http1.py', `requests-${i}`, ['--shard', `${i}/${shards}`])),
  )
  const outcomes = results.flatMap(r => r.outcomes)
  console.log('\nRaw requests')
  listFailures(outcomes)
  const accept = outcomes.filter(o => o.verdict === 'accept')
  const must = outcomes.filter(o => o.verdict === 'reject-4xx-and-close' && cases.get(o.id)?.rfc_level === 'must')
  check(outcomes.length === cases.size, `all ${cases.size} raw requests were played`)
  score('valid requests served', accept, LEAST_ACCEPTED)
  score('requests refused that MUST be', must, LEAST_REFUSED)
  for (const level of ['policy', 'may'] as const) {
    const rest = outcomes.filter(o => o.verdict !== 'accept' && cases.get(o.id)?.rfc_level === level)
    const lenient = rest.filter(o => o.grade === 'lenient').length
    console.log(
      `       ${level}: ${rest.filter(o => o.grade === 'pass').length} of ${rest.length} as wished, ${lenient} lenient`,
    )
  }
  check(dangerous(outcomes) === 0, `dangerous requests passed on: ${dangerous(outcomes)}`)
  check(
    results.every(r => r.survived),
    'every gateway lived through it and then stopped when told to',
  )
}

async function answers(): Promise<void> {
  const cases = readLines<Case>(path.join(CORPORA, ANSWERS))
  const shards = Math.max(1, Number(options.shards) >> 1)
  const results = await Promise.all(
    Array.from({ length: shards }, (_, i) => {
      const ids = cases.filter((_, n) => n % shards === i).map(c => c.id)
      return play('run_responses.py', `answers-${i}`, ['--ids', ids.join(',')])
    }),
  )
  const outcomes = results.flatMap(r => r.outcomes)
  console.log('\nHostile answers of an upstream')
  listFailures(outcomes)
  check(outcomes.length === cases.length, `all ${cases.length} upstream answers were played`)
  for (const verdict of ['forward', '502', 'abort', 'either']) {
    const of = outcomes.filter(o => o.verdict === verdict)
    console.log(`       ${verdict}: ${of.filter(o => o.grade !== 'fail').length} of ${of.length}`)
  }
  check(dangerous(outcomes) === 0, `dangerous answers passed on: ${dangerous(outcomes)}`)
  check(
    results.every(r => r.survived),
    'every gateway lived through it and then stopped when told to',
  )
}

/**
 * `sluice check` on each text. They are written for nobody's schema in particular, so that none is free of faults here; what is
 * held is that each ends in time, in exit 1, with faults instead of a stack, and that text which is fine as YAML is not called broken.
 */
async function texts(): Promise<void> {
  console.log('\nConfiguration texts')
  const cases = readLines<Text>(path.join(CORPORA, 'config/yaml-adversarial.jsonl'))
  const queue: { id: string; name: string; file: string; fine: boolean }[] = []
  const elsewhere: string[] = []
  for (const { id, name, expect, text_b64, text_gz_b64 } of cases) {
    const bytes =
      text_gz_b64 === undefined ? Buffer.from(text_b64 ?? '', 'base64') : gunzipSync(Buffer.from(text_gz_b64, 'base64'))
    if (bytes.toString('latin1', 0, 9) === '(not YAML') {
      if (!name.includes('FIFO')) elsewhere.push(`${id} ${name}`)
      continue
    }
    const file = path.join(folder, `${id}.yaml`)
    fs.writeFileSync(file, bytes)
    queue.push({ id, name, file, fine: expect === 'accept' || expect.startsWith('numbers') })
  }
  const fifo = path.join(folder, 'fifo.yaml')
  execFileSync('mkfifo', [fifo])
  for (const [name, file] of [
    ['a folder', folder],
    ['a pipe that nobody writes', fifo],
    ['/dev/zero', '/dev/zero'],
  ] as const) {
    queue.push({ id: 'no-file', name, file, fine: false })
  }
  const two = async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      const problem = await checkText(one.file, one.fine)
      check(problem === null, `${one.id} ${one.name}${problem === null ? '' : `: ${problem}`}`)
    }
  }
  await Promise.all([two(), two()])
  for (const one of elsewhere) console.log(`       ${one}: not a text; test/integration plays it`)
}

/** What is wrong with how `sluice check` took this file, or null. */
async function checkText(file: string, fine: boolean): Promise<string | null> {
  const limited = [
    '-c',
    'ulimit -t "$0" && exec "$@"',
    String(CHECK_LIMIT_S),
    process.execPath,
    MAIN,
    'check',
    '-c',
    file,
  ]
  const child = spawn('sh', limited, { stdio: ['ignore', 'pipe', 'pipe'] })
  let printed = ''
  child.stdout.on('data', d => (printed += d))
  child.stderr.on('data', d => (printed += d))
  const timer = setTimeout(() => child.kill('SIGTERM'), CHECK_END_S * 1000)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  clearTimeout(timer)
  if (signal === 'SIGTERM') return `not done within ${CHECK_END_S} s`
  if (signal !== null) return `not done within ${CHECK_LIMIT_S} s of processor time (${signal})`
  if (code !== 1) return `exit ${code} instead of 1: ${printed.slice(0, 300)}`
  if (/^\s+at \S/m.test(printed)) return `a stack was printed: ${printed.slice(0, 300)}`
  if (!/\(SLUICE_CONFIG_[A-Z_]+\)/.test(printed)) return `no fault was printed: ${printed.slice(0, 300)}`
  const broken = /SLUICE_CONFIG_(SYNTAX|FILE|LIMIT|DUPLICATE_KEY)/.exec(printed)
  if (fine && broken !== null) return `good YAML was called ${broken[0]}: ${printed.slice(0, 300)}`
  return null
}

function dangerous(outcomes: readonly Outcome[]): number {
  return outcomes.filter(o => o.why.some(why => why.includes('DANGER'))).length
}

function score(what: string, outcomes: readonly Outcome[], least: number): void {
  const good = outcomes.filter(o => o.grade === 'pass').length
  const share = good / Math.max(1, outcomes.length)
  const figure = `${(share * 100).toFixed(2)} % (${good} of ${outcomes.length})`
  check(share >= least, `${what}: ${figure}, at least ${(least * 100).toFixed(1)} %`)
}

function listFailures(outcomes: readonly Outcome[]): void {
  for (const { id, grade, why, verdict, code, title } of outcomes) {
    if (grade === 'fail') console.log(`  ${id} [${verdict}, ${code}] ${title}: ${why.join('; ')}`)
  }
}

function readLines<T>(file: string): T[] {
  const lines = fs.readFileSync(file, 'utf8').split('\n')
  return lines.filter(line => line !== '').map(line => JSON.parse(line) as T)
}
