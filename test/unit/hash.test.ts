// The hash: published vectors, and that every bit of what goes in is felt.
import t from 'tap'
import { avalanche, murmur3 } from '../../src/hash.ts'

t.test('MurmurHash3: published vectors, bytes taken two to a character', async t => {
  const vectors: [text: string, seed: number, hash: number][] = [
    ['', 0, 0],
    ['', 1, 0x514e28b7],
    ['', 0xffffffff, 0x81f16f39],
    ['\uffff\uffff', 0, 0x76293b50],
    ['\u4321\u8765', 0, 0xf55b516b],
    ['\u4321\u8765', 0x5082edee, 0x2362f9de],
    ['\u4321', 0, 0xa0f7b07a],
    ['\0\0', 0, 0x2362f9de],
    ['\0', 0, 0x30f4c306],
  ]
  for (const [text, seed, hash] of vectors) t.equal(murmur3(text, seed), hash, JSON.stringify([text, seed]))
})

t.test('texts against another implementation', async t => {
  // From a reference in Python over UTF-16LE.
  const known: [text: string, seed: number, hash: number][] = [
    ['10.0.0.1:8080', 0, 0x7f34551f],
    ['10.0.0.1:8080', 1, 0x41e0b8b6],
    ['[::1]:9001', 0, 0xf06c5421],
    ['orders.internal:80', 7, 0x545b19bb],
    ['Jürgen', 0, 0xd8bec947],
    ['李', 0, 0xbffc4fbe],
  ]
  for (const [text, seed, hash] of known) t.equal(murmur3(text, seed), hash, JSON.stringify([text, seed]))
})

t.test('one bit more or less turns half the bits', async t => {
  let turned = 0
  for (let state = 0; state < 1000; state++) {
    for (let bit = 0; bit < 32; bit++) {
      let difference = avalanche(state * 2_654_435) ^ avalanche((state * 2_654_435) ^ (1 << bit))
      for (; difference !== 0; difference &= difference - 1) turned++
    }
  }
  t.ok(Math.abs(turned / 32_000 - 16) < 0.1, `${turned / 32_000} of 32`)
  t.equal(avalanche(0), 0)
  for (const state of [-1, 1, 0x8000_0000]) t.ok(avalanche(state) >= 0, 'unsigned')
})
