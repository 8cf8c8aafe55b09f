// One suite over both engines: what a client and an upstream see of the gateway, byte by byte.
import type { Test } from 'tap'
import { bodies } from './bodies.ts'
import { connections } from './connections.ts'
import { earlyAnswers } from './early-answers.ts'
import { ENGINES, type Traits } from './engines.ts'
import { failures } from './failures.ts'
import { heads } from './heads.ts'
import { pipelining } from './pipelining.ts'

/** All that holds for an engine. */
export async function conformance(t: Test, name: Traits['name']): Promise<void> {
  const engine = ENGINES.find(engine => engine.name === name)!
  await t.test('heads', t => heads(t, engine))
  await t.test('bodies', t => bodies(t, engine))
  await t.test('connections', t => connections(t, engine))
  await t.test('early answers', t => earlyAnswers(t, engine))
  await t.test('failures', t => failures(t, engine))
  if (engine.pipelining) await t.test('pipelining', t => pipelining(t, engine))
}
