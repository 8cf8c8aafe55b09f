// Reading and removing query parameters: names are compared decoded, and what stays is not touched.
import fc from 'fast-check'
import t from 'tap'
import { queryValue, queryValues, withoutParameter } from '../../../src/http/query.ts'

t.test('values', async t => {
  t.equal(queryValue('a=1&b=2&a=3', 'a'), '1')
  t.same(queryValues('a=1&b=2&%61=3&a&a+=4', 'a'), ['1', '3', ''])
  t.equal(queryValue('a=%41+b', 'a'), 'A b')
  t.equal(queryValue('a=%ff', 'a'), '%ff', 'what is no UTF-8 stays as sent')
  t.equal(queryValue('ab=1', 'a'), undefined)
  t.equal(queryValue('', 'a'), undefined)
})

t.test('property: a name is compared as it is decoded', async t => {
  const plain = (text: string) => {
    try {
      return decodeURIComponent(text.replaceAll('+', ' '))
    } catch {
      return text.replaceAll('+', ' ')
    }
  }
  const piece = fc.constantFrom(
    'a',
    'é',
    '%',
    '%61',
    '%e9',
    '%C3%A9',
    '%C3',
    '%ff',
    '%zz',
    '%6',
    '%4z',
    '%2B',
    '+',
    ' ',
    '\x04',
    '%25',
  )
  const text = fc.array(piece, { maxLength: 4 }).map(pieces => pieces.join(''))
  fc.assert(
    fc.property(text, text, (sent, name) => {
      if (sent === '') return true
      return (queryValue(`${sent}=1`, name) === '1') === (plain(sent) === name)
    }),
    { numRuns: 3000 },
  )
  t.pass()
})

t.test('thousands of names that are no UTF-8 take no time', async t => {
  const query = '%ff=&'.repeat(300_000)
  const before = process.cpuUsage()
  t.equal(queryValue(query, 'a'), undefined)
  t.equal(withoutParameter(query, 'a'), query)
  t.ok(process.cpuUsage(before).user < 1_000_000)
})

t.test('removing', async t => {
  t.equal(withoutParameter('x=%41&a=1&&y=%zz&a', 'a'), 'x=%41&&y=%zz')
  t.equal(withoutParameter('%61=1', 'a'), null)
  t.equal(withoutParameter('', 'a'), '')
  t.equal(withoutParameter('&a', 'a'), '')
})

t.test('property: after removing none is left, and the others are as they were', async t => {
  const name = fc.constantFrom('a', 'b', '%61', 'a+', '', 'A')
  const pair = fc.tuple(name, fc.constantFrom('', '=', '=1', '==', '=%26', '=a')).map(([n, v]) => n + v)
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 6 }), pairs => {
      const query = pairs.join('&')
      const rest = withoutParameter(query, 'a')
      if (queryValues(rest ?? '', 'a').length > 0) return false
      const kept = query.split('&').filter(each => !/^(?:a|%61)(?:=|$)/.test(each))
      return (rest ?? null) === (kept.length === 0 ? null : kept.join('&'))
    }),
  )
  t.pass()
})
