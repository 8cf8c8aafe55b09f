// Templates over an exchange: what a header may say of an attribute, and that nobody becomes somebody else on the way.
import t from 'tap'
import { AttributeError } from '../../../src/exchange/attribute.ts'
import { compileTemplate } from '../../../src/exchange/template.ts'
import { exchange } from '../../support/exchange.ts'
import { requestHead } from '../../support/request-head.ts'

/** `${name}`, as it stands in a configuration. */
const hole = (name: string) => `$\{${name}}`
/** Bytes of a field as text again. */
const read = (value: string) => Buffer.from(value, 'latin1').toString('utf8')

t.test('attributes in a text', async t => {
  const x = exchange(requestHead('GET', 'h', '/a/b'))
  const six = exchange({ ...requestHead('GET', 'h', '/'), remoteAddress: '2001:db8:1:2:3:4:5:6' })
  t.equal(compileTemplate('plain $x {y}')(x), 'plain $x {y}')
  t.equal(compileTemplate(`${hole('method')} ${hole('path')}!`)(x), 'GET /a/b!')
  t.equal(compileTemplate(`[${hole('header.x-none')}]`)(x), '[]', 'a missing attribute is nothing')
  t.equal(compileTemplate(hole('client.ip'))(six), '2001:db8:1:2:3:4:5:6', 'the address as it is')
  t.equal(compileTemplate('${path')(x), '${path')
  t.equal(compileTemplate(`$${hole('path')} $${hole('no')} ${hole('path')}`)(x), `${hole('path')} ${hole('no')} /a/b`)
  t.throws(() => compileTemplate(hole('nothing')), AttributeError)
  t.throws(() => compileTemplate(hole('')), AttributeError)
  // As nginx writes them: they would go out as they stand.
  for (const text of ['$remote_addr', '$http_x_id', 'a, $proxy_add_x_forwarded_for', 'https://$host$request_uri'])
    t.throws(() => compileTemplate(text), AttributeError, text)
  t.equal(compileTemplate('$Version=1; $hostile')(x), '$Version=1; $hostile')
})

t.test('values are UTF-8, and what came as bytes stays as it came', async t => {
  const x = exchange(
    requestHead('GET', 'h', '/?q=%E6%97%A5%C3%A9&c=1%0d%0aX:%002', ['x-a', 'caf\xc3\xa9', 'x-b', '\xe9']),
  )
  x.claims = { name: '日é', level: 3 }
  x.consumer = 'żółw'
  t.equal(read(compileTemplate(`日 ${hole('jwt.name')} ${hole('query.q')}`)(x)), '日 日é 日é')
  t.equal(read(compileTemplate(`${hole('consumer')}/${hole('jwt.level')}`)(x)), 'żółw/3')
  t.equal(compileTemplate(hole('header.x-a'))(x), 'caf\xc3\xa9')
  t.equal(compileTemplate(hole('header.x-b'))(x), '\xe9')
  t.equal(compileTemplate(hole('query.c'))(x), '1  X: 2', 'a control character is a space')
})

t.test('who a client is, is told as it is or not at all', async t => {
  for (const name of ['admin\n', '\tadmin', ' admin', 'admin ', 'ad\x7fmin', 'admin\ud800']) {
    const x = exchange(requestHead('GET', 'h', '/'))
    x.claims = { sub: name }
    x.consumer = name
    t.equal(compileTemplate(hole('jwt.sub'))(x), '', JSON.stringify(name))
    t.equal(compileTemplate(hole('consumer'))(x), '', JSON.stringify(name))
    t.equal(compileTemplate(`<${hole('consumer')}>`)(x), '<>', 'wherever it stands')
  }
  const far = exchange(requestHead('GET', 'h', '/'))
  far.claims = { sub: 'admin日' }
  t.equal(read(compileTemplate(hole('jwt.sub'))(far)), 'admin日')
})
