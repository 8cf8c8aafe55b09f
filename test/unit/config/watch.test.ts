// Watching a file as editors, deployments and Kubernetes change it; every wait is for the call itself.
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { watchFile } from '../../../src/config/watch.ts'

/** Calls of a watch, each to be awaited in turn. */
function watching(t: { teardown(fn: () => void): void }, file: string) {
  let calls = 0
  let wake: (() => void) | null = null
  const watch = watchFile(
    file,
    () => {
      calls++
      wake?.()
    },
    50,
  )
  t.teardown(() => watch.close())
  // The watch itself does not keep the process; waiting for it does.
  return {
    close: () => watch.close(),
    calls: () => calls,
    async next(after: number) {
      const alive = setInterval(() => {}, 1000)
      while (calls <= after) await new Promise<void>(done => (wake = done))
      clearInterval(alive)
    },
  }
}

t.test('an in-place write and an atomic rename', async t => {
  const dir = t.testdir({ 'g.yaml': 'a: 1\n' })
  const file = join(dir, 'g.yaml')
  const watch = watching(t, file)
  writeFileSync(file, 'a: 2\n')
  await watch.next(0)
  writeFileSync(join(dir, 'g.yaml.tmp'), 'a: 3\n')
  renameSync(join(dir, 'g.yaml.tmp'), file)
  await watch.next(1)
  rmSync(file)
  writeFileSync(file, 'a: 4\n')
  await watch.next(2)
  t.equal(watch.calls(), 3)
})

t.test('a swap of the symlink that Kubernetes keeps beside the file', async t => {
  const dir = t.testdir({ one: { 'g.yaml': 'a: 1\n' }, two: { 'g.yaml': 'a: 2\n' } })
  symlinkSync('one', join(dir, '..data'))
  symlinkSync('..data/g.yaml', join(dir, 'g.yaml'))
  const watch = watching(t, join(dir, 'g.yaml'))
  symlinkSync('two', join(dir, '..data_tmp'))
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'))
  await watch.next(0)
  t.equal(readFileSync(join(dir, 'g.yaml'), 'utf8'), 'a: 2\n')
})

t.test('a file that goes and comes back as it was', async t => {
  const dir = t.testdir({ 'real.yaml': 'a: 1\n', 'h.yaml': '' })
  const file = join(dir, 'g.yaml')
  symlinkSync('real.yaml', file)
  const watch = watching(t, file)
  rmSync(file)
  // Two looks of a neighbour's watch: by then its absence was seen.
  const other = watching(t, join(dir, 'h.yaml'))
  for (const n of [0, 1]) {
    writeFileSync(join(dir, 'h.yaml'), `a: ${n}\n`)
    await other.next(n)
  }
  t.equal(watch.calls(), 0)
  symlinkSync('real.yaml', file)
  await watch.next(0)
  t.equal(watch.calls(), 1)
})

t.test('a directory that is replaced, and one that comes later', async t => {
  const root = t.testdir({ conf: { 'g.yaml': 'a: 1\n' }, next: { 'g.yaml': 'a: 2\n' } })
  const file = join(root, 'conf', 'g.yaml')
  const watch = watching(t, file)
  renameSync(join(root, 'conf'), join(root, 'old'))
  renameSync(join(root, 'next'), join(root, 'conf'))
  await watch.next(0)
  writeFileSync(file, 'a: 3\n')
  await watch.next(1)
  rmSync(join(root, 'conf'), { recursive: true })
  mkdirSync(join(root, 'conf'))
  writeFileSync(file, 'a: 4\n')
  await watch.next(2)
  t.equal(readFileSync(file, 'utf8'), 'a: 4\n')
})

t.test('a file that cannot be looked at, until it can', async t => {
  const dir = t.testdir({ plain: '' })
  symlinkSync('loop.yaml', join(dir, 'loop.yaml'))
  watching(t, join(dir, 'plain', 'g.yaml'))
  watching(t, join(dir, 'x'.repeat(300)))
  const watch = watching(t, join(dir, 'loop.yaml'))
  rmSync(join(dir, 'loop.yaml'))
  writeFileSync(join(dir, 'loop.yaml'), 'a: 1\n')
  await watch.next(0)
})

t.test('a thousand writes are few calls, and the last one sees the last content', async t => {
  const dir = t.testdir({ 'g.yaml': 'a: 0\n' })
  const file = join(dir, 'g.yaml')
  let read = ''
  const alive = setInterval(() => {}, 1000)
  let calls = 0
  await new Promise<void>(done => {
    const watch = watchFile(file, () => {
      calls++
      read = readFileSync(file, 'utf8')
      if (read !== 'a: 1000\n') return
      watch.close()
      done()
    })
    for (let i = 1; i <= 1000; i++) writeFileSync(file, `a: ${i}\n`)
  })
  clearInterval(alive)
  t.equal(read, 'a: 1000\n')
  t.ok(calls < 20, `${calls} calls`)
})

t.test('neighbours that never rest put no change off', async t => {
  const dir = t.testdir({ 'g.yaml': 'a: 1\n', log: '' })
  const file = join(dir, 'g.yaml')
  const watch = watching(t, file)
  const chatter = setInterval(() => appendFileSync(join(dir, 'log'), 'x\n'), 20)
  writeFileSync(file, 'a: 2\n')
  await watch.next(0)
  // Here and not at teardown: the directory is taken away before that, and a line more would bring its file back.
  clearInterval(chatter)
  t.equal(watch.calls(), 1)
})

t.test('a neighbour is no change, and nothing comes after close', async t => {
  const dir = t.testdir({ 'g.yaml': 'a: 1\n', 'h.yaml': 'a: 1\n' })
  const watch = watching(t, join(dir, 'g.yaml'))
  const other = watching(t, join(dir, 'h.yaml'))
  writeFileSync(join(dir, 'h.yaml'), 'a: 2\n')
  await other.next(0)
  t.equal(watch.calls(), 0)
  writeFileSync(join(dir, 'g.yaml'), 'a: 2\n')
  await watch.next(0)
  watch.close()
  writeFileSync(join(dir, 'g.yaml'), 'a: 3\n')
  writeFileSync(join(dir, 'h.yaml'), 'a: 3\n')
  await other.next(1)
  t.equal(watch.calls(), 1)
})
