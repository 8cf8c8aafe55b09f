// YAML text to values: what YAML allows and a configuration must not, each with its place, and within bounds of time.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are YAML
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { formatFault } from '../../../src/config/fault.ts'
import { decodeSource, SourceError } from '../../../src/config/source.ts'
import { readTree } from '../../../src/config/tree.ts'
import { ROOT } from '../../support/root.ts'

const env = { PORT: '8080', NAME: 'orders', HOST: 'a: {b: 1}', EMPTY: '', FLAG: 'true', HEX: '0x10' }
const read = (text: string) => readTree(text, 'g.yaml', env)
const faultsOf = (text: string) => read(text).faults.map(formatFault)

t.test('values of the YAML 1.2 core schema', async t => {
  t.same(read('a: off\nb: 0o17\nc: 017\nd: 12:30:45\ne: yes\nf: ~\ng: 1e3\n').value, {
    a: 'off',
    b: 15,
    c: 17,
    d: '12:30:45',
    e: 'yes',
    f: null,
    g: 1000,
  })
  t.same(read('\ufeffa: 1\r\nb: [x: 1, y]\r\n').value, { a: 1, b: [{ x: 1 }, 'y'] })
})

t.test('every fault of the text has its line and column', async t => {
  const cases: [string, string[]][] = [
    ['a: 1\nb: 2\na: 3\n', ['g.yaml:3:1 a: duplicate key; the first is on line 1 (SLUICE_CONFIG_DUPLICATE_KEY)']],
    ['a: { b: 1, "b": 2 }\n', ['g.yaml:1:12 a.b: duplicate key; the first is on line 1 (SLUICE_CONFIG_DUPLICATE_KEY)']],
    [
      'a:\n  __proto__: {x: 1}\n',
      ['g.yaml:2:3 a.__proto__: this key is not allowed anywhere (SLUICE_CONFIG_FORBIDDEN_KEY)'],
    ],
    ['{"constructor": 1}', ['g.yaml:1:2 constructor: this key is not allowed anywhere (SLUICE_CONFIG_FORBIDDEN_KEY)']],
    ['- prototype: 1\n', ['g.yaml:1:3 [0].prototype: this key is not allowed anywhere (SLUICE_CONFIG_FORBIDDEN_KEY)']],
    [
      'a: &a {x: 1}\nb:\n  <<: *a\n',
      [
        'g.yaml:3:3 b["<<"]: merge keys are not supported; write the options out, or alias a whole value (SLUICE_CONFIG_UNKNOWN_KEY)',
      ],
    ],
    ['1: x\n', ['g.yaml:1:1 a key must be text ("1"); put it in quotes (SLUICE_CONFIG_SYNTAX)']],
    ['? [a]\n: x\n', ['g.yaml:1:3 a key must be text; put it in quotes (SLUICE_CONFIG_SYNTAX)']],
    ['a: &a\n  b: *a\n', ['g.yaml:2:6 a.b: the alias *a stands inside its own anchor (SLUICE_CONFIG_LIMIT)']],
    ['"${A}": 1\n', ['g.yaml:1:1 ["${A}"]: variables stand in values and not in keys (SLUICE_CONFIG_ENV)']],
    [
      'a: *b\n',
      [
        'g.yaml:1:4 a: there is no such anchor before this alias; a text that begins with * stands in quotes (SLUICE_CONFIG_SYNTAX)',
      ],
    ],
    [
      'a: *\n',
      ['g.yaml:1:4 Alias cannot be an empty string; a text that begins with * stands in quotes (SLUICE_CONFIG_SYNTAX)'],
    ],
    [
      'a: !!js/function "x"\n',
      ['g.yaml:1:4 tags are not supported; a text that begins with ! stands in quotes (SLUICE_CONFIG_SYNTAX)'],
    ],
    ['a: .inf\n', ['g.yaml:1:4 a: a finite number is due (SLUICE_CONFIG_INVALID)']],
    ['%YAML 1.1\n---\na: off\n', ['g.yaml:1:1 YAML 1.2 is due; remove the %YAML line (SLUICE_CONFIG_SYNTAX)']],
    ['a: 1\n---\nb: 1\n', ['g.yaml:2:1 a second document begins here (`---`); one is due (SLUICE_CONFIG_SYNTAX)']],
    ['# nothing\n', ['g.yaml:1:1 the file is empty; a gateway needs at least `listeners` (SLUICE_CONFIG_MISSING)']],
    ['', ['g.yaml:1:1 the file is empty; a gateway needs at least `listeners` (SLUICE_CONFIG_MISSING)']],
    [
      'a: { path: /b/{id} }\n',
      [
        'g.yaml:1:15 Unexpected flow-map-start at node end; a parameter of a path is written :id (SLUICE_CONFIG_SYNTAX)',
      ],
    ],
    [
      'a:\n  - { b: ${C} }\n  - { b: 1 }\nd: 1\ne: 1\n',
      [
        'g.yaml:2:11 Unexpected flow-map-start at node end; inside { } or [ ] write "${NAME}" in quotes (SLUICE_CONFIG_SYNTAX)',
      ],
    ],
    ['a:\n\tb: 1\n', ['g.yaml:2:1 Tabs are not allowed as indentation (SLUICE_CONFIG_SYNTAX)']],
    [
      'a: 1\na: 2\nb: ${GONE}\n__proto__: 1\n',
      [
        'g.yaml:2:1 a: duplicate key; the first is on line 1 (SLUICE_CONFIG_DUPLICATE_KEY)',
        'g.yaml:3:4 b: the environment has no GONE; set it, or write ${GONE:-default} (SLUICE_CONFIG_ENV)',
        'g.yaml:4:1 __proto__: this key is not allowed anywhere (SLUICE_CONFIG_FORBIDDEN_KEY)',
      ],
    ],
  ]
  for (const [text, expected] of cases) t.same(faultsOf(text), expected, JSON.stringify(text))
  t.same(faultsOf('a: {"\\e[2J": 1, "\\e[2J": 2}\n'), [
    'g.yaml:1:17 a["\\u001b[2J"]: duplicate key; the first is on line 1 (SLUICE_CONFIG_DUPLICATE_KEY)',
  ])
  t.notMatch(faultsOf('a: !\u009b2J x\n').join(), /[\x00-\x1f\x7f-\x9f]/, 'no control characters')
  t.equal(({} as { x?: number }).x, undefined, 'the prototype of objects is as it was')
})

t.test('a password without the quotes that it needs is not shown', async t => {
  for (const text of [
    '!hunter2',
    '*hunter2',
    '|hunter2',
    '>hunter2',
    '!h!hunter2',
    '!hunter2!',
    '!!hunter2!',
    '!<hunter2> x',
    '"hunt\\uhunter2"',
  ]) {
    const faults = faultsOf(`a: ${text}\n`)
    t.match(faults, [/^g\.yaml:1:\d+ .*(?:stands in quotes|no such escape)/], text)
    t.notMatch(faults.join(), /hunter|unter2/, text)
  }
})

t.test('variables of the environment', async t => {
  t.same(read('a: ${PORT}\nb: "${PORT}"\nc: x-${NAME}-${PORT}\nd: ${FLAG}\ne: ${HEX}\nf: |\n  ${PORT}\n').value, {
    a: 8080,
    b: '8080',
    c: 'x-orders-8080',
    d: true,
    e: 16,
    f: '8080\n',
  })
  t.same(read('a: ${GONE:-5s}\nb: ${GONE:-}\nc: "${GONE:-}"\nd: ${EMPTY:-x}\ne: ${PORT:-1}\n').value, {
    a: '5s',
    b: null,
    c: '',
    d: 'x',
    e: 8080,
  })
  t.same(read('a: ${HOST}\n').value, { a: 'a: {b: 1}' }, 'a value never changes the structure')
  t.same(read('a: $${NAME}\nb: "${client.ip} ${header.x-y} ${route} ${host}"\nc: $NAME\n').value, {
    a: '${NAME}',
    b: '${client.ip} ${header.x-y} ${route} ${host}',
    c: '$NAME',
  })
  t.same(faultsOf('a: "${1X}"\nb: "${PORT"\n'), [
    'g.yaml:1:4 a: "${1X}" names no variable: letters, digits and _ are due; write `$${` for a literal one (SLUICE_CONFIG_ENV)',
    'g.yaml:2:4 b: a `${` is not closed; write `$${` for a literal one (SLUICE_CONFIG_ENV)',
  ])
  for (const foreign of ['${env.NAME}', 'x-${secrets.NAME}', '${.}', '${routes.a}', '${header-x.y}'])
    t.match(faultsOf(`a: "${foreign}"\n`), [/names no variable and no attribute of a request: /], foreign)
  for (const other of ['=', ':=', '-', ':?', ':+', ':'])
    t.same(
      faultsOf(`a: "\${DB_PASSWORD${other}hunter2}"\n`),
      [
        'g.yaml:1:4 a: "${DB_PASSWORD…}" names no variable: a default is written ${DB_PASSWORD:-…}; write `$${` for a literal one (SLUICE_CONFIG_ENV)',
      ],
      'a default in the form of other languages may be a secret',
    )
  for (const nested of ['${A:-${B:-x}}', '${A:-x${NAME}y}', '${${NAME}}', '${header.${NAME}}']) {
    t.same(faultsOf(`a: "${nested}"\n`), [
      'g.yaml:1:4 a: variables cannot stand inside one another; a default is plain text (SLUICE_CONFIG_ENV)',
    ])
  }
  t.match(faultsOf('a: { b: ${PORT} }\n'), [/^g\.yaml:1:10 .*write "\$\{NAME\}" in quotes/])
  t.same(read('a: ${PORT}e400\n').value, { a: '8080e400' }, 'no number is that large')
  t.match(faultsOf('a: ${toString}\n'), [/the environment has no toString/])
  t.same(read('a: [x, "${NAME}"]\nb: ${PORT}\n').substituted, [
    { path: ['a', 1], names: ['NAME'], text: 'orders' },
    { path: ['b'], names: ['PORT'], text: '8080' },
  ])
  t.same(
    read('a: &a [&n "${NAME}"]\nb: { c: &c [*a, *n] }\nd: *c\n').substituted.map(({ path }) => path.join('.')),
    ['a.0', 'b.c.0.0', 'b.c.1', 'd.0.0', 'd.1'],
    'at the place of an alias too',
  )
})

t.test('aliases expand to ten thousand values and no more', async t => {
  const list = (n: number) => `[${Array.from({ length: n }, (_, i) => i).join(', ')}]`
  const text = (n: number) => `a: &a ${list(99)}\nb: [${Array.from({ length: n }, () => '*a').join(', ')}]\n`
  const { value, faults } = read(text(100))
  t.same(faults, [])
  t.equal((value as { b: unknown[] }).b.length, 100)
  t.match(faultsOf(text(101)), [/^g\.yaml:2:405 b\[100\]: aliases expand to more than 10,000 values/])
  t.same(read('a: &x orders\nb: *x\nc: {*x : 1}\n').faults.length, 1, 'an alias is no key')
})

t.test('hostile texts end soon and with a fault', async t => {
  const many = (n: number, item: (i: number) => string, glue = '') =>
    Array.from({ length: n }, (_, i) => item(i)).join(glue)
  const hostile: Record<string, string> = {
    'billion laughs': `${many(9, i => `l${i}: &l${i} [${many(9, () => (i === 0 ? 'lol' : `*l${i - 1}`), ', ')}]`, '\n')}\n`,
    'alias chain': `l0: &l0 [x]\n${many(2000, i => `l${i + 1}: &l${i + 1} [*l${i}]`, '\n')}\n`,
    brackets: '['.repeat(10_000),
    braces: '{a: '.repeat(10_000),
    'explicit keys': '? '.repeat(10_000),
    dashes: '- '.repeat(10_000),
    'indented maps': many(2000, i => `${' '.repeat(i)}a:`, '\n'),
    'keys of one map': many(100_000, i => `k${i}: 1`, '\n'),
    'keys of one flow map': `{${many(100_000, i => `k${i}: 1`, ', ')}}`,
    'same key': many(5_000, () => 'k: 1', '\n'),
    lines: '\n'.repeat(10_000_000),
    'list items': '- \n'.repeat(3_000_000),
    commas: `[${','.repeat(30_000)}`,
    anchors: '&a '.repeat(10_000),
    tags: '!a '.repeat(10_000),
    'merge chain': `x0: &x0 {k0: 1}\n${many(1000, i => `x${i + 1}: &x${i + 1} {<<: *x${i}}`, '\n')}\n`,
    'open braces in a value': `a: "${'${'.repeat(100_000)}"`,
    quote: `a: "${'x'.repeat(1_000_000)}`,
  }
  for (const [name, text] of Object.entries(hostile)) {
    const before = process.cpuUsage()
    const { faults } = read(text)
    const spent = process.cpuUsage(before).user / 1000
    t.ok(faults.length > 0, `${name}: ${faults[0]?.message}`)
    // A second of the processor is the aim; a machine that runs other tests beside gets ten.
    t.ok(spent < 10_000, `${name}: ${Math.round(spent)} ms`)
  }
})

t.test('any text gives values or faults, never an exception, and no value has a forbidden key', async () => {
  const piece = fc.constantFrom(
    'a',
    'b: ',
    '- ',
    '\n',
    '  ',
    '{',
    '}',
    '[',
    ']',
    ',',
    '"',
    "'",
    '&x ',
    '*x',
    '!t ',
    '|',
    '>',
    '#',
    '? ',
    ': ',
    '${',
    '}',
    '$',
    '---\n',
    '__proto__: ',
    '%YAML 1.1\n',
    '\t',
    '\u0000',
    '😀',
    '<<: ',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), pieces => {
      const { value, faults } = read(pieces.join(''))
      if (faults.length > 0) return faults.every(fault => fault.line >= 1 && fault.column >= 1)
      // Behind a backslash the quote belongs to a longer key.
      return JSON.stringify(value) !== undefined && !/(?<!\\)"__proto__":/.test(JSON.stringify(value))
    }),
    { numRuns: 2000 },
  )
})

t.test('plain data survives the way through YAML', async () => {
  const plain = fc.string({ maxLength: 12 }).filter(text => !text.includes('${'))
  const key = plain.filter(text => !['__proto__', 'constructor', 'prototype'].includes(text))
  const scalar = fc.oneof(plain, fc.integer(), fc.boolean(), fc.constant(null))
  const { tree } = fc.letrec(tie => ({
    tree: fc.oneof(
      { maxDepth: 3 },
      scalar,
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(key, tie('tree'), { maxKeys: 4, noNullPrototype: true }),
    ),
  }))
  fc.assert(
    fc.property(tree, value => {
      const found = read(JSON.stringify({ value }))
      return found.faults.length === 0 && JSON.stringify(found.value) === JSON.stringify({ value })
    }),
  )
})

t.test('the corpus of hostile and invalid YAML', async t => {
  const corpus = join(ROOT, '../shared/corpora/config/yaml-adversarial.jsonl')
  if (!existsSync(corpus)) {
    t.comment('../shared/corpora is not here: its cases were not run')
    return
  }
  // What these show is wrong with their meaning and not with their YAML; load.test.ts has such cases in our own words.
  const meaning = new Set(['cfg-014', 'cfg-037', 'cfg-042', 'cfg-047', 'cfg-048', 'cfg-049', 'cfg-053'])
  let run = 0
  for (const line of readFileSync(corpus, 'utf8').split('\n')) {
    if (line === '') continue
    const { id, name, expect, text_b64, text_gz_b64 } = JSON.parse(line) as Record<string, string>
    const bytes = text_b64 ? Buffer.from(text_b64, 'base64') : gunzipSync(Buffer.from(text_gz_b64!, 'base64'))
    if (bytes.toString().startsWith('(not YAML')) continue
    const before = process.cpuUsage()
    let faults: readonly unknown[]
    try {
      faults = readTree(decodeSource(bytes), 'g.yaml', { HOME: '/home' }).faults
    } catch (error) {
      if (!(error instanceof SourceError)) throw error
      faults = [error]
    }
    const spent = process.cpuUsage(before).user / 1000
    t.ok(spent < 5_000, `${id} ${name}: ${Math.round(spent)} ms`)
    if (!meaning.has(id!)) t.equal(faults.length > 0, /^error/.test(expect!), `${id} ${name}: ${expect}`)
    run++
  }
  t.comment(`${run} cases of the corpus were run`)
  t.ok(run > 50)
})
