// Rewrites and redirects: what captures give, and what no client can make of them.
import fc from 'fast-check'
import t from 'tap'
import { normalizePath } from '../../../src/http/path.ts'
import { parsePath } from '../../../src/route/match.ts'
import { PathRewrite, RedirectTarget } from '../../../src/route/rewrite.ts'

const rewrite = (template: string, pattern: string, path: string) =>
  new PathRewrite(template, parsePath(pattern)).apply(path)
const redirect = (template: string, pattern: string, path: string, query = '') =>
  new RedirectTarget(template, parsePath(pattern)).apply(path, query)

t.test('rewrites', async t => {
  const cases: [template: string, pattern: string, path: string, result: string][] = [
    ['/:name/:id', '/a/:id/b/:name/*', '/a/1/b/x%20y/c/d', '/x%20y/1'],
    ['/x*', '/a/:id/b/:name/*', '/a/1/b/2/c/d', '/xc/d'],
    ['/x*', '/a/:id/b/:name/*', '/a/1/b/2', '/x'],
    ['/x*', '/*', '/', '/x'],
    ['/x*', '/*', '/a/b', '/xa/b'],
    ['/v2/*', '/orders/*', '/orders', '/v2'],
    ['/v2/*', '/orders/*', '/orders/', '/v2/'],
    ['/v2/*', '/orders/*', '/orders/1/items', '/v2/1/items'],
    ['/v2/*', '/orders/*', '/orders//x', '/v2//x'],
    ['/*', '/strip/*', '/strip', '/'],
    ['/*', '/strip/*', '/strip/', '/'],
    ['/*', '/strip/*', '/strip/a', '/a'],
    ['/v2/*', '/*', '/', '/v2/'],
    ['/v2/*', '/*', '/a', '/v2/a'],
    ['/fixed', '/a/*', '/a/b', '/fixed'],
    ['/:b/:a', '/x/:a/:b', '/x/1/2', '/2/1'],
    ['/users/:id.json', '/u/:id', '/u/7', '/users/7.json'],
    ['/:id/*/end', '/u/:id/*', '/u/7/a', '/7/a/end'],
    ['/%7Eme/:id', '/u/:id', '/u/%C3%A9', '/~me/%C3%A9'],
    ['/v2/*', '/*', '*', '*'],
  ]
  for (const [template, pattern, path, result] of cases) {
    t.equal(rewrite(template, pattern, path), result, `${template} on ${pattern} makes ${path} ${result}`)
  }
})

t.test('text and capture that join into dots stay below the root', async t => {
  t.equal(rewrite('/.*', '/a/*', '/a'), '/', 'a dot alone names the folder')
  t.equal(rewrite('/..:x', '/:x', '/a'), '/..a')
  t.equal(rewrite('/..*', '/a/*', '/a'), null)
  t.equal(rewrite('/v/:x..', '/:x', '/a%2F'), null, 'nor behind an escaped slash')
})

t.test('redirects', async t => {
  const cases: [template: string, pattern: string, path: string, query: string, result: string][] = [
    ['https://b.test/*', '/*', '/a/b', '', 'https://b.test/a/b'],
    ['https://b.test/*', '/a/*', '/a', '', 'https://b.test/'],
    ['https://b.test:8443/v2/*', '/a/*', '/a', 'x=1&x=%2', 'https://b.test:8443/v2?x=1&x=%2'],
    ['https://b.test/?from=*', '/a/*', '/a/b/c', 'x=1', 'https://b.test/?from=b/c'],
    ['https://b.test/?', '/*', '/a', 'x=1', 'https://b.test/?'],
    // No capture adds a parameter; escapes are as good in a query as in a path.
    ['/user?id=:id', '/u/:id', '/u/a&admin=1', '', '/user?id=a%26admin%3D1'],
    ['/user?id=:id', '/u/:id', '/u/a+b;c%26d%20e', '', '/user?id=a%2Bb%3Bc%26d%20e'],
    ['/:id?from=*&x=:id#a', '/u/:id/*', '/u/a=b/c&d/e', '', '/a=b?from=c%26d/e&x=a%3Db#a'],
    ['myapp://callback/:id', '/u/:id', '/u/7', '', 'myapp://callback/7'],
    ['/new/:id#top', '/old/:id', '/old/7', 'x=1', '/new/7?x=1#top'],
    ['https://b.test', '/*', '/a', '', 'https://b.test'],
    ['//b.test/*', '/*', '/a', '', '//b.test/a'],
    ['https://b.test/*', '/*', '*', '', 'https://b.test/'],
    ['/a:8443', '/*', '/a', '', '/a:8443'],
    ['/$metadata?$top=1', '/*', '/a', '', '/$metadata?$top=1'],
    ['https://u@[::1]:8443/*', '/*', '/a', '', 'https://u@[::1]:8443/a'],
    ['http://127.0.0.1/*', '/*', '/a', '', 'http://127.0.0.1/a'],
  ]
  for (const [template, pattern, path, query, result] of cases) {
    t.equal(
      redirect(template, pattern, path, query),
      result,
      `${template} on ${pattern} sends ${path}?${query} to ${result}`,
    )
  }
  t.equal(redirect('/*', '/*', '//evil.test/x'), '/evil.test/x', 'no other host through a second slash')
  t.equal(redirect('/*', '/a/*', '/a////evil.test'), '/evil.test')
  t.equal(redirect('https://b.test/*', '/*', '/', 'a\r\nx: y'), null, 'no second field through the query')
})

t.test('templates that cannot be', async t => {
  const rewrites: [template: string, pattern: string][] = [
    ['v2', '/*'],
    ['/v2/*', '/a'],
    ['/:id', '/a/:name'],
    ['/a?b', '/*'],
    ['/a b', '/*'],
    ['/a\\b', '/*'],
    ['/../a', '/*'],
    ['/%zz', '/*'],
    ['/caf\u00e9', '/*'],
    ['/v2/{id}', '/:id'],
    ['/v2/$1', '/:id'],
  ]
  for (const [template, pattern] of rewrites) {
    t.throws(() => rewrite(template, pattern, '/'), { name: 'PatternError' }, `rewrite ${template} on ${pattern}`)
  }
  const redirects: [template: string, pattern: string][] = [
    ['b.test', '/*'],
    ['javascript:alert(1)', '/*'],
    ['https://', '/*'],
    ['https:///a', '/*'],
    ['//', '/*'],
    ['https://b.test:99999/', '/*'],
    ['https://b.test:8o/', '/*'],
    ['https://[::1/', '/*'],
    ['https://b.test*', '/*'],
    ['https://:tenant.test/', '/:tenant'],
    ['https://b.test:port/', '/:port'],
    ['https://b.test/:id', '/*'],
    ['https://b.test/*', '/a'],
    ['https://b.test/#*', '/*'],
    ['https://b.test/\r\nx: y', '/*'],
    ['/\\evil.test', '/*'],
    ['/v2/{id}', '/:id'],
    ['/v2/$1', '/:id'],
    ['/v2$request_uri', '/*'],
    ['https://$host$request_uri', '/*'],
    ['https://{host}/*', '/*'],
    ['https://b.test$request_uri', '/*'],
    ['https://b..test/', '/*'],
  ]
  for (const [template, pattern] of redirects) {
    t.throws(
      () => redirect(template, pattern, '/'),
      { name: 'PatternError' },
      `redirect ${JSON.stringify(template)} on ${pattern}`,
    )
  }
})

const piece = fc.constantFrom('/', '/', '.', '..', 'a', '%2F', ';', ':', '@', 'evil.test', '%25', '%0A')
const path = fc
  .array(piece, { maxLength: 10 })
  .map(pieces => normalizePath(`/${pieces.join('')}`, true))
  .filter(path => path !== null)

t.test('a rewritten path is normalised, a redirect stays on its host', async () => {
  const templates = fc.constantFrom('/*', '/v2/*', '/.*', '/x/..*', '/a*', '/v/*/w')
  fc.assert(
    fc.property(templates, path, (template, path) => {
      const target = rewrite(template, '/*', path)
      return target === null || (target.startsWith('/') && normalizePath(target, true) === target)
    }),
    { numRuns: 5_000 },
  )
  fc.assert(
    fc.property(templates, path, (template, path) => {
      const remote = new URL(redirect(`https://b.test${template}`, '/*', path)!, 'https://own.test')
      const local = new URL(redirect(template, '/*', path)!, 'https://own.test')
      return remote.origin === 'https://b.test' && local.origin === 'https://own.test'
    }),
    { numRuns: 5_000 },
  )
})
