// Plans: which step is in which phase, in which order, and what is null when nobody takes part.
import t from 'tap'
import { MAX_CONDITIONAL, Plan, type PlanMember } from '../../../src/pipeline/plan.ts'
import type { Plugin } from '../../../src/pipeline/plugin.ts'

function member(name: string, plugin: Plugin, when: PlanMember['when'] = null): PlanMember {
  return { plugin, name, when }
}
const names = (steps: readonly { name: string }[] | null) => steps?.map(step => step.name)

t.test('an empty plan has no phases', async t => {
  const plan = new Plan([])
  for (const phase of [
    'request',
    'attempt',
    'outcome',
    'response',
    'requestChunk',
    'responseChunk',
    'finish',
  ] as const) {
    t.equal(plan[phase], null, phase)
  }
  t.same(plan.steps, [])
  t.notOk(plan.rewritesRequest)
  t.notOk(plan.rewritesResponse)
})

t.test('each phase holds those who take part; what concerns the answer runs backwards', async t => {
  const all: Plugin = {
    ...{ onRequest() {}, onAttempt() {}, onOutcome() {}, onResponse() {}, onFinish() {} },
    ...{ onRequestChunk() {}, onResponseChunk() {} },
  }
  const plan = new Plan([member('a', all), member('b', { onRequest() {} }), member('c', all), member('d', {})])
  t.same(names(plan.steps), ['a', 'b', 'c', 'd'])
  t.same(names(plan.request), ['a', 'b', 'c'])
  for (const phase of ['attempt', 'outcome', 'requestChunk'] as const) t.same(names(plan[phase]), ['a', 'c'], phase)
  for (const phase of ['response', 'responseChunk', 'finish'] as const) t.same(names(plan[phase]), ['c', 'a'], phase)
  t.same(
    plan.steps.map(step => step.position),
    [0, 1, 2, 3],
  )
})

t.test('a member with a condition is in the request phase, where it is decided', async t => {
  const plan = new Plan([member('a', { onResponse() {} }, () => true), member('b', { onResponse() {} })])
  t.same(names(plan.request), ['a'])
  t.same(names(plan.response), ['b', 'a'])
})

t.test('each condition has a bit of its own, and there are so many', async t => {
  const members = Array.from({ length: MAX_CONDITIONAL }, (_, i) => member(String(i), {}, () => true))
  const plan = new Plan([member('always', {}), ...members])
  t.equal(plan.steps[0]!.bit, 0)
  const bits = plan.steps.slice(1).map(step => step.bit)
  t.equal(new Set(bits).size, MAX_CONDITIONAL)
  t.ok(bits.every(bit => bit !== 0 && (bit & (bit - 1)) === 0))
  t.throws(() => new Plan([...members, member('x', {}, () => true)]), RangeError)
})

t.test('whether a body changes its length', async t => {
  t.ok(new Plan([member('a', { rewrites: true, onRequestChunk() {} })]).rewritesRequest)
  t.notOk(new Plan([member('a', { rewrites: true, onRequestChunk() {} })]).rewritesResponse)
  t.ok(new Plan([member('a', { rewrites: true, onResponseChunk() {} })]).rewritesResponse)
  t.notOk(new Plan([member('a', { onRequestChunk() {}, onResponseChunk() {} })]).rewritesRequest, 'a reader does not')
  t.notOk(new Plan([member('a', { rewrites: true, onResponse() {} })]).rewritesResponse)
})

t.test('preflights that pass by authentication: who answers them, and who can be passed by', async t => {
  const auth: Plugin = { authenticates: true, onRequest() {} }
  const cors: Plugin = { preflight: true, onRequest() {} }
  const plan = new Plan([member('a', cors), member('b', auth), member('c', cors), member('d', auth)])
  t.same(names(plan.preflights), ['c'])
  t.same(
    plan.steps.map(step => step.bit !== 0),
    [false, true, false, false],
  )
  t.same(names(new Plan([{ ...member('a', cors), when: () => true }]).preflights), ['a'], 'settled before the first')
  for (const members of [[member('a', cors), member('b', auth)], [member('a', cors)], [member('b', auth)], []]) {
    const plain = new Plan(members)
    t.equal(plain.preflights, null, 'nothing is asked of a request')
    t.ok(plain.steps.every(step => step.bit === 0))
  }
})

t.test('heads are looked at unless all members vouch for what they leave', async t => {
  const vouching = { ...member('a', { onRequest() {} }), vouches: true }
  t.notOk(new Plan([]).checksHeads)
  t.notOk(new Plan([vouching, vouching]).checksHeads)
  t.ok(new Plan([vouching, member('b', {})]).checksHeads)
})
