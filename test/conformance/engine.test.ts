// One suite over both engines: what a client and an upstream see of the gateway, byte by byte.
import t from 'tap'
import { bodies } from './bodies.ts'
import { connections } from './connections.ts'
import { earlyAnswers } from './early-answers.ts'
import { ENGINES } from './engines.ts'
import { failures } from './failures.ts'
import { heads } from './heads.ts'
import { pipelining } from './pipelining.ts'

for (const engine of ENGINES) {
  t.test(engine.name, async t => {
    await t.test('heads', t => heads(t, engine))
    await t.test('bodies', t => bodies(t, engine))
    await t.test('connections', t => connections(t, engine))
    await t.test('early answers', t => earlyAnswers(t, engine))
    await t.test('failures', t => failures(t, engine))
    if (engine.pipelining) await t.test('pipelining', t => pipelining(t, engine))
  })
}
