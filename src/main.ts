#!/usr/bin/env node
// The sluice command: what has to happen before the rest of it is loaded, and then the rest.
import './node-version.ts'
import './heap.ts'

// One that comes before there is anything to reload would end the process, and no supervisor takes that for a failure.
process.on('SIGHUP', () => {})
// After it has rotated logs, people send this to proxies; to Node.js it says to open a debugger, to whoever is on this host.
process.on('SIGUSR1', () => {})

await import('./command.ts')
