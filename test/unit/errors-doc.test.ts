// docs/errors.md and the table in src/errors.ts say the same: every code once, its status, title and source.
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { ERRORS } from '../../src/errors.ts'
import { ROOT } from '../support/root.ts'

interface Told {
  readonly code: string
  /** `status · title · source`, as the line under the heading has it. */
  readonly facts: string
  readonly text: string
}

function told(): Told[] {
  const [, ...sections] = readFileSync(`${ROOT}/docs/errors.md`, 'utf8').split(/^### /m)
  return sections.map(section => {
    const [code = '', , facts = '', ...rest] = section.split('\n')
    return { code, facts, text: rest.join('\n') }
  })
}

/** All TypeScript of `folder`, but for the table itself. */
function sources(folder: string): string {
  return readdirSync(`${ROOT}/${folder}`, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts') && file !== 'errors.ts')
    .map(file => readFileSync(`${ROOT}/${folder}/${file}`, 'utf8'))
    .join('\n')
}

t.test('every code has one section, and no section is about another', async t => {
  t.same(
    told()
      .map(({ code }) => code)
      .sort(),
    Object.keys(ERRORS).sort(),
  )
})

t.test('status, title and source are those of the table', async t => {
  for (const { code, facts } of told()) {
    const kind = ERRORS[code as keyof typeof ERRORS]
    t.equal(facts, `${kind.status} · ${kind.title} · ${kind.source}`, code)
  }
})

t.test('each section says when, and what to do', async t => {
  for (const { code, text } of told()) {
    t.match(text, /^\*\*When:\*\* \S/m, code)
    t.match(text, /^\*\*What to do:\*\* \S/m, code)
  }
})

t.test('what is called "not raised in this version" is not, and everything else is', async t => {
  const text = sources('src') + sources('plugins')
  for (const { code, text: section } of told()) {
    t.equal(text.includes(`'${code}'`), !section.includes('Not raised in this version'), code)
  }
})
