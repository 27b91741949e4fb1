/** What Go's JSON decoder says of a text that V8's could not read. */

/** What V8 says, and how Go says it. Both point at one character. */
const sentences: readonly [RegExp, string][] = [
  [/^Expected (double-quoted )?property name/, 'looking for beginning of object key string'],
  [/^Expected ':'/, 'after object key'],
  [/^Expected ',' or '}'/, 'after object key:value pair'],
  [/^Expected ',' or ']'/, 'after array element'],
  [/^Bad control character/, 'in string literal'],
  [/^Bad escaped character/, 'in string escape code'],
  [/^(No number after minus|Exponent part|Unterminated fractional)/, 'in numeric literal'],
]

/**
 * The sentence of Go's `encoding/json`.
 *
 * @param error what `JSON.parse` threw
 */
export function goSyntaxError(text: string, error: unknown): string {
  const message = error instanceof Error ? error.message : ''
  if (/end of JSON input|^Unterminated string/.test(message)) return 'unexpected EOF'
  const position = Number(/at position (\d+)/.exec(message)?.[1] ?? -1)
  if (position >= text.length) return 'unexpected EOF'
  const token = /^Unexpected token '(.+?)',/su.exec(message)?.[1]
  const character = position >= 0 ? String.fromCodePoint(text.codePointAt(position) ?? 0) : token
  const where = sentences.find(([pattern]) => pattern.test(message))?.[1]
  return `invalid character ${quote(character ?? '?')} ${where ?? 'looking for beginning of value'}`
}

/** The kind of a value in Go's sentences about wrong types. */
export function goKindOf(value: unknown): string {
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'boolean') return 'bool'
  return typeof value === 'bigint' ? 'number' : typeof value
}

function quote(character: string): string {
  if (character === "'") return `'\\''`
  if (character === '"') return `'"'`
  return `'${JSON.stringify(character).slice(1, -1)}'`
}
