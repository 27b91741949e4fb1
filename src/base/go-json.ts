/**
 * What Go's JSON decoder says of a text that is none, character by character as it reads: clients
 * and people know its sentences. Only asked once V8's reader has failed.
 */

type Step = (machine: Machine, byte: number) => string | undefined
/** What encloses the value that is read: an object at its keys or values, or an array. */
type Nesting = 'key' | 'value' | 'element'

interface Machine {
  step: Step
  readonly nesting: Nesting[]
}

/**
 * The sentence of Go's `encoding/json` about the first value of the text: `invalid character …`, or
 * `unexpected EOF` where it ends too early. undefined where that value is fine.
 */
export function goSyntaxError(text: string): string | undefined {
  const machine: Machine = { step: beginValue, nesting: [] }
  for (const byte of Buffer.from(text)) {
    if (machine.step === endTop) return undefined
    const context = machine.step(machine, byte)
    if (context !== undefined) return `invalid character ${quote(byte)} ${context}`
  }
  // A number ends with what follows it, or with the text.
  const ended = machine.step === endTop || machine.step(machine, 0x20) === undefined
  return ended && machine.step === endTop ? undefined : 'unexpected EOF'
}

/** The kind of a value in Go's sentences about wrong types. */
export function goKindOf(value: unknown): string {
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'boolean') return 'bool'
  return typeof value === 'bigint' ? 'number' : typeof value
}

const isSpace = (byte: number): boolean => ' \t\r\n'.includes(String.fromCharCode(byte))
const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39

function to(machine: Machine, step: Step): undefined {
  machine.step = step
}

const beginValue: Step = (machine, byte) => {
  if (isSpace(byte)) return undefined
  const character = String.fromCharCode(byte)
  if (character === '{') {
    machine.nesting.push('key')
    return to(machine, beginKeyOrEnd)
  }
  if (character === '[') {
    machine.nesting.push('element')
    return to(machine, beginValueOrEnd)
  }
  if (character === '"') return to(machine, inString)
  if (character === '-') return to(machine, afterMinus)
  if (character === '0') return to(machine, afterZero)
  if (isDigit(byte)) return to(machine, inInteger)
  const word = ['true', 'false', 'null'].find((name) => name.startsWith(character))
  if (word !== undefined) return to(machine, inWord(word, 1))
  return 'looking for beginning of value'
}

const beginValueOrEnd: Step = (machine, byte) =>
  byte === 0x5d /* ] */ ? endOf(machine) : isSpace(byte) ? undefined : beginValue(machine, byte)

const beginKeyOrEnd: Step = (machine, byte) =>
  byte === 0x7d /* } */ ? endOf(machine) : beginKey(machine, byte)

const beginKey: Step = (machine, byte) => {
  if (isSpace(byte)) return undefined
  return byte === 0x22 ? to(machine, inString) : 'looking for beginning of object key string'
}

function endOf(machine: Machine): undefined {
  machine.nesting.pop()
  return to(machine, machine.nesting.length === 0 ? endTop : endValue)
}

/** Go stops here and leaves what follows alone. */
const endTop: Step = () => undefined

const endValue: Step = (machine, byte) => {
  const nesting = machine.nesting.at(-1)
  if (nesting === undefined) return to(machine, endTop)
  if (isSpace(byte)) return to(machine, endValue)
  const character = String.fromCharCode(byte)
  const last = machine.nesting.length - 1
  if (nesting === 'key') {
    if (character !== ':') return 'after object key'
    machine.nesting[last] = 'value'
    return to(machine, beginValue)
  }
  if (nesting === 'value') {
    if (character === '}') return endOf(machine)
    if (character !== ',') return 'after object key:value pair'
    machine.nesting[last] = 'key'
    return to(machine, beginKey)
  }
  if (character === ']') return endOf(machine)
  return character === ',' ? to(machine, beginValue) : 'after array element'
}

const inString: Step = (machine, byte) => {
  if (byte === 0x22) return to(machine, endValue)
  if (byte === 0x5c) return to(machine, afterBackslash)
  return byte < 0x20 ? 'in string literal' : undefined
}

const afterBackslash: Step = (machine, byte) => {
  if (byte === 0x75 /* u */) return to(machine, inHexEscape(4))
  const known = '"\\/bfnrt'.includes(String.fromCharCode(byte))
  return known ? to(machine, inString) : 'in string escape code'
}

const inHexEscape = (left: number): Step => (machine, byte) => {
  const isHex = /[0-9a-f]/i.test(String.fromCharCode(byte))
  if (!isHex) return 'in \\u hexadecimal character escape'
  return to(machine, left === 1 ? inString : inHexEscape(left - 1))
}

const inWord = (word: string, at: number): Step => (machine, byte) => {
  const expected = word.charAt(at)
  if (String.fromCharCode(byte) !== expected) return `in literal ${word} (expecting '${expected}')`
  return to(machine, at === word.length - 1 ? endValue : inWord(word, at + 1))
}

const afterMinus: Step = (machine, byte) => {
  if (byte === 0x30) return to(machine, afterZero)
  return isDigit(byte) ? to(machine, inInteger) : 'in numeric literal'
}

const inInteger: Step = (machine, byte) => (isDigit(byte) ? undefined : afterZero(machine, byte))

const afterZero: Step = (machine, byte) =>
  byte === 0x2e /* . */ ? to(machine, afterPoint) : exponentOrEnd(machine, byte)

const afterPoint: Step = (machine, byte) =>
  isDigit(byte) ? to(machine, inFraction) : 'after decimal point in numeric literal'

const inFraction: Step = (machine, byte) =>
  isDigit(byte) ? undefined : exponentOrEnd(machine, byte)

const exponentOrEnd: Step = (machine, byte) =>
  byte === 0x65 || byte === 0x45 ? to(machine, afterE) : endValue(machine, byte)

const afterE: Step = (machine, byte) =>
  byte === 0x2b || byte === 0x2d ? to(machine, afterSign) : afterSign(machine, byte)

const afterSign: Step = (machine, byte) =>
  isDigit(byte) ? to(machine, inExponent) : 'in exponent of numeric literal'

const inExponent: Step = (machine, byte) => (isDigit(byte) ? undefined : endValue(machine, byte))

/** One byte as Go quotes it: as the character of that number, though it may be part of another. */
function quote(byte: number): string {
  const character = String.fromCharCode(byte)
  if (character === "'") return `'\\''`
  const known: Readonly<Record<string, string>> = {
    '\x07': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v',
    '\\': '\\\\',
  }
  const escaped = known[character]
  if (escaped !== undefined) return `'${escaped}'`
  const hex = byte.toString(16)
  if (byte < 0x20 || byte === 0x7f) return `'\\x${hex.padStart(2, '0')}'`
  if (byte >= 0x80 && byte <= 0xa0 || byte === 0xad) return `'\\u${hex.padStart(4, '0')}'`
  return `'${character}'`
}
