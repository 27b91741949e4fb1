/**
 * The text of request bodies: integers beyond 2^53 come in as bigint, malformed text is refused
 * with the sentences of Go's decoder, nesting is bounded.
 */
import { parseExact } from '../base/json.ts'
import { Refusal } from '../base/refusal.ts'

/** Deeper than any document of the API; keeps later recursion (rendering, decoding) safe. */
const depthMax = 1000

/** One JSON document, nothing after it. */
export function parseJson(text: string): unknown {
  if (text.trim() === '') throw invalid('invalid JSON: got EOF while reading request body')
  checkDepth(text)
  try {
    return parseExact(text)
  } catch (error) {
    throw invalid(goSentence(text, error instanceof Error ? error.message : ''))
  }
}

function invalid(sentence: string): Refusal {
  return new Refusal('invalid', sentence)
}

function checkDepth(text: string): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 0x5c /* \ */) i++
      else if (code === 0x22 /* " */) inString = false
    } else if (code === 0x22) inString = true
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > depthMax) throw invalid('invalid JSON: exceeded max depth')
    } else if (code === 0x7d || code === 0x5d) depth--
  }
}

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

function goSentence(text: string, message: string): string {
  if (/end of JSON input|^Unterminated string/.test(message)) return 'invalid JSON: unexpected EOF'
  if (message.startsWith('Unexpected non-whitespace character after JSON')) {
    return 'unexpected content after JSON'
  }
  const position = Number(/at position (\d+)/.exec(message)?.[1] ?? -1)
  if (position >= text.length) return 'invalid JSON: unexpected EOF'
  const token = /^Unexpected token '(.+?)',/su.exec(message)?.[1]
  const character = position >= 0 ? String.fromCodePoint(text.codePointAt(position) ?? 0) : token
  const where = sentences.find(([pattern]) => pattern.test(message))?.[1]
  return (
    `invalid JSON: invalid character ${quote(character ?? '?')} ` +
    (where ?? 'looking for beginning of value')
  )
}

function quote(character: string): string {
  if (character === "'") return `'\\''`
  if (character === '"') return `'"'`
  return `'${JSON.stringify(character).slice(1, -1)}'`
}
