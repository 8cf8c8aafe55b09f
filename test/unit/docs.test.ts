// The documentation holds: its configurations load, its plugins are plugins, and its links lead somewhere.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import t from 'tap'
import bundled from '../../plugins/bundled.ts'
import { formatFault } from '../../src/config/fault.ts'
import { loadText } from '../../src/config/load.ts'
import { Catalog } from '../../src/pipeline/catalog.ts'
import * as pluginApi from '../../src/plugin-api.ts'
import { ROOT } from '../support/root.ts'

/** Folders that hold no text of ours. */
const FOREIGN = new Set(['node_modules', '.git', '.tap', 'dist', 'coverage', 'state'])

function markdown(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return FOREIGN.has(entry.name) ? [] : markdown(path)
    return entry.name.endsWith('.md') ? [path] : []
  })
}

interface Block {
  readonly language: string
  /** After `file=` in the opening line: what the block is called; a path from the root when it holds a slash. */
  readonly file: string | undefined
  readonly line: number
  readonly text: string
}

function blocks(path: string): Block[] {
  const found: Block[] = []
  const lines = readFileSync(path, 'utf8').split('\n')
  for (let i = 0; i < lines.length; i++) {
    const opening = /^```(\w+)(?: file=(\S+))?/.exec(lines[i]!)
    if (opening === null && !lines[i]!.startsWith('```')) continue
    const end = lines.indexOf('```', i + 1)
    if (end < 0) throw new Error(`${path}:${i + 1} is never closed`)
    const text = `${lines.slice(i + 1, end).join('\n')}\n`
    if (opening !== null) found.push({ language: opening[1]!, file: opening[2], line: i + 1, text })
    i = end
  }
  return found
}

/** The text outside of code, where links are. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```$/gm, '').replace(/`[^`\n]*`/g, '')
}

/** All TypeScript below these folders: path from the root to text. */
function sources(...folders: string[]): Map<string, string> {
  const found = new Map<string, string>()
  for (const folder of folders) {
    for (const file of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
      if (file.endsWith('.ts')) found.set(`${folder}/${file}`, readFileSync(join(ROOT, folder, file), 'utf8'))
    }
  }
  return found
}

/** What GitHub makes of the headings of a page. */
function anchors(text: string): Set<string> {
  const headings = [...text.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm)].map(found => found[1]!)
  return new Set(
    headings.map(heading =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

const pages = markdown(ROOT)
const guides = pages.filter(page => dirname(page) === join(ROOT, 'docs') || page === join(ROOT, 'README.md'))

t.test('configurations and plugins in the guides', async t => {
  let configurations = 0
  for (const page of guides) {
    const name = relative(ROOT, page)
    // Each page's files stand in a folder of their own, the latest of a name in place.
    const folder = t.testdir({ [basename(page)]: {} })
    const here = join(folder, basename(page))
    mkdirSync(here, { recursive: true })
    for (const { language, file, line, text } of blocks(page)) {
      const place = `${name}:${line}`
      if (file?.includes('/')) t.equal(text, readFileSync(join(ROOT, file), 'utf8'), `${place} is ${file}`)
      if (file !== undefined) writeFileSync(join(here, basename(file)), text)
      const catalog = new Catalog(bundled, { sluice: pluginApi })
      if (language === 'ts' && file !== undefined) {
        await t.resolves(catalog.loadUser(`./${basename(file)}`, here), `${place} is a plugin`)
      } else if (language === 'yaml' && /^listeners:/m.test(text)) {
        configurations++
        const { faults } = await loadText(text, join(here, 'gateway.yaml'), { env: {}, catalog })
        t.same(faults.map(formatFault), [], place)
      }
    }
  }
  t.ok(configurations >= 3, `${configurations} configurations`)
})

t.test('relative links lead to files, and their anchors to headings', async t => {
  let links = 0
  for (const page of pages) {
    const name = relative(ROOT, page)
    for (const [, link] of prose(readFileSync(page, 'utf8')).matchAll(/\]\(([^()\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue
      links++
      const [path = '', anchor] = link!.split('#')
      const target = path === '' ? page : resolve(dirname(page), path)
      if (!existsSync(target)) t.fail(`${name}: there is no ${link}`)
      else if (anchor !== undefined && statSync(target).isFile() && !anchors(readFileSync(target, 'utf8')).has(anchor))
        t.fail(`${name}: ${path} has no heading for #${anchor}`)
    }
  }
  t.ok(links >= 20, `${links} links`)
})

t.test('the code that the texts name is there', async t => {
  const code = sources('src', 'plugins')
  const all = [...code.values()].join('\n')
  const words = new Set(all.match(/#?[A-Za-z_]\w*/g))
  const files = new Set([...code.keys()].map(path => basename(path)))
  let names = 0
  for (const page of [...guides, ...pages.filter(page => dirname(page) === join(ROOT, 'docs/decisions'))]) {
    const name = relative(ROOT, page)
    for (const [, span] of readFileSync(page, 'utf8')
      .replace(/^```[\s\S]*?^```$/gm, '')
      .matchAll(/`([^`\n]+)`/g)) {
      if (/^(?:src|plugins|test|bench|scripts)\//.test(span!)) {
        names++
        if (!existsSync(join(ROOT, span!))) t.fail(`${name}: there is no ${span}`)
      } else if (basename(page) === 'life-of-a-request.md' && /^#?[A-Za-z_]\w*(?:\.\w+)*(?:\(.*\))?$/.test(span!)) {
        names++
        const [bare = ''] = span!.split('(')
        const last = bare.split('.').at(-1)!
        const known = bare.endsWith('.ts') ? files.has(bare) : words.has(last) || words.has(`#${last}`)
        if (!known) t.fail(`${name}: nothing is called ${span}`)
      }
    }
  }
  t.ok(names >= 60, `${names} names`)
})
