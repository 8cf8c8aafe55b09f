// Writes bench/results: one page, one chart and one JSON file a scenario, and the table that stands in the README files.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { chart } from './chart.ts'
import type { Scenario } from './load/scenario.ts'
import { YARDSTICK } from './rivals/rivals.ts'
import type { Added, Summary } from './round.ts'

const START = '<!-- bench:start -->'
const END = '<!-- bench:end -->'
const PROJECT_README = fileURLToPath(new URL('../README.md', import.meta.url))

/** All that one page is written from. */
export interface Result {
  readonly scenario: string
  readonly question: string
  readonly command: string
  readonly driver: string
  readonly rounds: number
  readonly seconds: number
  readonly warmup: number
  readonly connections: number
  readonly pipelining: number
  readonly machine: string
  readonly absent: readonly string[]
  readonly summaries: readonly Summary[]
  /** What the scenario adds to the plain case in the same process of Sluice; null where it adds nothing. */
  readonly added: Added | null
}

/** Processor, cores, memory, kernel and Node in one line. */
export function describeMachine(): string {
  const cpus = os.cpus()
  const model = cpus[0]?.model.trim() ?? 'unknown processor'
  const gib = (os.totalmem() / 2 ** 30).toFixed(1)
  return `${model}, ${cpus.length} cores, ${gib} GiB, ${os.type()} ${os.release().replace(/-.*/, '')}, Node ${process.versions.node}`
}

/** One sentence. */
export function describeAdded({ median, low, high }: Added): string {
  return `adds ${median.toFixed(2)} µs a request to the plain case in the same process (95 % interval ${low.toFixed(2)} to ${high.toFixed(2)})`
}

export function writeResult(folder: string, result: Result): void {
  fs.mkdirSync(folder, { recursive: true })
  const base = path.join(folder, result.scenario)
  fs.writeFileSync(`${base}.json`, `${JSON.stringify(result, null, 2)}\n`)
  fs.writeFileSync(`${base}.svg`, chart(`${result.scenario}: CPU µs per request`, bars(result)))
  fs.writeFileSync(`${base}.md`, page(result))
}

/** The results that stand in a folder, in the order of the scenarios. */
export function readResults(folder: string, scenarios: readonly Scenario[]): Result[] {
  return scenarios.flatMap(({ name }) => {
    const file = path.join(folder, `${name}.json`)
    return fs.existsSync(file) ? [JSON.parse(fs.readFileSync(file, 'utf8')) as Result] : []
  })
}

/** Writes the summary page of the folder and, where it has the markers, the table of the project's README. */
export function writeReadme(folder: string, results: readonly Result[]): void {
  if (results.length === 0) return
  const table = summaryTable(results)
  fs.writeFileSync(
    path.join(folder, 'README.md'),
    `# Results

Written by \`npm run bench\`; how to read them stands in [bench/README.md](../README.md).

${table}

${results.map(r => `- [${r.scenario}](${r.scenario}.md): ${r.question}`).join('\n')}
`,
  )
  const isOurs = path.resolve(folder) === fileURLToPath(new URL('./results', import.meta.url))
  if (!isOurs || !fs.existsSync(PROJECT_README)) return
  const text = fs.readFileSync(PROJECT_README, 'utf8')
  const start = text.indexOf(START)
  const end = text.indexOf(END)
  if (start < 0 || end < start) return
  fs.writeFileSync(PROJECT_README, `${text.slice(0, start + START.length)}\n${table}\n${text.slice(end)}`)
}

/** CPU a request, one row a proxy and one column a scenario. */
function summaryTable(results: readonly Result[]): string {
  const names: string[] = []
  for (const { summaries } of results) for (const { name } of summaries) if (!names.includes(name)) names.push(name)
  const rows = names.map(name => {
    const version = results.flatMap(r => r.summaries).find(s => s.name === name)?.version ?? ''
    const cells = results.map(r => {
      const s = r.summaries.find(one => one.name === name)
      if (s === undefined) return '–'
      if (isFailed(s)) return 'failed'
      return `${s.cpuPerRequest.toFixed(1)}${s.ratio === null || name === YARDSTICK ? '' : ` (${s.ratio.toFixed(2)}×)`}`
    })
    return `| ${name} ${version} | ${cells.join(' | ')} |`
  })
  const machines = [...new Set(results.map(r => r.machine))]
  return `CPU microseconds of the proxy's processes a request, user and system, and in brackets the ratio to ${YARDSTICK} in the same rounds. Lower is better.

| | ${results.map(r => r.scenario).join(' | ')} |
|---|${results.map(() => '---:').join('|')}|
${rows.join('\n')}

Machine: ${machines.join('; ')}.`
}

function isFailed(s: Summary): boolean {
  return s.failed.length * 2 >= s.rounds
}

function bars(result: Result): Parameters<typeof chart>[1] {
  return result.summaries.map(s => ({
    label: s.name,
    value: isFailed(s) ? null : s.cpuPerRequest,
    low: s.lowest,
    high: s.highest,
    ours: s.name.startsWith('sluice'),
  }))
}

function page(result: Result): string {
  const rows = result.summaries.map(s => {
    const figures = isFailed(s)
      ? ['failed', '', '', '', '']
      : [
          `**${s.cpuPerRequest.toFixed(1)}** (${s.lowest.toFixed(1)}–${s.highest.toFixed(1)})`,
          s.ratio === null ? '' : s.ratio.toFixed(2),
          s.requestsPerSecond.toFixed(0),
          s.p50.toFixed(2),
          s.p99.toFixed(2),
        ]
    const rss = Number.isFinite(s.rss) ? (s.rss / 2 ** 20).toFixed(0) : ''
    return `| ${s.name} | ${s.version} | ${figures.join(' | ')} | ${rss} | ${(s.ok * 100).toFixed(2)} % |`
  })
  const failures = result.summaries
    .filter(s => s.failed.length > 0)
    .map(s => `- ${s.name}: ${s.failed.length} of ${s.rounds} runs failed (${[...new Set(s.failed)].join('; ')})`)
  const notes = [...failures, ...result.absent.map(reason => `- takes no part: ${reason}`)]
  return `# ${result.scenario}

${result.question}

![CPU microseconds a request](${result.scenario}.svg)

| proxy | version | CPU µs/request (range) | × ${YARDSTICK} | requests/s | p50 ms | p99 ms | RSS MiB | 2xx |
|---|---|---:|---:|---:|---:|---:|---:|---:|
${rows.join('\n')}
${notes.length === 0 ? '' : `\n${notes.join('\n')}\n`}${result.added === null ? '' : `\nIt ${describeAdded(result.added)}.\n`}
${result.rounds} rounds, interleaved, ${result.seconds} s each after ${result.warmup} s of warm-up; ${result.connections} connections, ${result.pipelining} in flight on each;
driver: ${result.driver}. Medians over the rounds; the ratio is the median of the ratios within a round; 2xx is the worst round's share.

- Machine: ${result.machine}
- Command: \`${result.command}\`
`
}
