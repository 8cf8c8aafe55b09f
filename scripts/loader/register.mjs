// Lets Node run the sources as they are: `node --import=./scripts/loader/register.mjs bench/run.ts`, and so does every script of package.json.
import * as module from 'node:module'
import { load } from './hooks.mjs'

// Node 20 has the asynchronous kind alone, whose hooks run in a thread of their own.
if (module.registerHooks === undefined) module.register('./hooks.mjs', import.meta.url)
else module.registerHooks({ load })
