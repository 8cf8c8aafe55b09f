// The name that was meant: found after each kind of slip, and only then.
import fc from 'fast-check'
import t from 'tap'
import { nearest } from '../../src/nearest.ts'

const letters = 'abcdefghijklmnopqrstuvwxyz'
const name = fc.string({ unit: fc.constantFrom(...letters, '-'), minLength: 7, maxLength: 38 })
const slip = fc.record({
  kind: fc.constantFrom('insert', 'drop', 'replace', 'swap'),
  at: fc.nat(),
  letter: fc.constantFrom(...letters),
})

function slipped(text: string, { kind, at, letter }: { kind: string; at: number; letter: string }): string {
  const i = at % (text.length - 1)
  if (kind === 'insert') return text.slice(0, i) + letter + text.slice(i)
  if (kind === 'drop') return text.slice(0, i) + text.slice(i + 1)
  if (kind === 'replace') return text.slice(0, i) + letter + text.slice(i + 1)
  return text.slice(0, i) + text[i + 1] + text[i] + text.slice(i + 2)
}

t.test('one slip anywhere, or a second behind it, and the name is found', async t => {
  fc.assert(
    fc.property(name, slip, fc.option(slip), (meant, first, second) => {
      const once = slipped(meant, first)
      // Edits of one place in turn are no two edits of the name: the second one goes to what the first left alone.
      const text = second === null ? once : once.slice(0, -2) + slipped(once.slice(-2), second)
      const far = second !== null && first.at % (meant.length - 1) >= meant.length - 4
      return far || nearest(text, ['012345', meant, '0123456789012']) === meant
    }),
    { numRuns: 5_000 },
  )
  t.pass('found')
})

t.test('the nearest of several, and nothing that is three edits away', async t => {
  t.equal(nearest('ordres', ['orders', 'orderss', 'users']), 'orders')
  t.equal(nearest('order', ['border-x', 'orders', 'ordxrs']), 'orders')
  t.equal(nearest('ORDERS', ['orders']), 'orders')
  t.equal(nearest('abcdef', ['abcxyz']), undefined)
  t.equal(nearest('abcdef', ['fedcba']), undefined)
  t.equal(nearest('timeout', ['upstream', 'routes', 'listeners']), undefined)
  t.equal(nearest('x', ['y']), 'y')
})

t.test('a typo, and what only looks like one', async t => {
  const cases: [given: string, known: string[], found: string | undefined][] = [
    ['prot', ['host', 'port'], 'port'],
    ['kept', ['keep', 'drop'], 'keep'],
    ['counsel', ['consul', 'etcd'], 'consul'],
    ['b', ['a'], 'a'],
    ['code', ['status', 'body', 'headers'], undefined],
    ['port', ['host', 'path'], undefined],
    ['k8s', ['dns', 'kubernetes'], undefined],
    ['tcp', ['http', 'https'], undefined],
  ]
  for (const [given, known, found] of cases) t.equal(nearest(given, known), found, given)
})
