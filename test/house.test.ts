// The house rules: reads the imports and the text of the sources, and holds the floors, the names and the laws of the code base.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { ROOT } from './support/root.ts'

/** Floor of every room, and of every file that is a room of its own. A room imports from its own floor or below. */
const FLOORS: Readonly<Record<string, number>> = {
  main: 11,
  command: 11,
  index: 11,
  demo: 11,
  gateway: 10,
  proxy: 9,
  admin: 9,
  snapshot: 8,
  config: 7,
  plugins: 7,
  route: 6,
  'plugin-api': 6,
  pipeline: 5,
  exchange: 4,
  upstream: 3,
  listener: 2,
  store: 2,
  discovery: 2,
  telemetry: 2,
  http: 1,
  http1: 1,
  errors: 1,
  log: 1,
  clock: 1,
  metrics: 1,
  units: 1,
  'value-at': 1,
  hash: 1,
  nearest: 1,
  version: 1,
  'node-version': 1,
  heap: 1,
}

/** Packages that only these files may name: all else goes through them. */
const KEPT: Readonly<Record<string, RegExp>> = {
  'uWebSockets.js': /^src\/listener\/uws[a-z-]*\.ts$/,
  ioredis: /^src\/store\/redis\.ts$/,
}

/** Rooms on the way of every request: a promise appears there only where a plugin or a store returns one. */
const SYNCHRONOUS = [
  /^src\/listener\/(native|connection|answer-writer)\.ts$/,
  /^src\/(proxy|route|http1)\//,
  /^src\/pipeline\/run\.ts$/,
  /^src\/upstream\/transport\//,
]

interface Source {
  /** Path from the root. */
  readonly path: string
  readonly text: string
  readonly imports: readonly Import[]
}

interface Import {
  readonly specifier: string
  readonly line: number
  /** Path from the root of the file that is meant; null for a package. */
  readonly target: string | null
}

function sourcesIn(folder: string): Source[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
    .map(entry => read(relative(ROOT, join(entry.parentPath, entry.name))))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
}

function read(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8')
  return { path, text, imports: importsOf(path, text) }
}

/** `import … from`, `export … from`, bare `import '…'` and `import('…')`; imports of types count. */
function importsOf(path: string, text: string): Import[] {
  const found: Import[] = []
  const code = withoutComments(text)
  for (const match of code.matchAll(
    /\b(?:import|export)\b(?:[^'"`;()]*?\bfrom)?\s*(['"])([^'"\n]+)\1|\bimport\s*\(\s*(['"`])([^'"`\n]+)\3/g,
  )) {
    const specifier = match[2] ?? match[4]!
    const line = code.slice(0, match.index + match[0].lastIndexOf(specifier)).split('\n').length
    const target = specifier.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(path), specifier)) : null
    found.push({ specifier, line, target })
  }
  return found
}

/** Blanks comments, keeping the lines. Good enough for sources that biome formats: no `//` in regular expressions. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|^[ \t]*\/\/.*$/gm, comment => comment.replace(/[^\n]/g, ' '))
}

/** Blanks the contents of strings too, so that words in messages are no code. */
function withoutTexts(text: string): string {
  return withoutComments(text).replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, "''")
}

/** `src/http/head.ts` lives in `http`, `src/errors.ts` in `errors`, `plugins/headers/index.ts` in `plugins`. */
function room(path: string): string {
  const [top, next] = path.split('/')
  return top === 'plugins' ? 'plugins' : next!.replace(/\.ts$/, '')
}

const src = sourcesIn('src')
const plugins = sourcesIn('plugins')
const all = [...src, ...plugins]
const byPath = new Map(all.map(source => [source.path, source]))

/** One assertion a rule: the list of who breaks it, each with file and line, is empty. */
function holds(t: Test, what: string, broken: readonly string[]): void {
  t.same(broken, [], what)
}

t.test('the reader of imports sees every form and no comment', async t => {
  const text = [
    "import a from './a.ts'",
    "import type { B } from '../http/b.ts'",
    'import {',
    '  c,',
    "} from 'c'",
    "export * from './d.ts'",
    "export { type E } from './e.ts'",
    "import 'f'",
    "const g = await import('./g.ts')",
    "// import h from './h.ts'",
    "/* import i from './i.ts' */",
    "export const from = 'j'",
  ].join('\n')
  t.same(
    importsOf('src/x/y.ts', text).map(found => `${found.line} ${found.target ?? found.specifier}`),
    ['1 src/x/a.ts', '2 src/http/b.ts', '5 c', '6 src/x/d.ts', '7 src/x/e.ts', '8 f', '9 src/x/g.ts'],
  )
  t.ok(all.length > 50, 'the sources are found')
})

t.test('imports', async t => {
  const nowhere: string[] = []
  const noFloor: string[] = []
  const up: string[] = []
  const doors: string[] = []
  const lists: string[] = []
  const kept: string[] = []
  const endings: string[] = []
  for (const source of all) {
    const floor = FLOORS[room(source.path)]
    if (floor === undefined) noFloor.push(`${source.path}: its room has no floor`)
    for (const { specifier, line, target } of source.imports) {
      const at = `${source.path}:${line}`
      if (target === null) {
        const only = KEPT[specifier]
        if (only !== undefined && !only.test(source.path)) kept.push(`${at} imports ${specifier}`)
        continue
      }
      if (!specifier.endsWith('.ts')) endings.push(`${at} imports ${specifier} without .ts`)
      if (!byPath.has(target)) {
        nowhere.push(`${at} imports ${target}, which is no file of src or plugins`)
        continue
      }
      const below = FLOORS[room(target)] ?? 0
      if (source.path.startsWith('plugins/')) {
        const own = dirname(source.path) === 'plugins' ? 'plugins' : source.path.split('/').slice(0, 2).join('/')
        if (target !== 'src/plugin-api.ts' && !target.startsWith(`${own}/`)) doors.push(`${at} imports ${target}`)
      } else if (floor !== undefined && below > floor) {
        up.push(`${at} (${room(source.path)}, floor ${floor}) imports ${target} (floor ${below})`)
      }
      if (target.startsWith('plugins/') && source.path.startsWith('src/') && source.path !== 'src/command.ts') {
        lists.push(`${at} imports ${target}`)
      }
    }
  }
  holds(t, 'every import leads to a file', nowhere)
  holds(t, 'every room has a floor', noFloor)
  holds(t, 'no arrow goes up', up)
  holds(t, 'plugins import the door and their own folder', doors)
  holds(t, 'only main knows the list of bundled plugins', lists)
  holds(t, 'each engine and store keeps its library to itself', kept)
  holds(t, 'relative imports name the file', endings)
})

t.test('no circle between files', async t => {
  const circles: string[] = []
  const settled = new Set<string>()
  const way: string[] = []
  const visit = (path: string) => {
    if (settled.has(path)) return
    const at = way.indexOf(path)
    if (at >= 0) {
      const circle = [...way.slice(at), path]
      const { line } = byPath.get(way.at(-1)!)!.imports.find(found => found.target === path)!
      circles.push(`${way.at(-1)}:${line} closes the circle ${circle.join(' → ')}`)
      return
    }
    way.push(path)
    for (const { target } of byPath.get(path)?.imports ?? []) if (target !== null && byPath.has(target)) visit(target)
    way.pop()
    settled.add(path)
  }
  for (const source of all) visit(source.path)
  holds(t, 'no circle', circles)
})

t.test('names', async t => {
  const names: string[] = []
  for (const { path } of all) {
    for (const part of path.split('/')) {
      const stem = part.replace(/\.ts$/, '')
      if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(stem)) names.push(`${path}:1 ${part} is not kebab-case`)
      if (/^(utils?|helpers?|common|misc|shared)$/.test(stem)) names.push(`${path}:1 ${part} says nothing`)
    }
    // index.ts is the package's face and a plugin's; anywhere else it would be a barrel.
    if (basename(path) === 'index.ts' && path !== 'src/index.ts' && !/^plugins\/[^/]+\/index\.ts$/.test(path)) {
      names.push(`${path}:1 is a barrel`)
    }
  }
  holds(t, 'files are kebab-case nouns', names)
})

t.test('heads of files', async t => {
  const heads: string[] = []
  const long: string[] = []
  for (const { path, text } of all) {
    const lines = text.split('\n')
    const first = lines.findIndex(line => !line.startsWith('#!'))
    if (!/^\/\/ \S.*/.test(lines[first] ?? '')) heads.push(`${path}:${first + 1} opens without a comment`)
    const body = lines.findIndex(line => line !== '' && !line.startsWith('//') && !line.startsWith('#!'))
    const head = lines.slice(0, body).join('\n')
    const count = lines.length - 1
    if (count > 300 && !/\bover (2|3)00 lines\b/i.test(head))
      long.push(`${path}:1 has ${count} lines and does not say why`)
  }
  holds(t, 'each file opens with one sentence', heads)
  holds(t, 'a file over 300 lines says why', long)
})

t.test('no promise of our own on the way of a request', async t => {
  const broken: string[] = []
  for (const { path, text } of src) {
    if (!SYNCHRONOUS.some(rule => rule.test(path))) continue
    for (const [i, line] of withoutTexts(text).split('\n').entries()) {
      if (/(?<![\w.#])(async|await)\b(?!\s*[:?])/.test(line.replace(/\/\/.*$/, '')))
        broken.push(`${path}:${i + 1} ${line.trim()}`)
    }
  }
  holds(t, 'no async, no await', broken)
})

t.test('what costs too much for each request stands nowhere on its way', async t => {
  const timers: string[] = []
  const made: string[] = []
  for (const { path, text } of src) {
    const onTheWay = SYNCHRONOUS.some(rule => rule.test(path))
    for (const [i, line] of withoutTexts(text).split('\n').entries()) {
      const code = line.replace(/\/\/.*$/, '')
      // Timeouts come from the one wheel.
      if (
        (onTheWay || /^src\/(upstream|exchange)\//.test(path)) &&
        /\b(setTimeout|setInterval|AbortController)\b/.test(code)
      )
        timers.push(`${path}:${i + 1} ${line.trim()}`)
      // Compiled at load, or not at all. What a table is built from may be anything.
      if (onTheWay && !path.startsWith('src/route/') && /\bJSON\.|\bnew RegExp\b|\bnew Headers\b/.test(code))
        made.push(`${path}:${i + 1} ${line.trim()}`)
    }
  }
  holds(t, 'no timer of its own', timers)
  holds(t, 'no JSON, no expression, no object of headers', made)
})

t.test('every plugin has its page, and stands in the list', async t => {
  const broken: string[] = []
  const listed = new Set(byPath.get('plugins/bundled.ts')!.imports.map(found => found.target))
  for (const entry of readdirSync(join(ROOT, 'plugins'), { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const folder = `plugins/${entry.name}`
    if (!existsSync(join(ROOT, folder, 'README.md'))) broken.push(`${folder}/README.md is missing`)
    if (!listed.has(`${folder}/index.ts`)) broken.push(`plugins/bundled.ts does not import ${folder}/index.ts`)
  }
  holds(t, 'folder, page and list agree', broken)
})

t.test('tests find files of the repository from its root', async t => {
  const broken: string[] = []
  for (const { path, text } of sourcesIn('test')) {
    for (const [i, line] of text.split('\n').entries()) {
      // They are stripped to another folder before they run, which has the sources and nothing else.
      if (/\bnew URL\('[^']*(?<!\.ts)', import\.meta\.url\)/.test(line)) broken.push(`${path}:${i + 1} ${line.trim()}`)
    }
  }
  holds(t, 'by ROOT of support/root.ts', broken)
})
