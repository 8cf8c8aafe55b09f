// The fuzz campaign at 100,000 cases: the codec never throws, reads alike however the bytes are cut, and parts with llhttp only where that is explained.
import t from 'tap'
import { play, type Target } from '../support/fuzz/campaign.ts'
import { judge } from '../support/fuzz/differences.ts'
import { readOurs, readTheirs } from '../support/fuzz/readers.ts'

// `npm run fuzz` plays a million of another seed each time; here the same ones, so that a failure is the change's doing.
const CASES: Record<Target, number> = { requests: 60_000, answers: 25_000, paths: 15_000 }
const SEED = 20_261_121

for (const [target, cases] of Object.entries(CASES) as [Target, number][]) {
  t.test(`${cases} ${target}`, async t => {
    const report = play(target, SEED, cases)
    t.same(report.bugs, [], 'no difference is unexplained')
    t.ok(report.accepted > cases / 10, `something was accepted in ${report.accepted}`)
  })
}

t.test('what the campaign would notice', async t => {
  const text = 'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nabc'
  const theirs = () => readTheirs(text, null)
  t.same(judge(text, readOurs(text, [], null), theirs()), { kind: 'same' })
  const planted: [string, (ours: ReturnType<typeof readOurs>) => void][] = [
    ['another method', ours => (ours.complete[0]!.method = 'PUT')],
    ['another target', ours => (ours.complete[0]!.target = '/b')],
    ['another host', ours => (ours.complete[0]!.host = 'i')],
    ['another value', ours => (ours.complete[0]!.headers[1] = '2')],
    ['a field too many', ours => ours.complete[0]!.headers.push('x-b', '1')],
    ['another body', ours => (ours.complete[0]!.body = 'ab')],
    ['a trailer', ours => ours.complete[0]!.trailers.push('x', 'y')],
    ['a second message', ours => ours.complete.push(ours.complete[0]!)],
    ['a message that does not end', ours => (ours.partial = ours.complete.pop()!)],
    ['a message missed', ours => (ours.complete.length = 0)],
  ]
  for (const [what, spoil] of planted) {
    const ours = readOurs(text, [], null)
    spoil(ours)
    t.equal(judge(text, ours, theirs()).kind, 'UNEXPLAINED', what)
  }
  const refused = 'GET / HTTP/1.1\r\nHost: h\r\nbad name: 1\r\n\r\n'
  const ours = readOurs(text, [], null)
  t.equal(judge(refused, ours, readTheirs(refused, null)).kind, 'UNEXPLAINED', 'a request that only we accept')
})
