// The circuit of a store: who waits how long, what opens it, and who is released when it does.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { type Asked, Circuit } from '../../../src/store/circuit.ts'
import { hashSlot } from '../../../src/store/hash-slot.ts'
import { eventually } from '../../support/within.ts'

function circuit(budget: number) {
  const told: string[] = []
  const made = new Circuit('', budget, {
    opened: (_circuit, reason) => told.push(`open: ${reason}`),
    closed: () => told.push('closed'),
  })
  const ask = (name: string): Asked => {
    const asked: Asked = {
      deadline: 0,
      settled: false,
      giveUp() {
        asked.settled = true
        told.push(name)
      },
    }
    made.begin(asked)
    return asked
  }
  return { circuit: made, told, ask }
}

t.test('however many ask at once, three wait their time out and the rest are released', async t => {
  const { circuit: it, told, ask } = circuit(20)
  for (let i = 0; i < 40; i++) ask(`q${i}`)
  await eventually(
    () => told.length > 40,
    () => `${told}`,
  )
  t.same(told.slice(0, 5), ['q0', 'q1', 'q2', 'open: no answer in time', 'q3'])
  t.equal(told.length, 41, 'each is settled once')
  t.ok(it.open)
  it.failed('late news')
  t.equal(told.length, 41, 'it opens once')
  it.succeeded()
  t.equal(told.at(-1), 'closed')
  t.notOk(it.open)
})

t.test('an answer between failures begins the count anew', async t => {
  const { circuit: it, told } = circuit(20)
  for (let i = 0; i < 5; i++) {
    it.failed('a')
    it.failed('b')
    it.succeeded()
  }
  t.same(told, [])
  it.failed('a')
  it.failed('b')
  it.failed('c')
  t.same(told, ['open: c'])
})

t.test('answered questions are not judged, and time is counted for each', async t => {
  const { told, ask } = circuit(30)
  const first = ask('first')
  ask('second').settled = true
  first.settled = true
  ask('third')
  await eventually(
    () => told.length > 0,
    () => 'nobody gave up',
  )
  t.same(told, ['third'])
  ask('fourth')
  await eventually(
    () => told.length > 1,
    () => 'the next is not judged',
  )
})

t.test('what is answered is let go of before its time would be up', async t => {
  const { circuit: it, ask } = circuit(60_000)
  t.teardown(() => it.giveUp())
  const answered = (name: string): WeakRef<Asked> => {
    const asked = ask(name)
    asked.settled = true
    it.succeeded()
    return new WeakRef(asked)
  }
  const alone = answered('alone')
  const among = Array.from({ length: 100 }, (_, i) => answered(`q${i}`))
  ask('still under way')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  await new Promise<void>(done => setImmediate(done))
  collect()
  t.same(
    [alone, ...among].filter(ref => ref.deref() !== undefined),
    [],
  )
})

t.test('an answer that arrived while the loop was busy is in time', async t => {
  const { told, ask } = circuit(5)
  const asked = ask('asked')
  setImmediate(() => {
    asked.settled = true
  })
  const until = performance.now() + 30
  while (performance.now() < until);
  await new Promise(done => setTimeout(done, 20))
  t.same(told, [])
})

t.test('closing settles all', async t => {
  const { circuit: it, told, ask } = circuit(10_000)
  ask('a')
  ask('b').settled = true
  ask('c')
  it.giveUp()
  t.same(told, ['a', 'c'])
})

t.test('slots are those of Redis Cluster', async t => {
  // From the cluster specification, and `CLUSTER KEYSLOT`.
  t.equal(hashSlot('123456789'), 0x31c3)
  t.equal(hashSlot('foo'), 12182)
  t.equal(hashSlot('bar'), 5061)
  t.equal(hashSlot(''), 0)
})
