// Tests of the thread that files are read in: what becomes of those who wait when it breaks or is closed, and what it keeps.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FileThread } from '../../../src/discovery/file-thread.ts'
import { temporaryFolder } from '../../support/server-process.ts'
import { within } from '../../support/within.ts'

const never = () => new AbortController().signal

t.test('a thread that breaks fails those who wait, and the next question begins another', async t => {
  const path = join(temporaryFolder(t, 'file-thread'), 'a.json')
  writeFileSync(path, '[]')
  const thread = new FileThread()
  t.teardown(() => thread.close())
  const file = thread.file(path)
  const { text, digest } = await file.read(null, never())
  t.equal(text, '[]')
  const waiting = within(1000, file.read(digest, never()), () => 'nobody is told')
  // No order at all: it cannot go on from there.
  thread.tell(null as never)
  await t.rejects(waiting, { name: 'Error', message: /^the thread that reads files ended: .*null/ })
  writeFileSync(path, '["10.0.0.1:80"]')
  const next = await within(1000, file.read(digest, never()), () => 'the change is not seen')
  t.equal(next.text, '["10.0.0.1:80"]', 'what changed meanwhile is seen')
  t.equal((await file.read(null, never())).text, '["10.0.0.1:80"]')
})

t.test('what cannot be read is an error of the file, and the thread goes on', async t => {
  const folder = temporaryFolder(t, 'file-thread')
  const thread = new FileThread()
  t.teardown(() => thread.close())
  await t.rejects(thread.file(folder).read(null, never()), { name: 'AnswerError', message: /no regular file/ })
  t.same(await thread.file(join(folder, 'none')).read(null, never()), { text: null, digest: '' })
  const abort = new AbortController()
  const aborted = within(1000, thread.file(join(folder, 'none')).read('other', abort.signal), () => 'it waits on')
  abort.abort()
  await t.rejects(aborted, { name: 'AbortError' })
  await t.rejects(thread.file(folder).read(null, AbortSignal.abort()), { name: 'AbortError' })
})
