// Tests of how the log hears of what was left out of answers.
import t from 'tap'
import { LeftOut } from '../../../src/discovery/entry.ts'

t.test('what is left out is told when it changes: in another order it is the same', async t => {
  const told: unknown[] = []
  const warn = (_message: string, fields: object = {}) => void told.push(fields)
  const leftOut = new LeftOut('r', { debug: () => {}, info: () => {}, warn, error: () => {} })
  const faults = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map(name => `${name} has no port`)
  leftOut.tell('s', faults)
  leftOut.tell('s', [...faults].reverse())
  t.match(told, [{ registry: 'r', service: 's', count: 7, leftOut: /^a has no port;.*; e has no port$/ }])
  t.equal(told.length, 1)
  leftOut.tell('s', faults.slice(1))
  t.equal(told.length, 2)
  leftOut.tell('s', [])
  leftOut.tell('s', faults.slice(1))
  t.equal(told.length, 3, 'it was mended in between')
})
