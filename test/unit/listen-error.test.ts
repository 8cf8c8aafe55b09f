// Tests of what a listener that cannot be opened is told of: why, and which option has to be another.
import t from 'tap'
import { ListenError } from '../../src/gateway.ts'

t.test('the option to change is the one that is to blame', async t => {
  const of = (code: string) => new ListenError('listener web', '::1', 80, Object.assign(new Error(code), { code }))
  for (const [code, option] of [
    ['EADDRINUSE', 'port'],
    ['EACCES', 'port'],
    ['EADDRNOTAVAIL', 'host'],
    ['ERR_UWS_UNAVAILABLE', 'engine'],
  ] as const)
    t.equal(of(code).option, option, code)
  t.match(of('EADDRINUSE').message, /^listener web cannot listen on \[::1\]:80: the port is in use; /)
})
