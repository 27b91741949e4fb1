import assert from 'node:assert/strict'
import test from 'node:test'
import { goSyntaxError } from './go-json.ts'

const invalid = (character: string, context: string) => `invalid character '${character}' ${context}`

test('what is no JSON is said as Go says it', () => {
  for (const [text, sentence] of [
    ['', 'unexpected EOF'], ['{', 'unexpected EOF'], ['"x', 'unexpected EOF'], ['nul', 'unexpected EOF'],
    ['-', 'unexpected EOF'], ['1e', 'unexpected EOF'], ['[1', 'unexpected EOF'],
    ['x', invalid('x', 'looking for beginning of value')],
    ['}', invalid('}', 'looking for beginning of value')],
    ["{'a':1}", invalid("\\'", 'looking for beginning of object key string')],
    ['{"a":1,}', invalid('}', 'looking for beginning of object key string')],
    ['{"a" 1}', invalid('1', 'after object key')],
    ['{"a":01}', invalid('1', 'after object key:value pair')],
    ['{"a":1 "b"}', invalid('"', 'after object key:value pair')],
    ['[1 2]', invalid('2', 'after array element')],
    ['[01]', invalid('1', 'after array element')],
    ['[1,]', invalid(']', 'looking for beginning of value')],
    ['"\u0001"', invalid('\\x01', 'in string literal')],
    ['"\n"', invalid('\\n', 'in string literal')],
    ['"\\q"', invalid('q', 'in string escape code')],
    ['"\\u12g4"', invalid('g', 'in \\u hexadecimal character escape')],
    ['-x', invalid('x', 'in numeric literal')],
    ['1.x', invalid('x', 'after decimal point in numeric literal')],
    ['1e+x', invalid('x', 'in exponent of numeric literal')],
    ['trux', invalid('x', "in literal true (expecting 'e')")],
    ['nil', invalid('i', "in literal null (expecting 'u')")],
    ['\ufeff{}', invalid('\u00ef', 'looking for beginning of value')],
    ['é', invalid('\u00c3', 'looking for beginning of value')],
  ] as const) {
    assert.equal(goSyntaxError(text), sentence, text)
  }
})

test('a value that is fine is, whatever follows it', () => {
  for (const text of ['{}', ' [1, 2.5e-3, {"a": [true, null]}] ', '"x"', '0', '-1.5E+3', '{}{}', '{} x', '01']) {
    assert.equal(goSyntaxError(text), undefined, text)
  }
})
