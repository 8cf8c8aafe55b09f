// Tests of the thread that files are read in: what becomes of those who wait when it breaks or is closed, and what it keeps.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FileThread } from '../../../src/discovery/file-thread.ts'
import type { FileQuestion } from '../../../src/discovery/file-worker.ts'
import { temporaryFolder } from '../../support/server-process.ts'
import { within } from '../../support/within.ts'

const never = () => new AbortController().signal

const about = (path: string, more: Partial<FileQuestion> = {}): FileQuestion => ({
  ...{ file: 1, path, service: 'a', cursor: null, known: null },
  ...more,
})

t.test('a thread that breaks fails those who wait, and the next question begins another', async t => {
  const folder = temporaryFolder(t, 'file-thread')
  const path = join(folder, 'a.json')
  writeFileSync(path, '[]')
  const thread = new FileThread(16)
  t.teardown(() => thread.close())
  const { digest, instances } = await thread.ask(about(path), never())
  t.equal(instances, '[]')
  const waiting = within(5000, thread.ask(about(path, { cursor: digest }), never()), () => 'nobody is told')
  // More than it may hold.
  const large = join(folder, 'large.json')
  writeFileSync(large, JSON.stringify(Array(500_000).fill('10.0.0.1:80')))
  await t.rejects(thread.ask(about(large, { file: 2 }), never()), { message: /ended: .*memory/ })
  await t.rejects(waiting, { name: 'Error', message: /^the thread that reads files ended: .*memory/ })
  writeFileSync(path, '["10.0.0.1:80"]')
  const next = await within(1000, thread.ask(about(path, { cursor: digest }), never()), () => 'the change is not seen')
  t.match(next.instances, /10\.0\.0\.1/, 'what changed meanwhile is seen')
})

t.test('what cannot be used is told of the file, and the thread goes on', async t => {
  const folder = temporaryFolder(t, 'file-thread')
  const none = join(folder, 'none')
  const thread = new FileThread()
  t.teardown(() => thread.close())
  t.match(await thread.ask(about(folder), never()), { digest: '', instances: null, fault: /no regular file/ })
  t.match(await thread.ask(about(none, { file: 2 }), never()), { digest: '', fault: `there is no file ${none}` })
  const abort = new AbortController()
  const aborted = within(1000, thread.ask(about(none, { cursor: 'other' }), abort.signal), () => 'it waits on')
  abort.abort()
  await t.rejects(aborted, { name: 'AbortError' })
  await t.rejects(thread.ask(about(folder), AbortSignal.abort()), { name: 'AbortError' })
})

t.test('what is told together is passed on in turns of their own: requests come in between', async t => {
  const folder = temporaryFolder(t, 'file-thread')
  const thread = new FileThread()
  t.teardown(() => thread.close())
  const paths = Array.from({ length: 5 }, (_, file) => join(folder, `${file}.json`))
  for (const path of paths) writeFileSync(path, '[]')
  const known = await Promise.all(paths.map((path, file) => thread.ask(about(path, { file }), never())))
  let turn = 0
  const count = () => {
    turn++
    counting = setImmediate(count)
  }
  let counting = setImmediate(count)
  t.teardown(() => clearImmediate(counting))
  const waits = paths.map((path, file) =>
    thread.ask(about(path, { file, cursor: known[file]!.digest }), never()).then(() => turn),
  )
  // In one step: where the machine stands still behind the emptying of a file, empty is what rests there.
  for (const path of paths) writeFileSync(path, '["10.0.0.1:80"]', { flag: 'r+' })
  const turns = await within(5000, Promise.all(waits), () => 'a change is not seen')
  t.equal(new Set(turns).size, paths.length, `${turns}`)
})
