// Tests of the thread that files are read in: what it tells, when, and what becomes of its orders when it breaks.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FileThread } from '../../../src/discovery/file-thread.ts'
import type { FileAnswer } from '../../../src/discovery/file-worker.ts'
import { replaceFile } from '../../support/replace-file.ts'
import { temporaryFolder } from '../../support/server-process.ts'
import { eventually, within } from '../../support/within.ts'

/** A thread, all that it told, and how often the loop had turned then. */
function begin(t: Test, memory?: number) {
  const folder = temporaryFolder(t, 'file-thread')
  const answers: FileAnswer[] = []
  const turns: number[] = []
  const errors: string[] = []
  let heard = () => {}
  let turn = 0
  const told = (answer: FileAnswer) => {
    answers.push(answer)
    turns.push(turn)
    heard()
  }
  const broke = (error: Error) => {
    errors.push(error.message)
    heard()
  }
  const thread = new FileThread({ told, broke }, memory)
  // Nobody else keeps this process alive.
  thread.hold()
  t.teardown(() => thread.close())
  const count = () => {
    turn++
    counting = setImmediate(count)
  }
  let counting = setImmediate(count)
  t.teardown(() => clearImmediate(counting))
  /** Resolves once so many answers and errors have come. */
  const heardOf = async (many: number) => {
    const all = new Promise<void>(resolve => {
      heard = () => {
        if (answers.length + errors.length >= many) resolve()
      }
    })
    heard()
    await within(5000, all, () => `heard of ${answers.length} answers and ${errors.length} errors instead of ${many}`)
  }
  const watch = (file: number, path: string, order = 1) => thread.watch({ file, path, service: 'a', order })
  return { thread, folder, answers, turns, errors, heardOf, watch }
}

t.test('what changes while nobody takes what is told does not add up', async t => {
  const folder = temporaryFolder(t, 'file-thread')
  const path = join(folder, 'a.json')
  writeFileSync(path, '["10.0.0.1:80"]')
  const told: string[] = []
  const done = new Promise<void>(resolve => {
    const thread = new FileThread({
      told({ instances }) {
        told.push(/"10\.0\.0\.(\d)"/.exec(instances!)![1]!)
        if (told.at(-1) === '4') resolve()
        if (told.length > 1) return
        // This thread stands still; a file counts as changed after 100 ms.
        for (const i of [2, 3, 4]) {
          replaceFile(path, `["10.0.0.${i}:80"]`)
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
        }
      },
      broke() {},
    })
    t.teardown(() => thread.close())
    thread.hold()
    thread.watch({ file: 1, path, service: 'a', order: 1 })
  })
  await within(10_000, done, () => `was told ${told}`)
  // The second was on its way; what stands in the file when that was taken is told next.
  t.ok(told.length <= 3, `told ${told}`)
})

t.test('a file is told of as it is, and on from change to change, though nobody asks again', async t => {
  const { thread, folder, answers, heardOf, watch } = begin(t)
  const path = join(folder, 'a.json')
  writeFileSync(path, '[]')
  watch(1, path)
  await heardOf(1)
  t.match(answers[0], { file: 1, order: 1, instances: '[]', fault: null })
  for (let i = 1; i < 4; i++) {
    replaceFile(path, `["10.0.0.${i}:80"]`)
    await heardOf(1 + i)
    t.match(answers[i], { file: 1, order: 1, fault: null })
    t.match(answers[i]!.instances, `10.0.0.${i}`)
  }
  replaceFile(path, '["10.0.0.4:80", "10.0.0.3:80", "10.0.0.3:80"]')
  await heardOf(5)
  t.match(answers[4]!.instances, /^\[\{"host":"10\.0\.0\.4",[^[\]]*\},0,0\]$/, 'what was told is told by its place')
  // Begun anew, what was told is not told again.
  watch(1, path, 2)
  await heardOf(6)
  t.match(answers[5], { file: 1, order: 2, digest: answers[4]!.digest, instances: null, fault: null })
  thread.forget(1)
  replaceFile(path, '[]')
  const other = join(folder, 'b.json')
  writeFileSync(other, '[]')
  watch(2, other)
  await heardOf(7)
  replaceFile(other, '["10.0.0.9:80"]')
  await heardOf(8)
  t.same(
    answers.slice(6).map(({ file }) => file),
    [2, 2],
    'the one that is forgotten is not told of',
  )
})

t.test('a thread that breaks says so, and the next order begins another', async t => {
  const { folder, answers, errors, heardOf, watch } = begin(t, 16)
  const path = join(folder, 'a.json')
  writeFileSync(path, '[]')
  watch(1, path)
  await heardOf(1)
  // More than it may hold.
  const large = join(folder, 'large.json')
  writeFileSync(large, JSON.stringify(Array(500_000).fill('10.0.0.1:80')))
  watch(2, large)
  await eventually(
    () => errors.length === 1,
    () => 'it does not break',
  )
  t.match(errors[0], /^the thread that reads files ended: .*memory/)
  writeFileSync(path, '["10.0.0.1:80"]')
  watch(1, path, 2)
  await heardOf(3)
  t.match(answers[1], { file: 1, order: 2 })
  t.match(answers[1]!.instances, /10\.0\.0\.1/, 'what changed meanwhile is seen')
})

t.test('what cannot be used is told of the file, and the thread goes on', async t => {
  const { folder, answers, heardOf, watch } = begin(t)
  const none = join(folder, 'none')
  watch(1, folder)
  watch(2, none)
  await heardOf(2)
  t.match(answers[0], { file: 1, digest: '', instances: null, fault: /no regular file/ })
  t.match(answers[1], { file: 2, digest: '', instances: null, fault: `there is no file ${none}` })
  replaceFile(none, '[]')
  await heardOf(3)
  t.match(answers[2], { file: 2, instances: '[]', fault: null })
})

t.test('what is told together is passed on in turns of their own: requests come in between', async t => {
  const { folder, turns, heardOf, watch } = begin(t)
  const paths = Array.from({ length: 5 }, (_, file) => join(folder, `${file}.json`))
  for (const path of paths) writeFileSync(path, '[]')
  for (const [file, path] of paths.entries()) watch(file, path)
  await heardOf(5)
  for (const path of paths) replaceFile(path, '["10.0.0.1:80"]')
  await heardOf(10)
  t.equal(new Set(turns).size, 10, `${turns}`)
})
