// The sluice command: what each word prints, where, and with which exit code.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, symlinkSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { MAIN, sluice } from '../support/child-gateway.ts'
import { ROOT } from '../support/root.ts'
import { eventually, within } from '../support/within.ts'

t.jobs = 3

const START = 30_000

/** Run to the end. */
async function run(
  t: Test,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
  cwd?: string,
) {
  const process = sluice(t, args, env, cwd)
  const { code } = await process.exit(START)
  return { code, out: process.out, err: process.err }
}

const FINE = `listeners: [{ name: web, port: 0 }, { name: other, port: 0, host: "::1" }]
admin: { port: 0 }
upstreams: { up: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: all, match: { path: /* }, upstream: up }
  - { name: one, match: { host: a.example, path: "/one/:id", methods: [GET] }, respond: { status: 200 } }
  - { name: old, match: { path: /old }, redirect: { to: /new } }
`

t.test('start prints one line a listener with its real port and engine', async t => {
  const folder = t.testdir({ 'gateway.yaml': FINE })
  const process = sluice(t, ['start', '--config', join(folder, 'gateway.yaml')])
  await process.printed('admin on')
  const lines = process.out.trimEnd().split('\n')
  t.equal(lines.length, 3)
  const [web, other, admin] = lines.map(line => Number(/:(\d+)(?: \(native\))?$/.exec(line)![1]))
  t.same(lines, [
    `listener web on http://127.0.0.1:${web} (native)`,
    `listener other on http://[::1]:${other} (native)`,
    `admin on http://127.0.0.1:${admin}`,
  ])
  t.equal((await fetch(`http://[::1]:${other}/old`, { redirect: 'manual' })).status, 308)
  process.kill('SIGTERM')
  t.same(await process.exit(), { code: 0, signal: null })
  t.equal(process.err, '', 'no word on standard error')
})

t.test('check: every fault with its place and exit 1, or a summary and exit 0', async t => {
  const folder = t.testdir({
    'fine.yaml': FINE,
    'faulty.yaml': FINE.replace('port: 0', 'port: many').replace('upstream: up }', 'upstream: up, timeuot: 3s }'),
  })
  const fine = await run(t, ['check', '-c', join(folder, 'fine.yaml')])
  t.same(fine, { code: 0, out: `${join(folder, 'fine.yaml')} is fine: 2 listeners, 3 routes, 1 upstream\n`, err: '' })
  const faulty = await run(t, ['check', '-c', join(folder, 'faulty.yaml')])
  t.equal(faulty.code, 1)
  t.equal(faulty.out, '')
  const lines = faulty.err.trimEnd().split('\n')
  t.match(lines, [
    /faulty\.yaml:1:32 listeners\[0\]\.port: .* \(SLUICE_CONFIG_INVALID\)$/,
    /faulty\.yaml:5:53 routes\[0\]\.timeuot: .*did you mean "timeout"\? \(SLUICE_CONFIG_UNKNOWN_KEY\)$/,
  ])
  t.ok(
    lines.every(line => /^\S+:\d+:\d+ /.test(line)),
    faulty.err,
  )
})

t.test('routes: in the order in which they are tried, as a table', async t => {
  const folder = t.testdir({ 'gateway.yaml': FINE })
  const { code, out, err } = await run(t, ['routes', '-c', join(folder, 'gateway.yaml')])
  t.equal(code, 0)
  t.equal(err, '')
  const lines = out.trimEnd().split('\n')
  const order = ['one', 'old', 'all'].map(name => lines.findIndex(line => new RegExp(`\\b${name}\\b`).test(line)))
  t.ok(order[0]! > 0 && order[0]! < order[1]! && order[1]! < order[2]!, out)
  t.match(lines[order[0]!], /a\.example.*\/one\/:id.*GET|GET.*a\.example.*\/one\/:id/)
})

t.test('routes: a line each, whatever a condition holds', async t => {
  const folder = t.testdir({
    'gateway.yaml': `listeners: [{ name: web, port: 0 }]
routes: [{ name: odd, match: { query: { q: "a\\nb\\e" } }, respond: {} }]
`,
  })
  const { code, out } = await run(t, ['routes', '-c', join(folder, 'gateway.yaml')])
  t.equal(code, 0)
  t.match(out, /^HOST .*\n\* .* query q=a%0Ab%1B .*\n$/)
})

t.test('schema: the one that is checked in', async t => {
  const { code, out } = await run(t, ['schema'])
  t.equal(code, 0)
  t.same(JSON.parse(out), JSON.parse(readFileSync(join(ROOT, 'config/gateway.schema.json'), 'utf8')))
})

t.test('a pipe gets all that is printed, however slowly it is read', async t => {
  const folder = t.testdir({ 'faulty.yaml': Array.from({ length: 900 }, (_, i) => `key${i}: 1\n`).join('') })
  // A pipe of the shell's, which takes 64 KiB at once: what Node gives its children takes more.
  const piped = async (...args: string[]) => {
    const script = ['-c', '{ "$@"; echo " exit $?"; } 2>&1 | cat', 'sh', process.execPath, MAIN, ...args]
    const env = { ...process.env, NODE_OPTIONS: '', SLUICE_CONFIG: undefined }
    return (await promisify(execFile)('sh', script, { env, maxBuffer: 2 ** 24, timeout: START })).stdout
  }
  const schema = readFileSync(join(ROOT, 'config/gateway.schema.json'), 'utf8')
  t.ok(schema.length > 2 ** 16)
  t.equal(await piped('schema'), `${schema} exit 0\n`)
  const faults = await piped('check', '-c', join(folder, 'faulty.yaml'))
  t.ok(faults.length > 2 ** 16)
  t.match(faults.split('\n').slice(-3), [/faulty\.yaml:900:1 key899: /, ' exit 1', ''])
})

t.test('where the configuration comes from', async t => {
  const folder = t.testdir({
    'env.yaml': FINE,
    'other.yaml': FINE.replace('  - { name: old, match: { path: /old }, redirect: { to: /new } }\n', ''),
    config: { 'gateway.yaml': FINE },
    folder: {},
  })
  const env = { SLUICE_CONFIG: join(folder, 'env.yaml') }
  t.match(await run(t, ['check'], env), { code: 0, out: /env\.yaml is fine: .*3 routes/ })
  t.match(await run(t, ['check', '-c', join(folder, 'other.yaml')], env), {
    code: 0,
    out: /other\.yaml is fine: .*2 routes/,
  })
  t.match(await run(t, ['check'], {}, folder), { code: 0, out: /^config\/gateway\.yaml is fine/ })
  t.match(await run(t, ['check'], { SLUICE_CONFIG: '' }, folder), { code: 0, out: /^config\/gateway\.yaml is fine/ })
  for (const word of ['start', 'check', 'routes']) {
    const missing = await run(t, [word, '-c', join(folder, 'missing.yaml')])
    t.match(missing, { code: 1, out: '', err: /missing\.yaml:1:1 .*\(SLUICE_CONFIG_FILE\)\n$/ }, word)
  }
  t.match(await run(t, ['start', '-c', join(folder, 'folder')]), {
    code: 1,
    out: '',
    err: /folder:1:1 .*\(SLUICE_CONFIG_FILE\)\n$/,
  })
})

t.test('usage, help and version', async t => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  t.same(await run(t, ['--version']), { code: 0, out: `${version}\n`, err: '' })
  for (const args of [['--help'], ['-h'], ['start', '-h']]) {
    const { code, out, err } = await run(t, args)
    t.match({ code, out, err }, { code: 0, out: /^usage: sluice <command>/, err: '' })
  }
  for (const [args, why] of [
    [[], 'a command is due'],
    [['begin'], 'there is no command "begin"; known: start, check, routes, schema, demo'],
    [['chekc'], 'there is no command "chekc"; did you mean "check"?'],
    [['start', 'now'], 'too many words: now'],
    [['check', '--file', 'x'], '--file'],
    [['check', '-c'], '-c'],
    [['start', '-c', ''], '-c names no file'],
    [['check', '-c', 'a.yaml', '-c', 'b.yaml'], '-c stands twice'],
    [['check', '-c', '--'], "Option '-c' argument is ambiguous"],
  ] as const) {
    const { code, out, err } = await run(t, args)
    t.match({ code, out, err }, { code: 2, out: '', err: /^.*\n\nusage: sluice <command>/ })
    t.ok(err.startsWith('sluice: ') && err.split('\n')[0]!.includes(why), err)
  }
})

/** One line of the demo as a request: `curl -s -i -X METHOD -H 'name: value' "URL"`. */
function parseCurl(line: string): { method: string; headers: Record<string, string>; url: URL } {
  const words = [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(match => match[1] ?? match[2] ?? match[3]!)
  const headers: Record<string, string> = {}
  let method = 'GET'
  let url: URL | null = null
  for (let i = 1; i < words.length; i++) {
    const word = words[i]!
    if (word === '-X') method = words[++i]!
    else if (word === '-H') {
      const [name, value] = words[++i]!.split(': ')
      headers[name!] = value!
    } else if (word !== '-s' && word !== '-i') url = new URL(word)
  }
  return { method, headers, url: url! }
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, unknown>
  readonly body: string
}

/** The answers to all requests of a line: `[1-4]` in its URL makes four. */
async function curlAll(line: string): Promise<Answer[]> {
  const { method, headers, url } = parseCurl(line)
  const range = /\[(\d+)-(\d+)\]/.exec(decodeURI(url.href))
  const answers: Answer[] = []
  for (let i = Number(range?.[1] ?? 1); i <= Number(range?.[2] ?? 1); i++) {
    const one = new URL(decodeURI(url.href).replace(range?.[0] ?? '', String(range === null ? '' : i)))
    answers.push(await ask(one, method, headers))
  }
  return answers
}

async function curl(line: string): Promise<Answer> {
  return (await curlAll(line)).at(-1)!
}

function ask(url: URL, method: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers, agent: false }, response => {
      let body = ''
      response.setEncoding('utf8').on('data', text => {
        body += text
      })
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body }))
    })
    asked.on('error', reject)
    asked.end()
  })
}

t.test('a Node.js that is too old is told so', async t => {
  const asOf = (node: string) => {
    const old = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } })`
    const args = ['--import', `data:text/javascript,${encodeURIComponent(old)}`, MAIN, '--version']
    return promisify(execFile)(process.execPath, args).then(
      ({ stdout }) => ({ code: 0, text: stdout }),
      ({ code, stderr }: { code: number; stderr: string }) => ({ code, text: stderr }),
    )
  }
  for (const node of ['16.20.2', '18.20.8', '20.9.0', '20.18.0'])
    t.same(await asOf(node), {
      code: 2,
      text: `sluice: needs Node.js 20.18.1 or later, and this is ${node}; install a newer one\n`,
    })
  for (const node of ['20.18.1', '20.20.2', '22.0.0', '24.1.0']) t.match(await asOf(node), { code: 0 }, node)
})

// `systemctl reload` right behind `start`, and the signal of nginx and Traefik after a rotation of the logs.
for (const signal of ['SIGHUP', 'SIGUSR1']) {
  t.test(`${signal} while the command is loaded ends nothing, and opens no debugger`, async t => {
    const resolve = `export async function resolve(name, context, next) {
      if (/\\/command\\.[jt]s$/.test(name)) process.kill(process.pid, '${signal}')
      return next(name, context)
    }`
    const hook = `import { register } from 'node:module'
      register('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(resolve))})`
    const args = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, MAIN, '--version']
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
    t.match(stdout, /^\d+\.\d+\.\d+\n$/)
    t.notMatch(stderr, /[Dd]ebugger|inspector/)
  })
}

t.test('demo: each line that it prints does what it says', async t => {
  const process = sluice(t, ['demo'], { PORT: '0', ADMIN_PORT: '0' })
  await process.printed('Ctrl-C ends it.')
  const services = [...process.out.matchAll(/^service (\S+) (\S+) on http:\/\/127\.0\.0\.1:\d+$/gm)].map(
    found => `${found[1]} ${found[2]}`,
  )
  t.same(services, ['orders v1', 'orders v2', 'users v1'])
  const service = /on (http:\S+)/.exec(process.out)![1]
  t.equal((await ask(new URL(`${service}//?status=201`), 'GET', {})).status, 201, 'a path that is no URL ends nothing')
  const lines = new Map([...process.out.matchAll(/^ {2}# (.*)\n {2}(curl .*)$/gm)].map(found => [found[1]!, found[2]!]))
  const answer = async (about: string) => {
    const found = [...lines].find(([what]) => what.startsWith(about))
    t.ok(found, `a line about ${about}`)
    lines.delete(found![0])
    const line = found![1]
    const all = await within(10_000, curlAll(line), () => line)
    return { first: all.at(-1)!, all, again: () => curl(line) }
  }

  const orders = await answer('orders: two versions')
  const versions = [orders.first, await orders.again(), await orders.again(), await orders.again()].map(
    one => JSON.parse(one.body).version,
  )
  t.same(versions.sort(), ['v1', 'v1', 'v2', 'v2'])
  const v2 = await answer('orders v2 alone')
  t.same(
    [v2.first, await v2.again(), await v2.again()].map(one => JSON.parse(one.body).version),
    ['v2', 'v2', 'v2'],
  )
  const users = await answer('users: the path is rewritten')
  t.match(JSON.parse(users.first.body), { service: 'users', path: '/users/42' })
  t.match((await answer('an answer of the gateway')).first, { status: 200, body: 'Hello from the gateway\n' })
  t.match((await answer('a redirect')).first, { status: 308, headers: { location: '/orders/1' } })
  const nowhere = (await answer('no such route')).first
  t.match(nowhere, { status: 404, headers: { 'content-type': 'application/problem+json' } })
  t.match(JSON.parse(nowhere.body), { code: 'SLUICE_NO_ROUTE', instance: /^[0-9a-f-]{36}$/ })
  t.match((await answer('a known path, the wrong method')).first, { status: 405, headers: { allow: 'GET' } })
  const slow = (await answer('a service that is too slow')).first
  t.equal(slow.status, 504)
  t.match(JSON.parse(slow.body), { code: 'SLUICE_UPSTREAM_TIMEOUT' })
  const refused = (await answer('a token is due')).first
  t.match(refused, { status: 401, headers: { 'www-authenticate': /^Bearer/ } })
  const known = (await answer('with one')).first
  t.match(known, { status: 200 })
  t.equal(JSON.parse(known.body).headers['x-user-id'], 'ann')
  const limited = await answer('three requests in 10 s')
  t.same(
    limited.all.map(({ status }) => status),
    [200, 200, 200, 429],
  )
  t.match(limited.first.headers, { 'retry-after': /^\d+$/, ratelimit: /r=0/ })
  const broken = await answer('a breaker')
  t.same(
    broken.all.map(({ status }) => status),
    [500, 500, 500, 503],
  )
  t.match(broken.first.headers, { 'retry-after': /^\d+$/ })
  t.equal(JSON.parse(broken.first.body).code, 'SLUICE_BREAKER_OPEN')
  const healed = await answer('5 s later one good answer')
  await eventually(
    async () => (await healed.again()).status === 200,
    () => 'the breaker does not close',
    20_000,
  )
  t.match((await answer('a canary by header')).first.headers, { 'x-served-by': 'orders-v2' })
  const served = (await answer('a canary by weight')).all.map(one => one.headers['x-served-by'])
  t.ok(served.every(name => name === 'orders-v1' || name === 'orders-v2'))
  t.equal(served.length, 20)
  const upstreams = JSON.parse((await answer('what the gateway knows of its upstreams')).first.body)
  t.same(
    upstreams.map((one: { name: string }) => one.name),
    ['orders', 'orders-v1', 'orders-v2', 'users'],
  )
  t.same([...lines.keys()], [], 'every line was tried')

  process.kill('SIGINT')
  t.same(await process.exit(), { code: 0, signal: null })
})

t.test('demo: from a folder without a file it runs the one that comes with it', async t => {
  const process = sluice(t, ['demo'], { PORT: '0', ADMIN_PORT: '0' }, t.testdir({}))
  await process.printed('Ctrl-C')
  t.match(process.out, `configured by ${join(ROOT, 'config/gateway.yaml')}`)
  process.kill('SIGINT')
  t.same(await process.exit(), { code: 0, signal: null })
  const own = t.testdir({ config: { 'gateway.yaml': 'x: 1' } })
  t.match((await run(t, ['demo'], {}, own)).err, /^config\/gateway\.yaml:1:1 /, 'that of the folder comes first')
  const named = await run(t, ['demo'], { SLUICE_CONFIG: 'none.yaml' }, own)
  t.match(named.err, /^none\.yaml:1:1 /)
})

t.test('a sample service runs by itself, from whatever folder', async t => {
  const link = join(t.testdir({ 'odd #100% name': {} }), 'odd #100% name/dist')
  symlinkSync(join(ROOT, 'dist'), link)
  const service = spawn(process.execPath, [join(link, 'src/demo/service.js')], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => service.kill())
  // It says so, or ends.
  const [line] = await within(
    START,
    Promise.race([once(service.stdout, 'data'), once(service, 'exit')]),
    () => 'no line',
  )
  t.match(String(line), /^orders v1 on http:\/\/127\.0\.0\.1:\d+\n$/)
})

t.test('demo: a port in use', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const { port } = server.address() as { port: number }
  const { code, err } = await run(t, ['demo'], { PORT: String(port), ADMIN_PORT: '0' })
  t.equal(code, 3)
  t.match(err, `listener web cannot listen on 127.0.0.1:${port}: the port is in use`)
  t.match(err, /: set PORT, or change config\/gateway\.yaml:6:11\n$/)
})

t.test('whoever reads what it prints may leave', async t => {
  const folder = t.testdir({ 'gateway.yaml': FINE })
  const process = sluice(t, ['routes', '-c', join(folder, 'gateway.yaml')])
  process.closeOutput()
  t.same(await process.exit(START), { code: 0, signal: null })
  t.equal(process.err, '')
})

t.test('a log that cannot be written costs no request', { skip: process.platform !== 'linux' }, async t => {
  const folder = t.testdir({ 'gateway.yaml': FINE })
  // As a file on a disk without room: each write fails with ENOSPC.
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [MAIN, 'start', '-c', join(folder, 'gateway.yaml')], {
    stdio: ['ignore', 'pipe', full],
  })
  closeSync(full)
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  let out = ''
  child.stdout!.setEncoding('utf8').on('data', text => {
    out += text
  })
  await eventually(
    () => /^admin on/m.test(out) || child.exitCode !== null,
    () => `not started: ${out}`,
    START,
  )
  const [, url] = /^listener web on (\S+)/.exec(out)!
  for (let i = 0; i < 3; i++)
    t.equal((await fetch(url!, { headers: { connection: 'close' } })).status, 502, 'is logged')
  child.kill('SIGTERM')
  t.same(await within(START, ended, () => 'it does not end'), [0, null])
})
