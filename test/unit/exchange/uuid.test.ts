// The ids of requests.
import t from 'tap'
import { uuidV7 } from '../../../src/exchange/uuid.ts'

t.test('UUIDs of version 7 are unique, sort by when they were made, and tell the time (RFC 9562 5.7)', async t => {
  const before = Date.now()
  const ids = Array.from({ length: 50_000 }, uuidV7)
  t.equal(new Set(ids).size, ids.length)
  t.same([...ids].sort(), ids)
  t.ok(ids.every(id => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)))
  const time = Number.parseInt(ids[0]!.slice(0, 13).replace('-', ''), 16)
  // More than 4,096 in one millisecond borrow from the next.
  t.ok(time >= before - 1 && time <= Date.now() + 20, `${time - before} ms after`)
  const variants = new Set(ids.map(id => id[19]))
  t.equal(variants.size, 4, 'all four forms of the variant occur')
})

t.test('a clock that is set back makes no id smaller', async t => {
  const now = Date.now
  t.teardown(() => {
    Date.now = now
  })
  const id = uuidV7()
  Date.now = () => now() - 3_600_000
  const later = Array.from({ length: 5000 }, uuidV7)
  t.ok(later[0]! > id)
  t.same([...later].sort(), later)
})
