// One entry of a list of plugins, in each form that it may have.
import t from 'tap'
import { pluginEntry } from '../../../src/pipeline/entry.ts'

const read = (value: unknown) => pluginEntry.parse(value)
const issues = (value: unknown) =>
  pluginEntry.safeParse(value).error?.issues.map(({ path, message }) => `${path.join('/')}: ${message}`) ?? []

t.test('a name, a map, and a map of nothing', async t => {
  t.same(read('jwt'), { name: 'jwt', options: {}, when: null, off: false })
  t.same(read({ jwt: null }), { name: 'jwt', options: {}, when: null, off: false })
  t.same(read({ jwt: { a: 1 } }), { name: 'jwt', options: { a: 1 }, when: null, off: false })
  t.same(read({ './my.ts': {} }), { name: './my.ts', options: {}, when: null, off: false })
})

t.test('when and off are taken out of the options', async t => {
  t.same(read({ jwt: { a: 1, when: { 'header.x': '1', path: '~^/a' }, off: true } }), {
    name: 'jwt',
    options: { a: 1 },
    when: { 'header.x': '1', path: '~^/a' },
    off: true,
  })
})

t.test('everything else says what is due', async t => {
  const shape = 'a plugin is its name, or { name: { options } }'
  for (const value of ['', 3, null, [], {}, true]) t.same(issues(value), [`: ${shape}`], JSON.stringify(value))
  t.same(issues({ jwt: 1 }), ['jwt: the options of jwt must be a map'])
  t.match(issues({ jwt: {}, cors: {} }), [/^cors: one plugin an entry is due/])
  t.same(issues({ jwt: { off: 'yes' } }), ['jwt/off: true or false is due'])
  t.same(issues({ jwt: { when: { path: '~(' } } }), ['jwt/when/path: is not a valid regular expression'])
  t.match(issues({ jwt: { when: { path: 1 } } }), [/^jwt\/when\/path: a text is due/])
  t.same(issues({ jwt: { when: { 'header.': 'x' } } }).length, 1)
})
