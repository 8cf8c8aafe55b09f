// The suite over the engine `uws`, which needs a build of its library for the Node.js that runs.
import t from 'tap'
import { conformance } from './engine.ts'

t.test('uws', t => conformance(t, 'uws'))
