// The suite over the engine `native`, which needs nothing but Node.js.
import t from 'tap'
import { conformance } from './engine.ts'

t.test('native', t => conformance(t, 'native'))
