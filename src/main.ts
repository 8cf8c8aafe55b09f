#!/usr/bin/env node
// The sluice command: what has to happen before the rest of it is loaded, and then the rest.
import './node-version.ts'
import './heap.ts'

await import('./command.ts')
