// No secret of the file reaches the admin pages.
import t from 'tap'
import { redact } from '../../../src/config/redact.ts'

t.test('scalars under names of secrets, in lists too', async t => {
  t.same(
    redact({
      secret: 'a',
      clientSecret: 1,
      password: 'b',
      accessToken: 'c',
      apiKey: 'd',
      keys: ['e', 'f'],
      authorization: 'g',
      credentials: ['h', { name: 'kept', token: 'i' }],
      secretName: { name: 'kept' },
      verifyToken: true,
      token: null,
    }),
    {
      secret: '[redacted]',
      clientSecret: '[redacted]',
      password: '[redacted]',
      accessToken: '[redacted]',
      apiKey: '[redacted]',
      keys: ['[redacted]', '[redacted]'],
      authorization: '[redacted]',
      credentials: ['[redacted]', { name: 'kept', token: '[redacted]' }],
      secretName: { name: 'kept' },
      verifyToken: true,
      token: null,
    },
  )
})

t.test('a key that names attributes is none', async t => {
  const given = { limit: { key: 'client.ip+route' }, other: { key: 'header.x-user' } }
  t.same(redact(given), given)
  t.same(redact({ key: './private.pem', password: 'route' }), { key: '[redacted]', password: '[redacted]' })
})

t.test('credentials in addresses', async t => {
  t.same(redact(['redis://u:p@h:1/0', 'a https://x@h b rediss://:p@h', 'http://h/a@b', 'u@h']), [
    'redis://[redacted]@h:1/0',
    'a https://[redacted]@h b rediss://[redacted]@h',
    'http://h/a@b',
    'u@h',
  ])
})

t.test('hashes of keys: a weak key can be guessed from its hash', async t => {
  const hash = `sha256:${'0a'.repeat(32)}`
  t.same(redact({ consumers: { shop: hash, crew: [hash, hash] } }), {
    consumers: { shop: '[redacted]', crew: ['[redacted]', '[redacted]'] },
  })
})

t.test('what came from a variable that is named like a secret', async t => {
  const substituted = [
    { path: ['a', 0], names: ['DB_PASSWORD'] },
    { path: ['b'], names: ['HOST'] },
  ]
  t.same(redact({ a: ['x', 'y'], b: 'z' }, substituted), { a: ['[redacted]', 'y'], b: 'z' })
})

t.test('the given value is left alone', async t => {
  const given = { a: { secret: 'x' } }
  redact(given)
  t.same(given, { a: { secret: 'x' } })
})
