// A fuzz campaign: seeded cases, each read by our codec in one piece and in several, and held against llhttp.

import { normalizePath } from '../../../src/http/path.ts'
import type { HeadLimits } from '../../../src/http1/head-parser.ts'
import { judge } from './differences.ts'
import { answerStream, requestStream } from './messages.ts'
import { Random } from './random.ts'
import { LIMITS, type Outcome, readOurs, readTheirs } from './readers.ts'

/** What was fuzzed, and what came out. */
export interface Report {
  readonly target: Target
  cases: number
  /** Cases of which at least one whole message was accepted. */
  accepted: number
  /** Explained differences by the name of their row. */
  readonly differences: Map<string, number>
  /** Anything else: bugs. At most the first twenty are kept. */
  readonly bugs: string[]
  bugCount: number
}

export const TARGETS = ['requests', 'answers', 'paths'] as const
export type Target = (typeof TARGETS)[number]

/** Small enough that cases reach it. */
const TIGHT: HeadLimits = { bytes: 120, count: 4 }

/** Play `cases` cases of `target`. Case i of a seed is the same whatever the number of cases. */
export function play(target: Target, seed: number, cases: number): Report {
  const report: Report = { target, cases, accepted: 0, differences: new Map(), bugs: [], bugCount: 0 }
  for (let i = 0; i < cases; i++) {
    // Odd factors keep neighbouring seeds and cases apart.
    const random = new Random(Math.imul(seed, 0x9e3779b1) + Math.imul(i, 0x85ebca77))
    try {
      if (target === 'paths') playPath(random, report)
      else playStream(target, random, report)
    } catch (error) {
      bug(report, `case ${i} threw ${error instanceof Error ? error.stack : error}`)
    }
  }
  return report
}

function bug(report: Report, what: string): void {
  report.bugCount++
  if (report.bugs.length < 20) report.bugs.push(what)
}

function playStream(target: 'requests' | 'answers', random: Random, report: Report): void {
  const text = target === 'requests' ? requestStream(random) : answerStream(random)
  const method = target === 'requests' ? null : random.pick(['GET', 'GET', 'HEAD'])
  const limits = random.chance(0.05) ? TIGHT : LIMITS
  const whole = readOurs(text, [], method, limits)
  const cuts = cutsOf(random, text.length)
  const pieces = readOurs(text, cuts, method, limits)
  const split = differ(whole, pieces)
  if (split !== null) bug(report, `cut at ${cuts}: ${split}\n${JSON.stringify(text)}`)
  if (whole.complete.length > 0) report.accepted++
  if (limits === TIGHT) return
  const verdict = judge(text, whole, readTheirs(text, method))
  if (verdict.kind === 'UNEXPLAINED') bug(report, `${verdict.what}\n${JSON.stringify(text)}`)
  else if (verdict.kind === 'we accept' || verdict.kind === 'we refuse') {
    const name = `${verdict.kind}: ${verdict.row}`
    report.differences.set(name, (report.differences.get(name) ?? 0) + 1)
  }
}

/** Where to cut: mostly a few places, sometimes before every byte. */
function cutsOf(random: Random, length: number): number[] {
  if (random.chance(0.03)) return Array.from({ length: Math.max(0, length - 1) }, (_, i) => i + 1)
  const cuts = Array.from({ length: 1 + random.below(4) }, () => random.below(length + 1))
  return cuts.sort((a, b) => a - b)
}

/** What differs between one reading and another of the same bytes, or null. Only the words of a refusal may. */
function differ(whole: Outcome, pieces: Outcome): string | null {
  if (whole.end !== pieces.end || whole.code !== pieces.code) {
    return `${whole.end} ${whole.code} ${whole.reason} | ${pieces.end} ${pieces.code} ${pieces.reason}`
  }
  const a = JSON.stringify([whole.complete, whole.partial])
  const b = JSON.stringify([pieces.complete, pieces.partial])
  return a === b ? null : `${a} | ${b}`
}

const SEGMENTS = [
  ...[
    '/',
    '/',
    '/',
    '/',
    '.',
    '..',
    'a',
    'Bc',
    '~',
    ';',
    '%2e',
    '%2E',
    '%2f',
    '%2F',
    '%5c',
    '%3b',
    '%3B',
    '%25',
    '%41',
  ],
  ...[
    '%c3%a9',
    '%00',
    '%0a',
    '%7f',
    '%',
    '%g1',
    '\\',
    '?',
    '#',
    ' ',
    '\x00',
    '\x7f',
    '\xe9',
    '..;',
    ';x=',
    '%252e',
    ':',
    '@',
    '*',
  ],
]

function playPath(random: Random, report: Report): void {
  let raw = random.chance(0.98) ? '/' : ''
  for (let n = random.below(10); n > 0; n--) raw += random.pick(SEGMENTS)
  for (let n = random.below(3); n > 0; n--) {
    const at = random.below(raw.length + 1)
    raw =
      raw.slice(0, at) +
      String.fromCharCode(random.below(random.chance(0.9) ? 128 : 256)) +
      raw.slice(at + random.below(2))
  }
  const keep = random.chance(0.5)
  const path = normalizePath(raw, keep)
  if (path === null) return
  report.accepted++
  const again = normalizePath(path, keep)
  if (again !== path) bug(report, `${JSON.stringify(raw)} gives ${path} and then ${again}`)
  if (path === '*') return
  const decoded = path.replace(/%([0-9A-F]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  )
  const cut = decoded.replace(/;[^/]*/g, '')
  for (const [how, text] of [
    ['as it is', path],
    ['decoded once more', decoded],
    ['decoded, without parameters', cut],
  ] as const) {
    if (!text.startsWith('/')) bug(report, `${JSON.stringify(raw)} gives ${path}, which has no root`)
    for (const segment of text.split('/')) {
      if (segment === '.' || segment === '..')
        bug(report, `${JSON.stringify(raw)} gives ${path}: a dot segment, ${how}`)
    }
  }
  if (/[\x00-\x20\\]/.test(path) || /[\x00-\x1f\\]/.test(decoded))
    bug(report, `${JSON.stringify(raw)} gives ${JSON.stringify(path)}`)
}
