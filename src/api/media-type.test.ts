import assert from 'node:assert/strict'
import test from 'node:test'
import { parseMediaType } from './media-type.ts'

test('a media type has no parameters and small letters', () => {
  for (const [header, type] of [
    ['application/json', 'application/json'], ['APPLICATION/JSON; charset=utf-8', 'application/json'],
    ['text/plain;', 'text/plain'], ['application', 'application'], ['a/b; x="1;2"; y=3', 'a/b'],
  ] as const) {
    assert.deepEqual(parseMediaType(header), { type }, header)
  }
})

test('a header that is none is named as by Go', () => {
  for (const [header, problem] of [
    ['', 'no media type'], ['/', 'no media type'], ['a b/c', 'expected slash after first token'],
    ['a/', 'expected token after slash'], ['a/b c', 'unexpected content after media subtype'],
    ['a/b; =', 'invalid media parameter'], ['a/b; x', 'invalid media parameter'],
    ['a/b; x=1 y', 'invalid media parameter'], ['a/b; x=1; X=2', 'duplicate parameter name'],
  ] as const) {
    assert.deepEqual(parseMediaType(header), { problem: `mime: ${problem}` }, header)
  }
})
