// No secret of the file reaches the admin pages.
import t from 'tap'
import { isSecretName, redact, redactText } from '../../../src/config/redact.ts'

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

t.test('names that mean a secret, and names that only sound like one', async t => {
  const secret = [
    ...['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-auth', 'x-auth-user', 'x-api-key', 'x-sig'],
    ...['session', 'sid', 'connect.sid', 'PHPSESSID', 'JSESSIONID', 'session_id', 'auth_token', 'apikey', 'api_key'],
    ...['DB_PASS', 'PGPASS', 'APP_PWD', 'SIGNING_PASSPHRASE', 'BASIC_AUTH', 'basicAuth', 'AWS_CREDS', 'CREDENTIALS'],
    ...['AWS_ACCESS_KEY_ID', 'accessKeyId', 'PRIVATE', 'PRIVATE_PEM', 'passwd', 'signature', 'header.authorization'],
  ]
  t.same(
    secret.filter(name => !isSecretName(name)),
    [],
  )
  const plain = [
    ...['author', 'passive', 'compassion', 'design', 'assign', 'sidecar', 'cohort', 'cookie.cohort', 'jwt.sub'],
    ...['AUTH_URL', 'PRIVATE_HOST', 'SESSION_SERVICE', 'COOKIE_NAME', 'maxKeys', 'tokenFile', 'DB_PASSWORD_FILE'],
    ...['keyboard', 'cookies', 'issuer', 'path', 'host'],
  ]
  t.same(plain.filter(isSecretName), [])
})

t.test('whether a header is there is no secret, nor is the name of a cookie', async t => {
  const given = { headers: { authorization: 'present', cookie: 'absent' }, cookie: 'sid', key: 'all', set: ['cookie'] }
  t.same(redact(given), given)
  t.same(redact({ cookie: 'sid=1', headers: { 'set-cookie': 'a=b' } }), {
    cookie: '[redacted]',
    headers: { 'set-cookie': '[redacted]' },
  })
})

t.test('parameters of a query that are named like secrets', async t => {
  t.equal(
    redactText('https://h/a?x=1&token=abc&sig=d#e and redis://h/0?password=p'),
    'https://h/a?x=1&token=[redacted]&sig=[redacted]#e and redis://h/0?password=[redacted]',
  )
  t.equal(redactText('/find?q=token&page=2'), '/find?q=token&page=2')
})

t.test('tokens, wherever they stand', async t => {
  const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-_A'
  t.equal(redactText(jwt), '[redacted]')
  t.equal(redactText(`Bearer ${jwt}, and ${jwt}.a.b`), 'Bearer [redacted], and [redacted]')
  t.equal(redactText('keyJa.b.c and eyJ alone'), 'keyJa.b.c and eyJ alone')
})

t.test('a text of a megabyte takes no longer than it is, whatever it holds', async t => {
  const pieces = ['x', 'a:', '://', '//', '@', ':', '//x:', 'eyJ', 'eyJ-', 'eyJ.', '?', '&a', '?a=', 'sha256:', 'ab+']
  for (const piece of pieces) {
    const text = piece.repeat(2 ** 20 / piece.length)
    const before = process.cpuUsage()
    redact({ body: text })
    const { user } = process.cpuUsage(before)
    t.ok(user < 1_000_000, `${piece}: ${Math.round(user / 1000)} ms`)
  }
})
